/** The stack over a TAP device, with the host's kernel at the other end, and what becomes of frames that can't be sent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IFA_F_NODAD, TCP_ESTABLISHED } from '../../src/abi/constants.ts'
import { BufferDst, BufferSrc } from '../../src/base/io.ts'
import { IpAddress } from '../../src/net/address.ts'
import { InterfaceAddress } from '../../src/net/ip/interface-address.ts'
import { TcpEndpoint } from '../../src/net/tcp/endpoint.ts'
import { cannotMakeNamespaces, JoinedNamespaces, LiveStack } from './live-stack.ts'

const skip = cannotMakeNamespaces()
const ECHO = `require('net').createServer(s => s.pipe(s)).listen(7, '10.78.0.1', () => console.log('ready'))`

function tapOutside(outside: string): string[] {
  return [
    `-n ${outside} tuntap add tap0 mode tap`,
    `-n ${outside} addr add 10.78.0.1/24 dev tap0`,
    `-n ${outside} link set tap0 up`,
  ]
}

test('TCP over a TAP device, in large segments both ways', { skip }, async () => {
  const net = new JoinedNamespaces(tapOutside)
  const live = new LiveStack()
  try {
    const device = live.tap(net.outside, 'tap0', '02:00:00:00:78:02')
    const address = new InterfaceAddress(device, IpAddress.of('10.78.0.2'), 24)
    address.flags |= IFA_F_NODAD
    assert.equal(live.stack.addresses.add(address), 0)
    const server = net.start(process.execPath, '-e', ECHO)
    await new Promise(resolve => server.stdout!.once('data', resolve))
    const endpoint = new TcpEndpoint(live.tcp)
    assert.equal(endpoint.connect(IpAddress.of('10.78.0.1'), 7), 0)
    await live.until(() => endpoint.state === TCP_ESTABLISHED)
    const data = Uint8Array.from({ length: 2_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 255)
    const got = new Uint8Array(data.length)
    const src = new BufferSrc(data)
    const dst = new BufferDst(got)
    live.step = () => {
      if (src.remaining > 0) endpoint.send(src, 0)
      while (dst.remaining > 0 && endpoint.receive(dst, 0) > 0);
    }
    await live.until(() => dst.remaining === 0)
    assert.deepEqual(got, data)
    const { statistics } = device
    assert.ok(statistics.rxPackets < statistics.rxBytes / 3000, JSON.stringify(statistics))
    assert.ok(statistics.txPackets < statistics.txBytes / 3000, JSON.stringify(statistics))
    assert.equal(statistics.rxErrors + statistics.txErrors, 0)
    endpoint.close()
  } finally {
    live.close()
    net.close()
  }
})
