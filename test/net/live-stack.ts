/**
 * For tests of the stack against the host's: two network namespaces joined by a veth pair, of which the host's kernel keeps
 * one end (`outside`), and a stack in this process takes over the other (`inside`): by a packet socket, as a sentry does, or
 * on a TAP device. Needs root. The stack runs on Node's event loop.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { CLONE_NEWNET, O_CLOEXEC, POLLIN, POLLOUT } from '../../src/abi/constants.ts'
import { NR } from '../../src/abi/syscall-numbers.ts'
import { NSEC_PER_SEC } from '../../src/base/clock.ts'
import { failed } from '../../src/base/result.ts'
import { Timers } from '../../src/kernel/timers.ts'
import { StackNetwork } from '../../src/net/inet/stack-network.ts'
import { NetRuntime } from '../../src/net/ip/runtime.ts'
import { IpStack } from '../../src/net/ip-stack.ts'
import { HostLink, type LinkHost } from '../../src/net/link/host-link.ts'
import { LoopbackDevice } from '../../src/net/link/loopback.ts'
import { applyNetwork } from '../../src/net/setup/apply.ts'
import { readNetwork } from '../../src/net/setup/read.ts'
import { type NetworkRecord, parseMac } from '../../src/net/setup/record.ts'
import { RouteQuery } from '../../src/net/setup/route-query.ts'
import { TcpProtocol } from '../../src/net/tcp/protocol.ts'
import { IPPROTO_TCP } from '../../src/net/tcp/segment.ts'
import { UdpProtocol } from '../../src/net/udp/protocol.ts'
import { loadAddon } from '../../src/platform/addon.ts'
import { LinuxHost } from '../../src/platform/linux-host.ts'
import { LinuxLinks } from '../../src/platform/linux-links.ts'
import { LinuxSockets } from '../../src/platform/linux-sockets.ts'
import { takeNetwork } from '../../src/sandbox/take-network.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const host = new LinuxHost(addon)
const sockets = new LinuxSockets(addon)

/** Why there can be no namespaces here, or false: for test()'s `skip`. */
export function cannotMakeNamespaces(): string | false {
  if (process.getuid?.() !== 0) return 'network namespaces take root'
  try {
    execFileSync('ip', ['netns', 'list'], { stdio: 'ignore' })
    return false
  } catch {
    return 'ip(8) is missing'
  }
}

/** The namespaces, from `new` to `close`; what was started in them is ended with them. */
export class JoinedNamespaces {
  readonly outside = `caisson-out-${process.pid}`
  readonly inside = `caisson-in-${process.pid}`
  readonly #children: ChildProcess[] = []

  /** `setUp`: lines for ip(8), each as of `ip -n NAMESPACE`. */
  constructor(setUp: (outside: string, inside: string) => readonly string[]) {
    try {
      for (const name of [this.outside, this.inside]) ip(`netns add ${name}`)
      for (const name of [this.outside, this.inside]) ip(`-n ${name} link set lo up`)
      for (const line of setUp(this.outside, this.inside)) ip(line)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** A program in the host's end. */
  start(command: string, ...args: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.outside, command, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#children.push(child)
    return child
  }
  /** What it has written, and its status. */
  async run(command: string, ...args: string[]): Promise<{ output: string; status: number | null }> {
    const child = this.start(command, ...args)
    let output = ''
    child.stdout!.on('data', data => {
      output += data
    })
    const status = await new Promise<number | null>(resolve => child.on('close', resolve))
    return { output, status }
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const name of [this.outside, this.inside]) {
      try {
        ip(`netns delete ${name}`, true)
      } catch {
        // It was never made.
      }
    }
  }
}

function ip(line: string, quiet = false): void {
  execFileSync('ip', line.split(' '), { stdio: quiet ? 'ignore' : 'inherit' })
}

/** The usual pair: 10.77.0.1 and fd77::1 outside, .2 and ::2 inside, default routes to the outside. */
export function usualPair(outside: string, inside: string): string[] {
  return [
    `link add eth0 netns ${inside} address 02:00:00:00:77:02 type veth peer name peer netns ${outside}`,
    `-n ${outside} addr add 10.77.0.1/24 broadcast 10.77.0.255 dev peer`,
    `-n ${outside} addr add fd77::1/64 dev peer nodad`,
    `-n ${outside} link set peer up`,
    `-n ${inside} addr add 10.77.0.2/24 broadcast 10.77.0.255 dev eth0`,
    `-n ${inside} addr add fd77::2/64 dev eth0 nodad`,
    `-n ${inside} link set eth0 up`,
    `-n ${inside} route add default via 10.77.0.1`,
    `-n ${inside} route add default via fd77::1`,
  ]
}

/** Does `work` while this thread is in a named network namespace. */
export function inNamed<T>(name: string, work: () => T): T {
  const own = addon.syscall(NR.open, '/proc/thread-self/ns/net', O_CLOEXEC)
  const other = addon.syscall(NR.open, `/run/netns/${name}`, O_CLOEXEC)
  if (own < 0 || addon.syscall(NR.setns, other, CLONE_NEWNET) < 0) throw new Error(`no namespace ${name}`)
  try {
    return work()
  } finally {
    addon.syscall(NR.setns, own, CLONE_NEWNET)
    addon.close(own)
    addon.close(other)
  }
}

export function readNamed(name: string): NetworkRecord {
  const query = inNamed(name, () => RouteQuery.open(sockets))
  if (failed(query)) throw new Error(`netlink: ${query}`)
  const record = readNetwork(query)
  query.close()
  if (failed(record)) throw new Error(`netlink: ${record}`)
  return record
}

/** A stack on Node's event loop. */
export class LiveStack {
  readonly timers = new Timers()
  readonly runtime = new NetRuntime(host, this.timers, into => host.random(into))
  readonly stack = new IpStack(this.runtime)
  readonly tcp = new TcpProtocol(new StackNetwork(this.stack))
  readonly udp = new UdpProtocol(this.stack)
  /** Called after each step: an application. */
  step: (() => void) | undefined = undefined
  readonly #watches = new Map<number, object>()
  #timeout: NodeJS.Timeout | undefined = undefined
  #closed = false

