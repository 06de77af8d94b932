import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IpAddress } from './address.ts'
import {
  checksumOf,
  combineSums,
  fold,
  pseudoHeaderSum,
  sumBytes,
  sumView,
  udpChecksumOf,
  updateChecksum16,
  updateChecksum32,
} from './checksum.ts'
import { seededFill } from './ip/runtime.ts'

/** The definition: big-endian words, one by one. */
function plainSum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i++) sum += (i & 1) === 0 ? bytes[i] << 8 : bytes[i]
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536)
  return sum
}

/** Sums that stand for the same: 0 and 0xffff are one number in ones' complement. */
function same(a: number, b: number): boolean {
  return a % 0xffff === b % 0xffff
}

const fill = seededFill(7)

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  fill(bytes)
  return bytes
}

test('checksum: every length and alignment gives what the definition gives', () => {
  const bytes = randomBytes(300)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < 9; at++) {
    for (let length = 0; length <= 260; length++) {
      const expected = plainSum(bytes.subarray(at, at + length))
      assert.ok(same(sumView(view, at, length), expected), `at ${at}, length ${length}`)
    }
  }
})

test('checksum: 64 KiB of ones do not overflow', () => {
  const bytes = new Uint8Array(65535 + 200).fill(0xff)
  assert.ok(same(sumBytes(bytes), plainSum(bytes)))
  assert.ok(same(sumBytes(new Uint8Array(1 << 20).fill(0xfe)), plainSum(new Uint8Array(1 << 20).fill(0xfe))))
})

test('checksum: blocks can be summed apart, at odd places too', () => {
  for (let round = 0; round < 200; round++) {
    const bytes = randomBytes(1 + (round % 97))
    const cut = round % (bytes.length + 1)
    const first = sumBytes(bytes.subarray(0, cut))
    const rest = sumBytes(bytes.subarray(cut))
    assert.ok(same(combineSums(first, rest, cut), plainSum(bytes)), `round ${round}`)
  }
})

test('checksum: an incremental update gives what a new sum gives', () => {
  for (let round = 0; round < 500; round++) {
    const bytes = randomBytes(40)
    const view = new DataView(bytes.buffer)
    const before = checksumOf(sumBytes(bytes))
    const at = (round % 9) * 4
    const old = view.getUint32(at)
    const fresh = (old ^ Math.imul(round, 0x9e3779b1)) >>> 0
    view.setUint32(at, fresh)
    const expected = checksumOf(sumBytes(bytes))
    assert.ok(same(updateChecksum32(before, old, fresh), expected))
    const halves = updateChecksum16(before, old >>> 16, fresh >>> 16)
    assert.ok(same(updateChecksum16(halves, old & 0xffff, fresh & 0xffff), expected))
  }
})

test('checksum: the pseudo header is the one of the RFCs', () => {
  const source = IpAddress.of('192.0.2.1')
  const destination = IpAddress.of('198.51.100.200')
  const header = [192, 0, 2, 1, 198, 51, 100, 200, 0, 17, 0x12, 0x34]
  assert.ok(same(pseudoHeaderSum(source, destination, 17, 0x1234), plainSum(Uint8Array.from(header))))
  const six = IpAddress.of('2001:db8::1')
  const other = IpAddress.of('fe80::ff:fe00:1')
  const long = [...six.bytes(), ...other.bytes(), 0, 1, 0, 1, 0, 0, 0, 58]
  assert.ok(same(pseudoHeaderSum(six, other, 58, 0x10001), plainSum(Uint8Array.from(long))))
})

test('checksum: UDP never sends zero, which means none', () => {
  assert.equal(udpChecksumOf(0xffff), 0xffff)
  assert.equal(udpChecksumOf(0x1234), checksumOf(0x1234))
  assert.equal(fold(0xffffffff), 0xffff)
})
