/**
 * The guest's standard descriptors. Those that are the host's terminal become a terminal of the guest's own, whose
 * other end is carried to the host's; each other one is a file over the host's descriptor.
 *
 * Signals that reach the launcher go where a terminal would have sent them.
 */
import {
  O_RDWR,
  SIGCONT,
  SIGHUP,
  SIGINT,
  SIGQUIT,
  SIGTERM,
  SIGTSTP,
  SIGUSR1,
  SIGUSR2,
  SIGWINCH,
  TCGETS,
} from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { TERMIOS } from '../abi/layout.ts'
import { failed } from '../base/result.ts'
import { DevptsSuper } from '../fs/devpts/super.ts'
import { openHostStream } from '../fs/hostfile/stdio.ts'
import { HostTerminal } from '../fs/tty/host-tty.ts'
import { setControlling } from '../fs/tty/job-control.ts'
import type { Tty } from '../fs/tty/tty.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { sendToGroup } from '../kernel/signal.ts'
import { kernelSignal } from '../kernel/signal-info.ts'
import type { Task } from '../kernel/task.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import { fileGet } from '../vfs/file-ref.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import { openAt, type WalkContext } from '../vfs/namei.ts'
import { UserError } from './user-error.ts'

const PASSED_ON = new Set([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT])

export class Stdio {
  readonly #kernel: Kernel
  readonly #host: LinuxHost
  #terminal: HostTerminal | undefined = undefined
  #tty: Tty | undefined = undefined

  constructor(kernel: Kernel, host: LinuxHost) {
    this.#kernel = kernel
    this.#host = host
  }

  /** Fills descriptors 0, 1 and 2. */
  install(fds: FdTable, walk: WalkContext): void {
    const terminals = [0, 1, 2].filter(fd => this.#isTerminal(fd))
    const slave = terminals.length > 0 ? this.#openTerminal(walk, terminals) : undefined
    for (let fd = 0; fd < 3; fd++) {
      if (slave !== undefined && terminals.includes(fd)) fds.set(fd, fileGet(slave), false)
      else if (this.#host.poll(fd, 0) !== POLL_NO_DESCRIPTOR) {
        fds.set(fd, openHostStream(this.#kernel, fd, walk.cred), false)
      }
    }
  }

  #isTerminal(fd: number): boolean {
    return this.#host.ioctl(fd, TCGETS, new Uint8Array(TERMIOS.size)) >= 0
  }

  #openTerminal(walk: WalkContext, terminals: readonly number[]) {
    const devpts = devptsOf(walk.mountNs)
    if (devpts === undefined) return undefined
    const tty = devpts.allocate(walk.cred)
    if (failed(tty)) throw new UserError(`no terminal for the sandbox: ${errnoName(-tty)}`)
    const output = terminals.includes(1) ? 1 : terminals.includes(2) ? 2 : 0
    this.#terminal = new HostTerminal(this.#kernel, tty, terminals.includes(0) ? 0 : -1, output)
    this.#tty = tty
    const file = openAt(walk, undefined, `/dev/pts/${tty.index}`, O_RDWR, 0)
    if (failed(file)) throw new UserError(`no terminal for the sandbox: ${errnoName(-file)}`)
    return file
  }

  /** The first process leads the session that the terminal controls. */
  adopt(init: Task): void {
    if (this.#tty !== undefined) setControlling(this.#tty, init, true, false)
  }

  /** From now on bytes move. */
  start(): void {
    this.#terminal?.start()
  }

  /** A signal for the sandbox as a whole, as the launcher got it. */
  signal(init: Task, signo: number): void {
    if (signo === SIGWINCH) this.#terminal?.resize()
    else if (PASSED_ON.has(signo)) sendToGroup(init.group, kernelSignal(signo))
  }

  close(): void {
    this.#terminal?.close()
  }
}

/** POLLNVAL: the descriptor is closed. */
const POLL_NO_DESCRIPTOR = 0x20

function devptsOf(namespace: MountNamespace): DevptsSuper | undefined {
  for (const mount of namespace.mounts) if (mount.sb instanceof DevptsSuper) return mount.sb
  return undefined
}
