/**
 * The guest's standard descriptors. At a terminal they are a terminal of the guest's own, whose other end is pumped to
 * the host's; otherwise each is a file over the host's descriptor. Where only the output is a terminal, only output is
 * pumped: whoever stands at the other end of the pipeline may be reading that terminal.
 */
import {
  AT_EMPTY_PATH, O_NOCTTY, O_RDWR, S_IFCHR, S_IFMT, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, TCGETS,
} from '../abi/constants.ts'
import { ENODEV, ENOTTY } from '../abi/errno.ts'
import { TERMIOS } from '../abi/layout.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { DevptsSuper } from '../fs/devpts/super.ts'
import { openHostStream } from '../fs/hostfile/stdio.ts'
import { HostTerminal } from '../fs/tty/host-tty.ts'
import { setControlling, signalForeground } from '../fs/tty/job-control.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { kernelSignal } from '../kernel/signal-info.ts'
import { sendToGroup, sendToProcessGroup } from '../kernel/signal.ts'
import type { Task } from '../kernel/task.ts'
import { newHostStat } from '../platform/host.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import type { File } from '../vfs/file.ts'
import { lookup, LOOKUP_FOLLOW, openAt, type WalkContext } from '../vfs/namei.ts'
import { makedev } from '../vfs/vfs.ts'

const STANDARD = [0, 1, 2]
const NULL_DEVICE = makedev(1, 3)
/** Keys send these to everybody in the foreground. */
const KEYBOARD_SIGNALS = [SIGINT, SIGQUIT, SIGTSTP, SIGHUP]

export class Stdio {
  readonly #kernel: Kernel
  readonly #host: LinuxHost
  #terminal: HostTerminal | undefined = undefined

  constructor(kernel: Kernel, host: LinuxHost) {
    this.#kernel = kernel
    this.#host = host
  }

  /** Puts descriptors 0, 1 and 2 into `fds`, as far as the sandbox has them. */
  install(fds: FdTable, walk: WalkContext): void {
    const terminals = STANDARD.map(fd => this.#host.ioctl(fd, TCGETS, new Uint8Array(TERMIOS.size)) >= 0)
    const out = terminals[1] ? 1 : terminals[2] ? 2 : -1
    const interactive = terminals[0] && terminals[1]
    const place = out < 0 ? -ENOTTY : this.#makeTerminal(walk, interactive ? 0 : -1, out)
    for (const fd of STANDARD) {
      const useTerminal = typeof place === 'string' && terminals[fd] && (fd > 0 || interactive)
      const file = useTerminal ? openAt(walk, undefined, place, O_RDWR | O_NOCTTY, 0) : this.#open(walk, fd)
      if (file !== undefined && !failed(file)) fds.set(fd, file, false)
    }
  }

  /** The terminal becomes the controlling one of the first process. */
  adopt(task: Task): void {
    if (this.#terminal === undefined) return
    setControlling(this.#terminal.tty, task, true, false)
    this.#terminal.start()
  }

  /** The launcher got a signal: it means the guest. */
  signal(init: Task, signo: number): void {
    if (signo === SIGWINCH) {
      this.#terminal?.resize()
      return
    }
    const tty = this.#terminal?.tty
    if (!KEYBOARD_SIGNALS.includes(signo)) sendToGroup(init.group, kernelSignal(signo))
    else if (tty?.foreground !== undefined) signalForeground(tty, signo)
    else sendToProcessGroup(init.group.processGroup, signo)
  }

  close(): void {
    this.#terminal?.close()
  }

  /** A pseudo terminal for the host's: the path of its slave. Without a devpts there is none. */
  #makeTerminal(walk: WalkContext, inFd: number, outFd: number): OrErrno<string> {
    const place = lookup(walk, undefined, '/dev/pts', LOOKUP_FOLLOW)
    if (failed(place)) return place
    const { sb } = place.dentry
    if (!(sb instanceof DevptsSuper)) return -ENODEV
    const tty = sb.allocate(walk.cred)
    if (failed(tty)) return tty
    this.#terminal = new HostTerminal(this.#kernel, tty, inFd, outFd)
    return `/dev/pts/${tty.index}`
  }

  /** /dev/null is the guest's own; a descriptor that isn't open stays so. */
  #open(walk: WalkContext, fd: number): OrErrno<File> | undefined {
    const stat = newHostStat()
    if (this.#host.statx(fd, '', AT_EMPTY_PATH, stat) < 0) return undefined
    if ((stat.mode & S_IFMT) === S_IFCHR && makedev(stat.rdevMajor, stat.rdevMinor) === NULL_DEVICE) {
      return openAt(walk, undefined, '/dev/null', O_RDWR, 0)
    }
    return openHostStream(this.#kernel, fd, walk.cred)
  }
}
