/**
 * TCP throughput between the stack, in this process, and the host's kernel over a veth pair: `node bench/host-link.ts
 * [out|in|both] [SECONDS]`. As root; python3 is the peer. With `--cpu-prof` it shows where the time goes.
 */
import { TCP_ESTABLISHED } from '../src/abi/constants.ts'
import { BufferDst, BufferSrc } from '../src/base/io.ts'
import { IpAddress, V4_ANY } from '../src/net/address.ts'
import { TcpEndpoint } from '../src/net/tcp/endpoint.ts'
import { JoinedNamespaces, LiveStack, usualPair } from '../test/net/live-stack.ts'

const SINK = `
import socket
s = socket.create_server(('10.77.0.1', 5001)); print('ready', flush=True)
c, _ = s.accept(); b = bytearray(1 << 20)
while c.recv_into(b): pass`
const SOURCE = `
import socket
s = socket.create_connection(('10.77.0.2', 5001)); b = bytes(1 << 20)
while True: s.sendall(b)`
const CHUNK = 256 << 10

const [direction = 'both', seconds = '5'] = process.argv.slice(2)
const net = new JoinedNamespaces(usualPair)
const live = new LiveStack()
try {
  live.takeOver(net.inside)
  if (direction !== 'in') await report('out', await send())
  if (direction !== 'out') await report('in', await receive())
} finally {
  live.close()
  net.close()
}

async function send(): Promise<() => number> {
  const server = net.start('python3', '-c', SINK)
  await new Promise(resolve => server.stdout!.once('data', resolve))
  const endpoint = new TcpEndpoint(live.tcp)
  endpoint.connect(IpAddress.of('10.77.0.1'), 5001)
  await live.until(() => endpoint.state === TCP_ESTABLISHED)
  const chunk = new Uint8Array(CHUNK)
  let total = 0
  live.step = () => {
    for (;;) {
      const count = endpoint.send(new BufferSrc(chunk), 0)
      if (count < 0) return
      total += count
    }
  }
  return () => total
}

async function receive(): Promise<() => number> {
  const listener = new TcpEndpoint(live.tcp)
  listener.bind(V4_ANY, 5001)
  listener.listen(5)
  net.start('python3', '-c', SOURCE)
  const endpoint = await live.until(() => listener.accept(), 30)
  const room = new Uint8Array(CHUNK)
  let total = 0
  live.step = () => {
    for (;;) {
      const count = endpoint.receive(new BufferDst(room), 0)
      if (count <= 0) return
      total += count
    }
  }
  return () => total
}

async function report(name: string, total: () => number): Promise<void> {
  live.pump()
  await new Promise(resolve => setTimeout(resolve, 500))
  const before = total()
  const start = performance.now()
  const cpu = process.cpuUsage()
  await new Promise(resolve => setTimeout(resolve, Number(seconds) * 1000))
  const elapsed = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const { statistics } = live.stack.devices.byName('eth0')!
  const rate = ((total() - before) * 8) / elapsed / 1e9
  console.log(
    `${name}: ${rate.toFixed(2)} Gbit/s, CPU ${(user / elapsed / 1e4).toFixed(0)} % user ` +
      `${(system / elapsed / 1e4).toFixed(0)} % system, ${JSON.stringify(statistics)}`,
  )
  live.step = undefined
}
