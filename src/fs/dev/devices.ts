/** The character devices that every Linux has: null(4), zero(4), full(4), random(4), tty(4). */
import {
  CAP_SYS_ADMIN,
  O_NOCTTY,
  RNDADDENTROPY,
  RNDADDTOENTCNT,
  RNDCLEARPOOL,
  RNDGETENTCNT,
  RNDRESEEDCRNG,
  RNDZAPENTCNT,
  S_IFCHR,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENOSPC, ENXIO, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Host } from '../../platform/host.ts'
import { File, IO_SHARE, type IoctlContext, type MapSource } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import { FuseDevice } from '../fuse/device.ts'
import { openSlave } from '../tty/slave-file.ts'
import { Tty } from '../tty/tty.ts'
import { openKmsg } from './kmsg.ts'

/** A node of /dev: name, device number, mode. Only what is listed here exists. */
export interface DeviceNode {
  readonly name: string
  readonly major: number
  readonly minor: number
  readonly mode: number
}

export const STANDARD_NODES: readonly DeviceNode[] = [
  { name: 'null', major: 1, minor: 3, mode: 0o666 },
  { name: 'zero', major: 1, minor: 5, mode: 0o666 },
  { name: 'full', major: 1, minor: 7, mode: 0o666 },
  { name: 'random', major: 1, minor: 8, mode: 0o666 },
  { name: 'urandom', major: 1, minor: 9, mode: 0o666 },
  { name: 'tty', major: 5, minor: 0, mode: 0o666 },
]

/** What only a whole /dev has; a container gets it if its configuration names it. */
export const FURTHER_NODES: readonly DeviceNode[] = [
  { name: 'fuse', major: 10, minor: 229, mode: 0o666 },
  { name: 'kmsg', major: 1, minor: 11, mode: 0o644 },
]

/** Registers the drivers behind these nodes. */
export function registerDevices(kernel: Kernel): void {
  const { devices } = kernel.vfs
  const { host } = kernel
  devices.register(S_IFCHR, 1, 3, (path, flags, cred) => new NullFile(path, flags, cred))
  devices.register(S_IFCHR, 1, 5, (path, flags, cred) => new ZeroFile(path, flags, cred))
  devices.register(S_IFCHR, 1, 7, (path, flags, cred) => new FullFile(path, flags, cred))
  devices.register(S_IFCHR, 1, 8, (path, flags, cred) => new RandomFile(path, flags, cred, host))
  devices.register(S_IFCHR, 1, 9, (path, flags, cred) => new RandomFile(path, flags, cred, host))
  devices.register(S_IFCHR, 1, 11, (path, flags, cred) => openKmsg(kernel, path, flags, cred))
  devices.register(S_IFCHR, 10, 229, (path, flags, cred) => new FuseDevice(path, flags, cred))
  devices.register(S_IFCHR, 5, 0, (path, flags, cred) => openControllingTerminal(kernel, path, flags, cred))
}

/** Bytes read or written at once. */
const PIECE = 65536

/** Random bytes are dear. */
const RANDOM_SHARE = 256 << 10

/** A device without positions: seeking does nothing, and every offset is as good as another. */
class PlacelessFile extends File {
  override get seekable(): boolean {
    return true
  }
  override seek(): number {
    this.pos = 0
    return 0
  }
  override read(into: IoDst): number {
    return this.readAt(into, 0)
  }
  override write(from: IoSrc): number {
    return this.writeAt(from, 0)
  }
}

/** Reads end at once, writes vanish. */
class NullFile extends PlacelessFile {
  override readAt(_into: IoDst, _offset: number): number {
    return 0
  }
  /** Not even looked at: a bad buffer is no error. */
  override writeAt(from: IoSrc, _offset: number): number {
    const n = from.remaining
    from.consume(n)
    return n
  }
}

class ZeroFile extends NullFile {
  override get share(): number {
    return IO_SHARE
  }
  override readAt(into: IoDst, _offset: number): number {
    return putZeros(into)
  }
  /** Mapped, it is anonymous memory. */
  override mapping(): MapSource {
    return { hostFd: undefined, offset: 0 }
  }
}

class FullFile extends NullFile {
  override get share(): number {
    return IO_SHARE
  }
  override readAt(into: IoDst, _offset: number): number {
    return putZeros(into)
  }
  override writeAt(): number {
    return -ENOSPC
  }
}

function putZeros(into: IoDst): number {
  let done = 0
  while (into.remaining > 0) {
    const window = into.window(PIECE)
    window.fill(0)
    const status = into.commit(window.length)
    if (status < 0) return done > 0 ? done : status
    done += window.length
  }
  return done
}

/** random and urandom: the host's generator is always ready. */
class RandomFile extends PlacelessFile {
  readonly #host: Host

  constructor(path: Path, flags: number, cred: Credentials, host: Host) {
    super(path, flags, cred)
    this.#host = host
  }
  override get share(): number {
    return RANDOM_SHARE
  }
  override readAt(into: IoDst, _offset: number): number {
    let done = 0
    while (into.remaining > 0) {
      const window = into.window(PIECE)
      this.#host.random(window)
      const status = into.commit(window.length)
      if (status < 0) return done > 0 ? done : status
      done += window.length
    }
    return done
  }
  /** What is written would be stirred in; the host's pool needs none of ours. */
  override writeAt(from: IoSrc, _offset: number): number {
    let done = 0
    while (from.remaining > 0) {
      const window = from.window(PIECE)
      if (typeof window === 'number') return done > 0 ? done : window
      from.consume(window.length)
      done += window.length
    }
    return done
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request === RNDGETENTCNT) {
      const bits = new Uint8Array(4)
      new DataView(bits.buffer).setInt32(0, 256, true)
      return context.copyOut(argument, bits)
    }
    if (![RNDADDENTROPY, RNDADDTOENTCNT, RNDZAPENTCNT, RNDCLEARPOOL, RNDRESEEDCRNG].includes(request))
      return -EINVAL
    if (!context.cred.capable(CAP_SYS_ADMIN)) return -EPERM
    if (request !== RNDADDENTROPY && request !== RNDADDTOENTCNT) return 0
    const count = new Uint8Array(4)
    if (context.copyIn(argument, count) < 0) return -EFAULT
    return new DataView(count.buffer).getInt32(0, true) < 0 ? -EINVAL : 0
  }
}

/** /dev/tty: the terminal of whoever opens it. */
function openControllingTerminal(
  kernel: Kernel,
  path: Path,
  flags: number,
  cred: Credentials,
): OrErrno<File> {
  const terminal = kernel.current?.group.session.terminal
  if (!(terminal instanceof Tty)) return -ENXIO
  return openSlave(terminal, kernel, path, flags | O_NOCTTY, cred)
}
