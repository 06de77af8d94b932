import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPPROTO_UDP,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_OUT,
  NFT_GOTO,
  NFT_JUMP,
  NFT_RETURN,
} from '../../../abi/constants.ts'
import { EPERM } from '../../../abi/errno.ts'
import { V4_LOOPBACK } from '../../address.ts'
import { plainFlow } from '../../ip/ipv4-output.ts'
import {
  chain,
  expression,
  type Fill,
  type FilterNamespace,
  FilterWorld,
  rule,
  table,
  toPort,
  verdict,
} from '../../netlink/netfilter/testing.ts'
import { NfSet, type SetElement } from './set.ts'

/** Whether a datagram of this machine's to a port gets out. */
function passes(space: FilterNamespace, port: number, mark = 0): boolean {
  const { ip } = space.net
  const packet = ip.packets.allocate(8)
  const at = packet.append(8)
  packet.view.setUint16(at, 1)
  packet.view.setUint16(at + 2, port)
  packet.view.setUint16(at + 4, 8)
  packet.view.setUint16(at + 6, 0)
  const flow = plainFlow(IPPROTO_UDP, V4_LOOPBACK, V4_LOOPBACK)
  flow.mark = mark
  const status = ip.ip.send(packet, flow)
  assert.ok(status === 0 || status === -EPERM, String(status))
  return status === 0
}

function space(policy: number, ...rules: Uint8Array[]): FilterNamespace {
  const made = new FilterWorld().namespace()
  made.apply(
    table('t'),
    chain('t', 'out', NF_INET_LOCAL_OUT, { policy }),
    ...['a', 'b'].map(name => chain('t', name)),
  )
  made.apply(...rules)
  return made
}
const port = (number: number): Fill => toPort(IPPROTO_UDP, number)

test('rules: the first verdict counts, and the policy where there is none', () => {
  const made = space(
    NF_DROP,
    rule('t', 'out', port(1), verdict(NF_ACCEPT)),
    rule('t', 'out', port(1), verdict(NF_DROP)),
  )
  assert.ok(passes(made, 1))
  assert.equal(passes(made, 2), false)
})

test('rules: a jump comes back to the next rule, by its end or by a return; goto comes back to nobody', () => {
  const made = space(
    NF_ACCEPT,
    rule('t', 'a', port(1), verdict(NFT_RETURN)),
    rule('t', 'a', port(2), verdict(NF_ACCEPT)),
    rule('t', 'b', port(3), verdict(NF_DROP)),
    rule('t', 'out', verdict(NFT_JUMP, 'a')),
    rule('t', 'out', port(4), verdict(NFT_GOTO, 'b')),
    rule('t', 'out', port(5), verdict(NFT_RETURN)),
    rule('t', 'out', verdict(NF_DROP)),
  )
  assert.deepEqual(
    [1, 2, 3, 4, 5].map(number => passes(made, number)),
    [false, true, false, true, true],
  )
})

test('rules: chains of one point are asked in order of their priorities, and each may drop', () => {
  const made = new FilterWorld().namespace()
  made.apply(table('t'))
  made.apply(chain('t', 'late', NF_INET_LOCAL_OUT, { priority: 10 }))
  made.apply(chain('t', 'early', NF_INET_LOCAL_OUT, { priority: -10 }))
  // The early one marks the packet, the late one drops what is marked.
  const setMark: Fill = writer => {
    expression('immediate', w => {
      w.be32(1, 1)
      const data = w.nest(2)
      w.bytes(1, Uint8Array.of(7, 0, 0, 0))
      w.close(data)
    })(writer)
    expression('meta', w => {
      w.be32(2, 3)
      w.be32(3, 1)
    })(writer)
  }
  const isMarked: Fill = writer => {
    expression('meta', w => {
      w.be32(2, 3)
      w.be32(1, 1)
    })(writer)
    expression('cmp', w => {
      w.be32(1, 1)
      w.be32(2, 0)
      const data = w.nest(3)
      w.bytes(1, Uint8Array.of(7, 0, 0, 0))
      w.close(data)
    })(writer)
  }
  made.apply(rule('t', 'early', port(1), setMark), rule('t', 'late', isMarked, verdict(NF_DROP)))
  assert.equal(passes(made, 1), false)
  assert.ok(passes(made, 2))
  assert.equal(passes(made, 2, 7), false)
})

const DESCRIPTION = {
  ...{ name: 's', keyType: 0, dataType: 0, dataLength: 0, policy: undefined, size: 0, timeout: 0 },
  ...{ gcInterval: 0, objectType: 0, userData: undefined, expressions: [] },
}
function element(key: number[], more: Partial<SetElement> = {}): SetElement {
  return {
    ...{ key: Uint8Array.from(key), keyEnd: undefined, flags: 0, data: undefined, userData: undefined },
    ...{ object: undefined, timeout: 0, expires: Number.POSITIVE_INFINITY, expressions: [] },
    ...more,
  }
}
function setOf(flags: number, keyLength: number, fields: number[], ...elements: SetElement[]) {
  const world = new FilterWorld()
  const made = world.namespace()
  made.apply(table('t'))
  const set = new NfSet(made.net.netfilter.ruleset.find(2, 't')!, {
    ...DESCRIPTION,
    flags,
    keyLength,
    fields,
  })
  for (const each of elements) set.add(each)
  return { world, set, has: (...key: number[]) => set.lookup(Uint8Array.from(key), 0) !== undefined }
}
const INTERVAL = 4
const CONCAT = 0x80
const END = { flags: 1 }

test('sets: an interval goes from its beginning up to before its end, and neighbours touch', () => {
  const { set, has } = setOf(
    INTERVAL,
    2,
    [],
    ...[element([3, 0]), element([5, 0], END), element([5, 0]), element([6, 0], END), element([9, 0])],
  )
  const keys = [2, 3, 4, 5, 6, 8, 9, 255]
  assert.deepEqual(
    keys.map(key => has(key, 0)),
    [false, true, true, true, false, false, true, true],
  )
  set.remove(set.find(Uint8Array.of(5, 0), undefined, 0)!)
  assert.equal(has(5, 0), false, 'its neighbour still ends there')
  assert.ok(has(4, 255))
})

test('sets: each field of a concatenation has a range of its own', () => {
  const range = element([10, 0, 0, 0, 0, 80, 0, 0], { keyEnd: Uint8Array.of(10, 0, 0, 255, 0, 90, 0, 0) })
  const { has } = setOf(INTERVAL | CONCAT, 8, [4, 2], range)
  assert.ok(has(10, 0, 0, 7, 0, 85, 0, 0))
  assert.equal(has(10, 0, 1, 7, 0, 85, 0, 0), false)
  assert.equal(has(10, 0, 0, 7, 0, 91, 0, 0), false)
})

test('sets: what has a time is gone when it is over, and a catch-all stands for everything else', () => {
  const { world, set, has } = setOf(0x10, 1, [], element([1], { timeout: 1000, expires: 3e9 }))
  assert.ok(has(1))
  world.run(5)
  assert.equal(has(1), false)
  assert.equal([...set.elements()].length, 0)
  set.add(element([], { flags: 2 }))
  assert.ok(has(77))
})
