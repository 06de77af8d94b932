/** The stack against the host's kernel, over links of the host's. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { TCP_ESTABLISHED } from '../../src/abi/constants.ts'
import { EAGAIN } from '../../src/abi/errno.ts'
import { BufferDst, BufferSrc } from '../../src/base/io.ts'
import { IpAddress, V4_ANY, V6_ANY } from '../../src/net/address.ts'
import { TcpEndpoint } from '../../src/net/tcp/endpoint.ts'
import { cannotMakeNamespaces, JoinedNamespaces, LiveStack, readNamed, usualPair } from './live-stack.ts'

const skip = cannotMakeNamespaces()
const FAMILIES = [
  { name: 'IPv4', outside: '10.77.0.1', inside: '10.77.0.2', any: V4_ANY },
  { name: 'IPv6', outside: 'fd77::1', inside: 'fd77::2', any: V6_ANY },
]
/** Echoes what it gets, over TCP and UDP: port 7. */
const ECHO = `
for (const host of ['10.77.0.1', 'fd77::1']) {
  require('net').createServer(s => s.pipe(s)).listen(7, host)
  const u = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
  u.on('message', (m, r) => u.send(m, r.port, r.address)).bind(7, host, () => console.log('ready'))
}`
/** Sends the pattern to an echo server and compares. */
const TCP_CLIENT = `
const [host, size] = process.argv.slice(1)
const sent = Buffer.from(Array.from({ length: Number(size) }, (_, i) => (i * 7 + (i >> 8)) & 255))
const got = []
const s = require('net').connect(7, host, () => s.end(sent))
s.on('data', d => got.push(d)).on('end', () => console.log(Buffer.concat(got).equals(sent) ? 'same' : 'differs'))`
const UDP_CLIENT = `
const [host, size] = process.argv.slice(1)
const u = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
const sent = Buffer.alloc(Number(size), 'datagram')
u.on('message', m => { console.log(m.equals(sent) ? 'same' : 'differs'); u.close() })
u.send(sent, 7, host)`
const SIZE = 3_000_000

let net: JoinedNamespaces
let live: LiveStack

before(async () => {
  if (skip) return
  net = new JoinedNamespaces(usualPair)
  live = new LiveStack()
  live.takeOver(net.inside)
  const server = net.start(process.execPath, '-e', ECHO)
  await new Promise(resolve => server.stdout!.once('data', resolve))
})
after(() => {
  if (skip) return
  live.close()
  net.close()
})

test('taken over, the interface has no addresses for the host any more', { skip }, () => {
  const eth0 = readNamed(net.inside).links.find(link => link.name === 'eth0')!
  assert.deepEqual(eth0.addresses, [])
  assert.deepEqual(readNamed(net.inside).routes, [])
  const { stack } = live
  const device = stack.devices.byName('eth0')!
  assert.equal(device.index, eth0.index)
  const shown = stack.addresses.of(device).map(entry => `${entry.address}/${entry.length}`)
  assert.ok(shown.includes('10.77.0.2/24') && shown.includes('fd77::2/64'), String(shown))
  assert.equal(shown.filter(text => text.startsWith('fe80::ff:fe00:7702')).length, 1, String(shown))
})