  constructor() {
    this.stack.protocols[IPPROTO_TCP] = this.tcp
  }

  /** As Host.watch, but for libuv's being level-triggered. */
  readonly linkHost: LinkHost = {
    watch: (fd, events, ready) => {
      const bits = ((events & POLLIN) !== 0 ? 1 : 0) | ((events & POLLOUT) !== 0 ? 2 : 0)
      const watch = addon.watchStart(fd, got => {
        ready(got < 0 ? POLLIN : ((got & 1) !== 0 ? POLLIN : 0) | ((got & 2) !== 0 ? POLLOUT : 0))
        this.pump()
      })
      if (typeof watch === 'number') return watch
      this.#watches.set(fd, watch)
      return addon.watchEvents(watch, bits)
    },
    unwatch: fd => {
      const watch = this.#watches.get(fd)
      this.#watches.delete(fd)
      if (watch !== undefined) addon.watchEnd(watch)
    },
    close: fd => addon.close(fd),
  }

  /** Takes over everything that the namespace has, as a sentry does. */
  takeOver(namespace: string): NetworkRecord {
    const { record, descriptors } = inNamed(namespace, () => takeNetwork(addon))
    const status = applyNetwork(this.stack, record, link => {
      if (link.name === 'lo') return this.#loopback()
      const fd = descriptors.get(link.index)
      return fd === undefined ? undefined : this.#link(link.name, fd, parseMac(link.mac)!)
    })
    if (status < 0) throw new Error(`the stack refuses: ${status}`)
    this.pump()
    return record
  }

  /** A link over a TAP device of the namespace, up. */
  tap(namespace: string, name: string, mac: string): HostLink {
    const device = this.#link(
      'eth0',
      inNamed(namespace, () => addon.openTapLink(name)),
      parseMac(mac)!,
    )
    this.#loopback()
    this.stack.devices.register(device)
    this.stack.devices.setUp(device, true)
    this.pump()
    return device
  }

  /** Timers, the backlog, the application; then until the next deadline. */
  pump(): void {
    if (this.#closed) return
    this.timers.expire(host.monotonic())
    this.runtime.backlog.drain()
    this.step?.()
    this.runtime.backlog.drain()
    clearTimeout(this.#timeout)
    const next = this.timers.next
    if (next === Number.POSITIVE_INFINITY) return
    const wait = Math.max(0, (next - host.monotonic()) / (NSEC_PER_SEC / 1000))
    this.#timeout = setTimeout(() => this.pump(), Math.min(Math.ceil(wait), 1000))
  }

  /** What `look` gives as soon as it gives something. */
  async until<T>(look: () => T | undefined | false, seconds = 10): Promise<T> {
    const end = Date.now() + seconds * 1000
    for (;;) {
      const found = look()
      this.pump()
      if (found !== undefined && found !== false) return found
      if (Date.now() > end) throw new Error(`nothing within ${seconds} s: ${look}`)
      await new Promise(resolve => setTimeout(resolve, 1))
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timeout)
    this.tcp.close()
    this.stack.close()
  }

  #loopback(): LoopbackDevice {
    const lo = new LoopbackDevice()
    this.stack.devices.register(lo)
    this.stack.devices.setUp(lo, true)
    return lo
  }
  #link(name: string, fd: number, mac: Uint8Array): HostLink {
    if (fd < 0) throw new Error(`no link: ${fd}`)
    return new HostLink(name, fd, mac, this.linkHost, new LinuxLinks(addon))
  }
}
