/**
 * The sentry's end of the socket pair to the launcher (native/launcher): signals that were sent to the launcher, and
 * connections to the control socket. One message is one byte: a signal's number, or 0 with a connected socket. In a sandbox
 * for containers there is one before all others, the settings.
 */
import { POLLIN } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import { pollIn } from '../platform/poll-in.ts'

/**
 * As the launcher has them: the sockets to it, to the zygote and to the broker; in a sandbox for containers the pipe for
 * reports; the TAP device of a command.
 */
const LAUNCHER_FD = 3
export const ZYGOTE_FD = 4
const REPORT_FD = 5
export const BROKER_FD = 6
export const TAP_FD = 7

export interface LauncherEvents {
  /** Somebody sent `signo` to the launcher: a terminal, a shell, kill(1). */
  signal(signo: number): void
  /** A control client connected; the descriptor is the receiver's. */
  connected(fd: number): void
  /** The launcher is gone. The host is about to kill the sentry. */
  closed(): void
}

/** Starts to listen; to be called when the platform's loop can run callbacks. */
export function watchLauncher(host: LinuxHost, events: LauncherEvents): void {
  const byte = new Uint8Array(1)
  // Edge-triggered: whatever came before the watch is reported once.
  host.watch(LAUNCHER_FD, POLLIN, () => {
    for (;;) {
      const length = host.receive(LAUNCHER_FD, byte)
      if (length === -EAGAIN) return
      if (length <= 0) {
        host.unwatch(LAUNCHER_FD)
        return events.closed()
      }
      if (host.receivedFd >= 0) events.connected(host.receivedFd)
      else events.signal(byte[0])
    }
  })
}

/**
 * Waits for the flags that the sandbox was ordered with, which a spare one was started without, and takes the log that comes
 * along as standard output and error. To be called before the sentry has locked itself in.
 */
export function awaitSettings(addon: Addon, host: LinuxHost): string[] {
  const text = new Uint8Array(MAX_SETTINGS)
  let length = -EAGAIN
  while (length === -EAGAIN) {
    pollIn(addon, [LAUNCHER_FD], -1)
    length = host.receive(LAUNCHER_FD, text)
  }
  if (length <= 0 || host.receivedFd < 0) throw new Error('the launcher has ended')
  for (const fd of [1, 2]) addon.syscall(NR.dup3, host.receivedFd, fd, 0)
  host.close(host.receivedFd)
  // The last byte is a 0.
  return Buffer.from(text.buffer, 0, length - 1)
    .toString()
    .split('\n')
    .filter(flag => flag !== '')
}
/** As the launcher has it. */
const MAX_SETTINGS = 4096

/** The pipe to whoever waits for the start of a sandbox for containers (launch.ts). */
export class StartReports {
  readonly #host: LinuxHost
  #open = true

  constructor(host: LinuxHost) {
    this.#host = host
  }

  /** A step that is done, or what failed. */
  say(line: string): void {
    if (this.#open) this.#host.pwrite(REPORT_FD, Buffer.from(`${line}\n`), -1)
  }

  /** Nobody waits any more, before `close`. */
  onReaderGone(gone: () => void): void {
    this.#host.watch(REPORT_FD, 0, () => {
      if (!this.#open) return
      this.close()
      gone()
    })
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#host.unwatch(REPORT_FD)
    this.#host.close(REPORT_FD)
  }
}
