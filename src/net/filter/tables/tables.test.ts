import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPPROTO_DSTOPTS,
  IPPROTO_UDP,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NFT_EXTHDR_OP_IPV4,
  NFT_GOTO,
  NFT_JUMP,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_REG_1,
  NFT_RETURN,
  NFTA_DATA_VALUE,
  NFTA_EXTHDR_DREG,
  NFTA_EXTHDR_LEN,
  NFTA_EXTHDR_OFFSET,
  NFTA_EXTHDR_OP,
  NFTA_EXTHDR_TYPE,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
  NFTA_PAYLOAD_BASE,
  NFTA_PAYLOAD_LEN,
  NFTA_PAYLOAD_OFFSET,
  NFTA_PAYLOAD_SREG,
} from '../../../abi/constants.ts'
import { EPERM } from '../../../abi/errno.ts'
import { V4_LOOPBACK, V6_LOOPBACK } from '../../address.ts'
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
import { Packet } from '../../packet.ts'
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

test('rules: options are looked for within the packet, whatever length a rule before has given its header', () => {
  const longHeader: Fill = writer => {
    expression('immediate', w => {
      w.be32(NFTA_IMMEDIATE_DREG, NFT_REG_1)
      const data = w.nest(NFTA_IMMEDIATE_DATA)
      w.bytes(NFTA_DATA_VALUE, Uint8Array.of(0x4f))
      w.close(data)
    })(writer)
    expression('payload', w => {
      w.be32(NFTA_PAYLOAD_SREG, NFT_REG_1)
      w.be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER)
      w.be32(NFTA_PAYLOAD_OFFSET, 0)
      w.be32(NFTA_PAYLOAD_LEN, 1)
    })(writer)
  }
  const hasSourceRoute = expression('exthdr', w => {
    w.be32(NFTA_EXTHDR_DREG, NFT_REG_1)
    w.u8(NFTA_EXTHDR_TYPE, 131)
    w.be32(NFTA_EXTHDR_OFFSET, 0)
    w.be32(NFTA_EXTHDR_LEN, 1)
    w.be32(NFTA_EXTHDR_OP, NFT_EXTHDR_OP_IPV4)
  })
  const made = space(NF_ACCEPT, rule('t', 'out', longHeader, hasSourceRoute, verdict(NF_DROP)))
  const hook = made.net.ip.hooks.v4[NF_INET_LOCAL_OUT][0]
  // All no-ops, up to the end of the buffer.
  const packet = new Packet(new Uint8Array(28).fill(1, 20))
  packet.start = packet.network = 0
  packet.transport = 20
  packet.end = 28
  assert.equal(hook.filter(made.net.ip, NF_INET_LOCAL_OUT, packet, undefined, undefined), NF_ACCEPT)
  assert.equal(packet.bytes[0], 0x4f)
})

test('rules: a packet of IPv6 is looked at again when they have made other headers of it', () => {
  const world = new FilterWorld()
  const { ip } = world.namespace().net
  const protocols: number[] = []
  ip.hooks.add(false, NF_INET_LOCAL_IN, {
    priority: 0,
    filter(_stack, _point, packet) {
      protocols.push(packet.view.getUint8(packet.network + 6))
      // As `ip6 nexthdr set 60` does.
      packet.view.setUint8(packet.network + 6, IPPROTO_DSTOPTS)
      return NF_ACCEPT
    },
  })
  const packet = ip.packets.allocate(256)
  const at = packet.append(256)
  packet.bytes.fill(0, at, packet.end)
  // A header of 2048 bytes, with options that lead beyond the packet.
  packet.bytes.set([IPPROTO_UDP, 255, 0x1e, 250], at)
  packet.bytes.set([0x1e, 250], at + 254)
  assert.equal(ip.ip.send(packet, plainFlow(IPPROTO_UDP, V6_LOOPBACK, V6_LOOPBACK)), 0)
  world.run(1)
  assert.deepEqual(protocols, [IPPROTO_UDP])
  assert.equal(ip.counters.ip6.InTruncatedPkts, 1)
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
