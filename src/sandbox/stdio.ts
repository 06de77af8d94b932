/**
 * The standard descriptors of a process that comes from outside. A terminal of the host's becomes a terminal of the
 * guest's own, whose other end is carried to the host's; every other descriptor is a file over the host's.
 *
 * Made before its process; `adopt` and `start` when there is one, `drain` and `close` when it has ended, however it did.
 */
import { F_GETFL, F_SETFL, O_NONBLOCK, O_RDWR, TCGETS } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { TERMIOS } from '../abi/layout.ts'
import { failed } from '../base/result.ts'
import { DevptsSuper } from '../fs/devpts/super.ts'
import { openHostStream } from '../fs/hostfile/stdio.ts'
import { HostTerminal } from '../fs/tty/host-tty.ts'
import { setControlling } from '../fs/tty/job-control.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import { openAt, type WalkContext } from '../vfs/namei.ts'
import { UserError } from './user-error.ts'

export class Stdio {
  readonly #kernel: Kernel
  #terminal: HostTerminal | undefined = undefined
  #devpts: DevptsSuper | undefined = undefined
  /** A terminal's descriptor that goes with this object. */
  #owned = -1

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** The caller's own 0, 1 and 2, each a terminal or not. */
  installOwn(fds: FdTable, walk: WalkContext): void {
    const terminals = [0, 1, 2].filter(fd => this.#isTerminal(fd))
    const output = terminals.includes(1) ? 1 : terminals.includes(2) ? 2 : 0
    if (terminals.length > 0) this.#install(fds, walk, terminals.includes(0) ? 0 : -1, output, terminals)
    for (let fd = 0; fd < 3; fd++) {
      if (fds.get(fd) !== undefined || this.#kernel.host.poll(fd, 0) === POLL_NO_DESCRIPTOR) continue
      fds.set(fd, openHostStream(this.#kernel, fd, walk.cred), false)
    }
  }

  /** `hostFd` is taken over: the host's terminal behind descriptors 0, 1 and 2. */
  installTerminal(fds: FdTable, walk: WalkContext, hostFd: number): void {
    const { host } = this.#kernel
    this.#owned = hostFd
    if (!this.#isTerminal(hostFd)) throw new UserError('what was sent as the terminal is none')
    // It was made for us: nobody else minds.
    host.fcntl(hostFd, F_SETFL, Math.max(0, host.fcntl(hostFd, F_GETFL, 0)) | O_NONBLOCK)
    this.#install(fds, walk, hostFd, hostFd, [0, 1, 2])
  }

  /** `hostFd` is taken over and becomes the descriptor `fd`; the process is shown as its owner. */
  installStream(fds: FdTable, walk: WalkContext, hostFd: number, fd: number): void {
    const owner = { uid: walk.cred.fsuid, gid: walk.cred.fsgid }
    fds.set(fd, openHostStream(this.#kernel, hostFd, walk.cred, { owned: true, owner }), false)
  }

  #isTerminal(fd: number): boolean {
    return this.#kernel.host.ioctl(fd, TCGETS, new Uint8Array(TERMIOS.size)) >= 0
  }

  #install(fds: FdTable, walk: WalkContext, input: number, output: number, at: readonly number[]): void {
    const devpts = devptsOf(walk.mountNs)
    if (devpts === undefined)
      throw new UserError('no terminal for the process: no devpts is mounted in its root')
    const tty = devpts.allocate(walk.cred)
    if (failed(tty)) throw new UserError(`no terminal for the process: ${errnoName(-tty)}`)
    this.#devpts = devpts
    this.#terminal = new HostTerminal(this.#kernel, tty, input, output)
    const file = openAt(walk, undefined, `/dev/pts/${tty.index}`, O_RDWR, 0)
    if (failed(file)) throw new UserError(`no terminal for the process: ${errnoName(-file)}`)
    for (const fd of at) fds.set(fd, fileGet(file), false)
    filePut(file)
  }

  /** The process leads the session that the terminal controls. */
  adopt(task: Task): void {
    if (this.#terminal !== undefined) setControlling(this.#terminal.tty, task, true, false)
  }

  /** From now on bytes move. */
  start(): void {
    this.#terminal?.start()
  }

  /** The size of the host's terminal changed. */
  resize(): void {
    this.#terminal?.resize()
  }

  /** Its process has ended: `done` when what it wrote has gone out, or nobody takes it. */
  drain(done: () => void): void {
    if (this.#terminal === undefined) done()
    else this.#terminal.drain(PATIENCE_MS, done)
  }

  /** What is on its way out is written first; who still has the terminal open finds it hung up. */
  close(): void {
    if (this.#terminal !== undefined) {
      const { tty } = this.#terminal
      this.#terminal.close()
      this.#terminal = undefined
      tty.closeMaster()
      this.#devpts?.masterClosed(tty)
    }
    if (this.#owned < 0) return
    this.#kernel.host.unwatch(this.#owned)
    this.#kernel.host.close(this.#owned)
    this.#owned = -1
  }
}

/** For who reads from a terminal: longer than a machine that is busy takes. */
const PATIENCE_MS = 2000

/** POLLNVAL: the descriptor is closed. */
const POLL_NO_DESCRIPTOR = 0x20

function devptsOf(namespace: MountNamespace): DevptsSuper | undefined {
  for (const mount of namespace.mounts) if (mount.sb instanceof DevptsSuper) return mount.sb
  return undefined
}
