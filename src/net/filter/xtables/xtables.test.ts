import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NF_ACCEPT, NF_DROP, NF_INET_LOCAL_OUT } from '../../../abi/constants.ts'
import { ELOOP } from '../../../abi/errno.ts'
import { IPT_ENTRY, IPT_IP, XT_ENTRY_MATCH, XT_STANDARD_TARGET } from '../../../abi/layout.ts'
import { IpAddress } from '../../address.ts'
import { plainFlow } from '../../ip/ipv4-output.ts'
import { FilterWorld } from '../../netlink/netfilter/testing.ts'
import { readTable, type TableShape } from './read.ts'
import type { XtTable } from './table.ts'

const RULE = IPT_ENTRY.size + XT_STANDARD_TARGET.size

function filterTable() {
  const world = new FilterWorld()
  const { net } = world.namespace()
  const { netfilter } = net
  const table = netfilter.ipTables.find('filter')
  assert.ok(table !== undefined)
  return { net, netfilter, table }
}

/** Rules for OUTPUT, before the policies of a table that is otherwise as it is at first. */
function withRules(table: XtTable, rules: ((view: DataView, at: number) => void)[]) {
  const old = table.info.show()
  const output = 2 * RULE
  const extra = rules.length * RULE
  const bytes = new Uint8Array(old.length + extra)
  bytes.set(old.subarray(0, output))
  bytes.set(old.subarray(output), output + extra)
  const view = new DataView(bytes.buffer)
  rules.forEach((rule, index) => {
    const at = output + index * RULE
    view.setUint16(at + IPT_ENTRY.target_offset, IPT_ENTRY.size, true)
    view.setUint16(at + IPT_ENTRY.next_offset, RULE, true)
    view.setUint16(at + IPT_ENTRY.size + XT_ENTRY_MATCH.match_size, XT_STANDARD_TARGET.size, true)
    rule(view, at)
  })
  const starts: number[] = []
  const ends: number[] = []
  table.definition.points.forEach(([point], index) => {
    starts[point] = index * RULE
    ends[point] = point === NF_INET_LOCAL_OUT ? output + extra : index * RULE
  })
  const shape: TableShape = { points: table.points, count: 4 + rules.length, starts, ends }
  return { shape, bytes }
}

const decide = (verdict: number) => (view: DataView, at: number) =>
  view.setInt32(at + IPT_ENTRY.size + XT_STANDARD_TARGET.verdict, verdict, true)
/** One that is for UDP only, so that what is behind it is reached. */
const conditionally = (verdict: number) => (view: DataView, at: number) => {
  view.setUint16(at + IPT_IP.proto, 17, true)
  decide(verdict)(view, at)
}
const ACCEPT = -NF_ACCEPT - 1
const DROP = -NF_DROP - 1

test('x_tables: a packet takes the first rule that fits, and rules count what they have seen', () => {
  const { net, netfilter, table } = filterTable()
  net.startLoopback()
  const address = IpAddress.of('127.0.0.1')
  const send = () => {
    const packet = net.ip.packets.allocate(8)
    packet.append(8)
    return net.ip.ip.send(packet, plainFlow(17, address, address))
  }
  assert.equal(send(), 0)
  const toOther = (view: DataView, at: number) => {
    conditionally(DROP)(view, at)
    view.setUint32(at + IPT_IP.dst, 0x7f000002)
    view.setUint32(at + IPT_IP.dmsk, 0xffffffff)
  }
  const { shape, bytes } = withRules(table, [toOther, conditionally(DROP), decide(ACCEPT)])
  const info = readTable(netfilter, netfilter.ipTables.layout, 'filter', shape, bytes)
  assert.ok(typeof info !== 'number')
  table.replace(info)
  assert.ok(send() < 0, 'refused')
  assert.deepEqual(
    info.entries.map(({ packets, bytes }) => [packets, bytes]),
    [
      ...[
        [0, 0],
        [0, 0],
      ],
      ...[
        [0, 0],
        [1, 28],
        [0, 0],
      ],
      ...[
        [0, 0],
        [0, 0],
      ],
    ],
  )
})

test('x_tables: rules that lead in a circle are refused, and so is a jump into the midst of a rule', () => {
  const { netfilter, table } = filterTable()
  const status = (verdict: number) => {
    const { shape, bytes } = withRules(table, [conditionally(verdict)])
    return readTable(netfilter, netfilter.ipTables.layout, 'filter', shape, bytes)
  }
  assert.equal(status(2 * RULE), -ELOOP, 'to itself')
  assert.equal(status(2 * RULE + 8), -ELOOP, 'no rule begins there')
  assert.ok(typeof status(3 * RULE) !== 'number', 'to the next one')
})

test('x_tables: whatever a table is damaged to, it is read or refused', () => {
  const { netfilter, table } = filterTable()
  let seed = 7
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % limit
  }
  let refused = 0
  for (let run = 0; run < 3000; run++) {
    const { shape, bytes } = withRules(table, [conditionally(DROP), conditionally(4 * RULE), decide(ACCEPT)])
    for (let i = random(4); i >= 0; i--)
      bytes[random(bytes.length)] = random(3) === 0 ? random(256) : random(8) * 8
    const info = readTable(
      netfilter,
      netfilter.ipTables.layout,
      'filter',
      shape,
      bytes.subarray(0, bytes.length - random(2)),
    )
    if (typeof info === 'number') {
      assert.ok(info < 0)
      refused++
    } else assert.equal(info.show().length, info.size)
  }
  assert.ok(refused > 500 && refused < 3000, `${refused} refused`)
})
