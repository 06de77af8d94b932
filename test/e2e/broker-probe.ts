/** A sentry that asks the broker for what it must not give; run in place of caisson's program by broker.test.ts. */
import { join } from 'node:path'
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from '../../src/abi/constants.ts'
import { errnoName } from '../../src/abi/errno.ts'
import { IpAddress } from '../../src/net/address.ts'
import { loadAddon } from '../../src/platform/addon.ts'
import { LinuxBroker } from '../../src/platform/linux-broker.ts'
import { LinuxHost } from '../../src/platform/linux-host.ts'
import { LinuxSockets } from '../../src/platform/linux-sockets.ts'
import { BROKER_FD } from '../../src/sandbox/launcher-channel.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const host = new LinuxHost(addon)
const sockets = new LinuxSockets(addon)
const broker = new LinuxBroker(addon, host, sockets, BROKER_FD)

function mapped(text: string): Uint8Array {
  const bytes = new Uint8Array(16)
  IpAddress.of(text).writeV6(new DataView(bytes.buffer), 0)
  return bytes
}
function deny(text: string, length: number, protocol = 0, firstPort = 0, lastPort = 65535): number {
  return broker.rule({
    allows: false,
    protocol,
    address: mapped(text),
    prefixLength: length,
    firstPort,
    lastPort,
  })
}
function say(what: string, result: number): void {
  console.log(`${what}: ${result < 0 ? errnoName(-result) : 'done'}`)
}
/** One request as bytes, and its answer's status. */
function ask(kind: number, protocol: number, address: string, port: number, length = 28): number {
  const request = new Uint8Array(length)
  const view = new DataView(request.buffer)
  if (length >= 28) {
    view.setUint8(4, kind)
    view.setUint8(5, protocol)
    view.setUint16(6, port, true)
    request.set(mapped(address), 8)
  }
  sockets.send(BROKER_FD, request, 0, undefined, undefined)
  const answer = new Uint8Array(8)
  let received = -11
  while (received === -11) received = host.receive(BROKER_FD, answer)
  return received === 8 ? new DataView(answer.buffer).getInt32(4, true) : -104
}

say('rule', deny('127.0.0.0', 96 + 8))
say('rule', deny('198.51.100.0', 96 + 24, IPPROTO_TCP, 80, 90))
say('listen', broker.listen(IPPROTO_TCP, mapped('127.0.0.1'), 0))
say('seal', broker.seal())
for (const [protocol, address, port] of [
  [IPPROTO_TCP, '127.0.0.1', 22],
  [IPPROTO_UDP, '127.255.255.255', 53],
  [IPPROTO_ICMP, '127.0.0.1', 0],
  [IPPROTO_TCP, '198.51.100.7', 85],
  [IPPROTO_TCP, '198.51.100.7', 91],
  [IPPROTO_UDP, '198.51.100.7', 85],
  [IPPROTO_TCP, '192.0.2.1', 80],
  [132, '192.0.2.1', 80],
] as const) {
  say(`connect ${protocol} ${address} ${port}`, ask(1, protocol, address, port))
}
say('listen afterwards', ask(2, IPPROTO_TCP, '192.0.2.1', 0))
say('rule afterwards', ask(3, 0, '0.0.0.0', 0))
say('seal again', ask(4, 0, '0.0.0.0', 0))
say('something else', ask(9, 0, '0.0.0.0', 0))
say('half a request', ask(1, 0, '0.0.0.0', 0, 10))
