import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  NFPROTO_IPV4,
  XT_HASHLIMIT_HASH_SIP,
  XT_HASHLIMIT_SCALE,
  XT_STRING_FLAG_INVERT,
} from '../../../../abi/constants.ts'
import { HASHLIMIT_CFG1, XT_HASHLIMIT_MTINFO1, XT_STRING_INFO } from '../../../../abi/layout.ts'
import { toBytes } from '../../../../base/bytes.ts'
import { IpAddress } from '../../../address.ts'
import { FilterWorld } from '../../../netlink/netfilter/testing.ts'
import { Packet } from '../../../packet.ts'
import { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'
import { hashlimitMatches } from './hashlimit.ts'
import { stringMatch } from './string.ts'

const { net } = new FilterWorld().namespace()

function make(extension: Extension<Match>, fill: (info: DataView) => void): Match {
  const info = new DataView(new ArrayBuffer(extension.size))
  fill(info)
  const about = { netfilter: net.netfilter, family: NFPROTO_IPV4, protocol: 0, tableName: 'filter' }
  const match = extension.parse(info, about)
  assert.ok(typeof match !== 'number', String(match))
  match.attach?.()
  return match
}
/** What is looked at: a packet of so many bytes. */
function look(source: string, length: number): Evaluation {
  const packet = new Packet(new Uint8Array(length))
  packet.start = packet.network = 0
  packet.end = length
  packet.source = IpAddress.of(source)
  const run = new Evaluation()
  run.begin(net.ip, true, 0, packet, undefined, undefined)
  return run
}

test('string: a long packet that is looked through costs as much as many rules', () => {
  const match = make(stringMatch, info => {
    const bytes = new Uint8Array(info.buffer)
    bytes.set(toBytes('bm'), XT_STRING_INFO.algo)
    bytes.set(toBytes('abc'), XT_STRING_INFO.pattern)
    info.setUint8(XT_STRING_INFO.patlen, 3)
    info.setUint16(XT_STRING_INFO.to_offset, 0xffff, true)
    info.setUint8(XT_STRING_INFO.flags, XT_STRING_FLAG_INVERT)
  })
  const cost = (length: number) => {
    const run = look('1.1.1.1', length)
    const { steps } = run
    assert.ok(match.matches(run))
    return steps - run.steps
  }
  assert.equal(cost(100), 0)
  assert.ok(cost(65000) > 400)
})

test('hashlimit: of rules with one name the first says of what the keys are', () => {
  const rule = (mode: number) =>
    make(hashlimitMatches[0], info => {
      new Uint8Array(info.buffer).set(toBytes('x'), XT_HASHLIMIT_MTINFO1.name)
      const put = (field: number, value: number) =>
        info.setUint32(XT_HASHLIMIT_MTINFO1.cfg + field, value, true)
      put(HASHLIMIT_CFG1.mode, mode)
      put(HASHLIMIT_CFG1.avg, XT_HASHLIMIT_SCALE)
      put(HASHLIMIT_CFG1.burst, 1)
      put(HASHLIMIT_CFG1.gc_interval, 1000)
      put(HASHLIMIT_CFG1.expire, 1000)
      info.setUint8(XT_HASHLIMIT_MTINFO1.cfg + HASHLIMIT_CFG1.srcmask, 32)
    })
  const first = rule(XT_HASHLIMIT_HASH_SIP)
  const second = rule(0)
  const allowed = (match: Match, source: string) => match.matches(look(source, 20))
  assert.deepEqual(
    [allowed(first, '1.1.1.1'), allowed(second, '1.1.1.1'), allowed(second, '1.1.1.2')],
    [true, false, true],
  )
})
