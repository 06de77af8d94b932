/** The master's end of a pseudo terminal as an open file: what open("/dev/ptmx") gives. pty(7). */
import { TIOCGPTPEER } from '../../abi/constants.ts'
import { EAGAIN, EIO } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import type { Tty } from './tty.ts'
import { ttyIoctl } from './tty-ioctl.ts'

/** Where pseudo terminals come from: a devpts instance. */
export interface PtyHome {
  /** TIOCGPTPEER: opens the slave for the calling task, a new descriptor or an errno. */
  openPeer(master: MasterFile, context: IoctlContext, flags: number): number
  /** The master is closed: its slave has no name any more. */
  masterClosed(tty: Tty): void
}

export class MasterFile extends File {
  readonly tty: Tty
  readonly isMaster = true
  readonly #home: PtyHome

  constructor(path: Path, flags: number, cred: Credentials, tty: Tty, home: PtyHome) {
    super(path, flags, cred)
    this.tty = tty
    this.#home = home
  }

  override get canSignal(): boolean {
    return true
  }
  override get ownedWhenAsync(): boolean {
    return true
  }
  override get waitQueue(): WaitQueue {
    return this.tty.masterQueue
  }
  override get writesAll(): boolean {
    return true
  }
  override poll(): number {
    return this.tty.pollMaster()
  }

  /** In packet mode, each read begins with a byte that says what it is: 0 for output, else what has changed. */
  override read(into: IoDst): number {
    const { tty } = this
    if (into.remaining === 0) return 0
    let done = 0
    if (tty.packetMode) {
      const status = tty.takePacketStatus()
      if (status === 0 && tty.output.size === 0) return tty.slaveClosed ? -EIO : -EAGAIN
      const put = into.put(Uint8Array.of(status))
      if (put < 0 || status !== 0) return put
      done = 1
    } else if (tty.output.size === 0) return tty.slaveClosed ? -EIO : -EAGAIN
    while (tty.output.size > 0 && into.remaining > 0) {
      const n = into.put(tty.output.peek(into.remaining))
      if (n < 0) return done > 0 ? done : n
      tty.output.drop(n)
      done += n
    }
    tty.outputTaken()
    return done
  }

  override write(from: IoSrc): number {
    let done = 0
    while (from.remaining > 0) {
      const window = from.window(4096)
      if (typeof window === 'number') return done > 0 ? done : window
      const n = this.tty.type(window)
      from.consume(n)
      done += n
      if (n < window.length) return done > 0 ? done : -EAGAIN
    }
    return done
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request === TIOCGPTPEER) return this.#home.openPeer(this, context, argument)
    return ttyIoctl(this, context, request, argument)
  }

  override fdinfo(): string {
    return `tty-index:\t${this.tty.index}\n`
  }

  override release(): void {
    this.tty.closeMaster()
    this.#home.masterClosed(this.tty)
  }
}