for (const { name, outside, inside, any } of FAMILIES) {
  test(`the host's ping gets answers over ${name}, whole and in fragments`, { skip }, async () => {
    for (const size of ['56', '1400', '4000']) {
      const { output, status } = await net.run('busybox', 'ping', '-c', '2', '-i', '0.1', '-s', size, inside)
      assert.equal(status, 0, output)
      assert.match(output, /2 packets received/)
      assert.doesNotMatch(output, /DUP/)
    }
  })

  test(`UDP to the host and back over ${name}, whole and in fragments`, { skip }, async () => {
    const endpoint = live.udp.endpoint(any === V6_ANY)
    assert.equal(endpoint.connect(IpAddress.of(outside), 7), 0)
    for (const size of [1, 1400, 9000]) {
      const data = Uint8Array.from({ length: size }, (_, i) => i & 255)
      assert.equal(endpoint.send(new BufferSrc(data)), size)
      const packet = await live.until(() => {
        const got = endpoint.receive(false)
        return typeof got === 'number' ? undefined : got
      })
      assert.deepEqual(packet.bytes.slice(packet.transport + 8, packet.end), data)
      packet.release()
    }
    endpoint.close()
  })

  test(`UDP from the host and back over ${name}, whole and in fragments`, { skip }, async () => {
    const endpoint = live.udp.endpoint(any === V6_ANY)
    assert.equal(endpoint.bind(any, 7), 0)
    live.step = () => {
      for (let got = endpoint.receive(false); typeof got !== 'number'; got = endpoint.receive(false)) {
        endpoint.send(
          new BufferSrc(got.bytes.slice(got.transport + 8, got.end)),
          got.source,
          got.view.getUint16(got.transport),
        )
        got.release()
      }
    }
    for (const size of ['10', '5000']) {
      const { output } = await net.run(process.execPath, '-e', UDP_CLIENT, inside, size)
      assert.equal(output, 'same\n')
    }
    live.step = undefined
    endpoint.close()
  })

  test(`TCP to the host and back over ${name}`, { skip }, async () => {
    const endpoint = new TcpEndpoint(live.tcp)
    assert.equal(endpoint.connect(IpAddress.of(outside), 7), 0)
    await live.until(() => endpoint.state === TCP_ESTABLISHED)
    const data = Uint8Array.from({ length: SIZE }, (_, i) => (i * 7 + (i >> 8)) & 255)
    const got = new Uint8Array(SIZE)
    const src = new BufferSrc(data)
    const dst = new BufferDst(got)
    live.step = () => {
      if (src.remaining > 0) endpoint.send(src, 0)
      while (dst.remaining > 0 && endpoint.receive(dst, 0) > 0);
    }
    await live.until(() => dst.remaining === 0)
    live.step = undefined
    assert.deepEqual(got, data)
    endpoint.close()
  })

  test(`TCP from the host and back over ${name}`, { skip }, async () => {
    const listener = new TcpEndpoint(live.tcp)
    assert.equal(listener.bind(any, 7), 0)
    assert.equal(listener.listen(5), 0)
    live.step = echo(listener)
    const { output } = await net.run(process.execPath, '-e', TCP_CLIENT, inside, String(SIZE))
    assert.equal(output, 'same\n')
    live.step = undefined
    listener.close()
  })
}

test('large segments pass whole, and checksums are left to the link', { skip }, () => {
  const { statistics } = live.stack.devices.byName('eth0')!
  // Cut into frames of 1500 bytes they would be several times as many.
  assert.ok(statistics.rxPackets < statistics.rxBytes / 3000, JSON.stringify(statistics))
  assert.ok(statistics.txPackets < statistics.txBytes / 3000, JSON.stringify(statistics))
  assert.equal(statistics.rxErrors + statistics.txErrors, 0)
})

/** A step that echoes what the connections of `listener` send, until they end. */
function echo(listener: TcpEndpoint): () => void {
  const connections: { endpoint: TcpEndpoint; waiting: BufferSrc }[] = []
  const room = new Uint8Array(65536)
  return () => {
    for (let endpoint = listener.accept(); endpoint !== undefined; endpoint = listener.accept()) {
      connections.push({ endpoint, waiting: new BufferSrc(new Uint8Array(0)) })
    }
    for (const connection of connections) {
      const { endpoint } = connection
      for (;;) {
        if (connection.waiting.remaining > 0 && endpoint.send(connection.waiting, 0) < 0) break
        if (connection.waiting.remaining > 0) continue
        const count = endpoint.receive(new BufferDst(room), 0)
        if (count === -EAGAIN) break
        if (count <= 0) {
          endpoint.close()
          connections.splice(connections.indexOf(connection), 1)
          break
        }
        connection.waiting = new BufferSrc(room.slice(0, count))
      }
    }
  }
}
