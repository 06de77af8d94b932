/**
 * A sandbox that was started before this program was (native/launcher/spare.c), in the hope that it will order one of that
 * kind. It is a child of ours and waits for the order, or for the end of our side of its socket.
 *
 *   take      once, at the start: the socket is inherited by nobody else
 *   order     it becomes the sandbox of a container
 *   dismiss   it ends; nothing of it is left when this resolves
 */
import { F_SETFD, FD_CLOEXEC } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { HostProcess } from './host-process.ts'

export class Spare {
  readonly process: HostProcess
  /** 'host' or 'sandbox', as LaunchOptions.network. */
  readonly network: string
  /** The network namespace that it is in: 'new', or that at a path. */
  readonly networkNamespace: string
  readonly #addon: Addon
  /** -1: given away, or closed. */
  #socket: number

  private constructor(addon: Addon, socket: number, pid: number, network: string, namespace: string) {
    this.#addon = addon
    this.#socket = socket
    this.process = new HostProcess(addon, pid)
    this.network = network
    this.networkNamespace = namespace
    addon.syscall(NR.fcntl, socket, F_SETFD, FD_CLOEXEC)
  }

  /** That which the launcher has made for this process; undefined where there is none, or it was taken before. */
  static take(addon: Addon): Spare | undefined {
    const [, socket, pid, network, namespace] =
      /^(\d+):(\d+):(\w+):(.+)$/s.exec(process.env[VARIABLE] ?? '') ?? []
    if (namespace === undefined) return undefined
    delete process.env[VARIABLE]
    return new Spare(addon, Number(socket), Number(pid), network, namespace)
  }

  get waiting(): boolean {
    return this.#socket >= 0
  }

  /**
   * `flags`: of the launcher's `sandbox`. The descriptors stay the caller's. The socket, on which launcher and sentry report
   * of their start, becomes the caller's; undefined where the spare is gone.
   */
  order(flags: readonly string[], log: number, terminal: number): number | undefined {
    const text = Buffer.from(flags.map(flag => `${flag}\0`).join(''))
    if (this.#addon.sendFds(this.#socket, text, log, terminal) !== text.length) return undefined
    const socket = this.#socket
    this.#socket = -1
    return socket
  }

  async dismiss(): Promise<void> {
    if (this.#socket < 0) return
    this.#addon.close(this.#socket)
    this.#socket = -1
    // With the launcher the sentry is killed, but only it would wait for the sentry's end.
    await this.process.exit
  }
}
const VARIABLE = 'CAISSON_SPARE'
