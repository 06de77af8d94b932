import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressCache, IpAddress, parseAddress } from './address.ts'

test('addresses: read and written as RFC 5952 wants', () => {
  const cases: [string, string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['fe80::1.2.3.4', 'fe80::102:304'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
  ]
  for (const [text, shown] of cases) assert.equal(parseAddress(text)?.toString(), shown, text)
})

test('addresses: what is none is refused', () => {
  const wrong = [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.x',
    ':',
    ':::',
    '1::2::3',
    '12345::',
  ]
  wrong.push('1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7:8::', '::1.2.3', 'g::', ':1::', '1:')
  for (const text of wrong) assert.equal(parseAddress(text), undefined, text)
})

test('addresses: keys tell addresses apart, and only those', () => {
  const texts = ['0.0.0.0', '0.0.0.1', '1.0.0.0', '::', '::1', '0:1::', '::1:0:0:0', 'ff02::1', 'ff02::2']
  const keys = new Set(texts.map(text => IpAddress.of(text).key))
  assert.equal(keys.size, texts.length)
  assert.equal(IpAddress.of('10.1.2.3').key, IpAddress.of('::ffff:10.1.2.3').key)
})

test('addresses: prefixes match in their own family only', () => {
  const address = IpAddress.of('10.1.2.3')
  assert.ok(address.inPrefix(IpAddress.of('10.1.0.0'), 16))
  assert.ok(!address.inPrefix(IpAddress.of('10.2.0.0'), 16))
  assert.ok(address.inPrefix(IpAddress.of('0.0.0.0'), 0))
  assert.ok(!address.inPrefix(IpAddress.of('::'), 0))
  const six = IpAddress.of('2001:db8:1:2:3:4:5:6')
  for (let length = 0; length <= 128; length++) {
    assert.ok(six.inPrefix(six.masked(length), length))
    assert.equal(six.masked(length).masked(length).key, six.masked(length).key)
  }
  assert.equal(six.masked(47).toString(), '2001:db8::')
  assert.equal(six.commonPrefix(IpAddress.of('2001:db8:1:3::')), 63)
})

test('addresses: kinds', () => {
  const is = (text: string) => IpAddress.of(text)
  assert.ok(is('224.0.0.1').isMulticast && is('ff02::1').isMulticast && !is('223.255.255.255').isMulticast)
  assert.ok(is('127.9.9.9').isLoopback && is('::1').isLoopback && !is('::2').isLoopback)
  assert.ok(is('169.254.1.1').isLinkLocal && is('febf::1').isLinkLocal && !is('fec0::1').isLinkLocal)
  assert.ok(is('fe80::1').needsScope && is('ff02::1').needsScope && !is('ff05::1').needsScope)
  assert.ok(is('0.0.0.0').isAny && is('::').isAny && !is('::1').isAny)
})

test('addresses: the cache gives equal addresses, whoever shares their place', () => {
  const cache = new AddressCache()
  for (let i = 0; i < 5000; i++) assert.equal(cache.v4(i * 7919).w3, (i * 7919) >>> 0)
  const view = new DataView(IpAddress.of('2001:db8::5').bytes().buffer)
  assert.equal(cache.v6(view, 0), cache.v6(view, 0))
  assert.equal(cache.v6(view, 0).toString(), '2001:db8::5')
})
