/**
 * HostNetwork: the network namespace of the host that the sentry lives in, as the sockets of a guest's network namespace
 * pass through to it. There is one at most; `useHostNetwork` ties it to a namespace, and without it that one has unix
 * sockets only.
 */
import { AF_INET, O_RDONLY, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, SOCK_DGRAM } from '../../abi/constants.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { Host } from '../../platform/host.ts'
import type { HostSockets } from '../../platform/host-sockets.ts'
import type { Platform } from '../../platform/platform.ts'
import { netStack } from '../stack.ts'
import { HostDevices } from './devices.ts'
import type { HostSocket } from './host-socket.ts'
import { HostSettings } from './settings.ts'

/** What is shown of one file at most. */
const MAX_TEXT = 1 << 20

export class HostNetwork {
  readonly host: Host
  readonly platform: Platform
  readonly sockets: HostSockets
  /** The guest's sockets, for /proc/net. */
  readonly open = new Set<HostSocket>()
  /** A descriptor of the sentry's own /proc/self/net; -1 where the jail has no procfs. */
  readonly #proc: number
  readonly devices: HostDevices
  /** Its /proc/sys/net; undefined where that can't be had. */
  readonly settings: HostSettings | undefined

  /** `proc`: /proc/self/net, and `settings`: /proc/sys/net, each -1 where there is none. */
  constructor(host: Host, platform: Platform, sockets: HostSockets, proc: number, settings: number) {
    this.host = host
    this.platform = platform
    this.sockets = sockets
    this.#proc = proc
    this.devices = new HostDevices(sockets)
    this.settings = settings < 0 ? undefined : new HostSettings(host, settings)
  }

  /** A socket to ask about interfaces with. */
  querySocket(): number {
    if (this.#query < 0) this.#query = this.sockets.open(AF_INET, SOCK_DGRAM, 0)
    return this.#query
  }
  #query = -1

  /** The text of a file in /proc/net; '' where it can't be had. */
  procText(name: string): string {
    if (this.#proc < 0) return ''
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    const fd = this.host.openat2(this.#proc, name, O_RDONLY, 0, resolve)
    if (fd < 0) return ''
    let text = ''
    const piece = new Uint8Array(16384)
    while (text.length < MAX_TEXT) {
      const count = this.host.pread(fd, piece, -1)
      if (count <= 0) break
      text += fromBytes(piece, 0, count)
    }
    this.host.close(fd)
    return text
  }
}

/** From now on internet and routing sockets of `ns` are the host's. */
export function useHostNetwork(ns: NetNamespace, network: HostNetwork): void {
  netStack(ns).host = network
}
