/**
 * devpts: pseudo terminals. Opening `ptmx` makes a new one, whose slave appears as a node named by its number until the
 * master is closed. Each mount is an instance of its own (as with newinstance, the only kind there is today).
 */
import {
  DEVPTS_SUPER_MAGIC,
  MS_RDONLY,
  O_ACCMODE,
  O_CLOEXEC,
  O_NOCTTY,
  O_NONBLOCK,
  RLIMIT_NOFILE,
  S_IFCHR,
  S_IFMT,
} from '../../abi/constants.ts'
import { EINVAL, EIO, EMFILE, ENOSPC } from '../../abi/errno.ts'
import type { Credentials, UserNamespace } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { rootDentry } from '../../vfs/dentry.ts'
import type { File, IoctlContext } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Path } from '../../vfs/path.ts'
import { makedev } from '../../vfs/vfs.ts'
import { lookupChild } from '../../vfs/walk.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { type CustomNode, type DirNode, dir } from '../pseudo/node.ts'
import { PseudoSuper } from '../pseudo/super.ts'
import { MasterFile, type PtyHome } from '../tty/master-file.ts'
import { openSlave } from '../tty/slave-file.ts'
import { Tty } from '../tty/tty.ts'

/** Unix98 slaves have majors from 136 on; one is enough for 2^20 of them. */
const SLAVE_MAJOR = 136
const MAX_PTYS = 4096

interface DevptsOptions {
  uid: number | undefined
  gid: number | undefined
  mode: number
  ptmxMode: number
  max: number
}

export class DevptsSuper extends PseudoSuper implements PtyHome {
  override readonly fsType = 'devpts'
  override readonly magic = DEVPTS_SUPER_MAGIC
  override readonly mayChangeMode = true
  override readonly blockSize = 1024
  override readonly root: PseudoInode
  readonly #kernel: Kernel
  readonly #options: DevptsOptions
  readonly #ttys = new Map<number, Tty>()

  constructor(kernel: Kernel, options: DevptsOptions) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.#kernel = kernel
    this.#options = options
    this.root = new PseudoInode(this, this.#tree(), this)
    this.root.mode = (this.root.mode & S_IFMT) | 0o755
  }

  /** Its device nodes are its own, whoever mounts it. */
  override ownedBy(userNs: UserNamespace): void {
    this.userNs = userNs
  }

  #tree(): DirNode<DevptsSuper> {
    const slave: CustomNode<Tty> = {
      kind: 'custom',
      mode: S_IFCHR | 0o600,
      rdev: tty => tty.rdev,
      open: (tty, path, flags, cred) => openSlave(tty, this.#kernel, path, flags, cred),
    }
    const ptmx: CustomNode<DevptsSuper> = {
      kind: 'custom',
      mode: S_IFCHR | this.#options.ptmxMode,
      rdev: () => makedev(5, 2),
      open: (_home, path, flags, cred) => this.#openMaster(path, flags, cred),
    }
    return dir(
      { ptmx },
      {
        mode: 0o755,
        dynamic: {
          find: (_home, name) => {
            const tty = /^(0|[1-9]\d*)$/.test(name) ? this.#ttys.get(Number(name)) : undefined
            return tty === undefined ? undefined : { subject: tty, node: slave }
          },
          list: () => [...this.#ttys.keys()].sort((a, b) => a - b).map(index => [index, `${index}`]),
        },
      },
    )
  }

  #openMaster(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    const tty = this.allocate(cred)
    return failed(tty) ? tty : new MasterFile(path, flags, cred, tty, this)
  }

  /** A new terminal of this instance, its node owned by `cred`; -ENOSPC when there are too many. */
  allocate(cred: Credentials): OrErrno<Tty> {
    if (this.#ttys.size >= this.#options.max) return -ENOSPC
    let index = 0
    while (this.#ttys.has(index)) index++
    const tty = new Tty(index, makedev(SLAVE_MAJOR, index))
    this.#ttys.set(index, tty)
    const inode = this.root.lookup(`${index}`)
    if (!failed(inode)) {
      inode.uid = this.#options.uid ?? cred.fsuid
      inode.gid = this.#options.gid ?? cred.fsgid
      inode.mode = S_IFCHR | this.#options.mode
    }
    return tty
  }

  /** PtyHome. */
  masterClosed(tty: Tty): void {
    if (this.#ttys.get(tty.index) === tty) this.#ttys.delete(tty.index)
  }

  /** PtyHome: the slave through the mount by which the master was opened. */
  openPeer(master: MasterFile, context: IoctlContext, flags: number): number {
    const task = context.task as Task
    if ((flags & ~(O_ACCMODE | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)) !== 0) return -EINVAL
    const dentry = lookupChild(rootDentry(this), `${master.tty.index}`)
    if (failed(dentry)) return dentry
    if (dentry.inode === undefined) return -EIO
    const file = openSlave(
      master.tty,
      this.#kernel,
      { mount: master.path.mount, dentry },
      flags & ~O_CLOEXEC,
      task.cred,
    )
    if (failed(file)) return file
    const fd = task.fds.install(file, (flags & O_CLOEXEC) !== 0, 0, task.group.rlimits.soft(RLIMIT_NOFILE))
    if (fd === -EMFILE) filePut(file)
    return fd
  }

  override options(): string {
    const { uid, gid, mode, ptmxMode } = this.#options
    const octal = (value: number) => value.toString(8).padStart(3, '0')
    return [
      ...(uid === undefined ? [] : [`uid=${uid}`]),
      ...(gid === undefined ? [] : [`gid=${gid}`]),
      `mode=${octal(mode)}`,
      `ptmxmode=${octal(ptmxMode)}`,
    ].join(',')
  }

  override remount(flags: number, options: string): Status {
    const changed = parseOptions(options, this.#options)
    if (failed(changed)) return changed
    Object.assign(this.#options, changed)
    this.flags = (this.flags & ~MS_RDONLY) | (flags & MS_RDONLY)
    return 0
  }
}

function parseOptions(text: string, defaults: DevptsOptions): OrErrno<DevptsOptions> {
  const options = { ...defaults }
  for (const option of text.split(',')) {
    const [key, value = ''] = option.split('=', 2)
    if (key === '' || key === 'newinstance') continue
    const octal = key === 'mode' || key === 'ptmxmode'
    const number = (octal ? /^[0-7]+$/ : /^\d+$/).test(value) ? Number.parseInt(value, octal ? 8 : 10) : -1
    if (number < 0) return -EINVAL
    if (key === 'uid') options.uid = number
    else if (key === 'gid') options.gid = number
    else if (key === 'mode') options.mode = number & 0o777
    else if (key === 'ptmxmode') options.ptmxMode = number & 0o777
    else if (key === 'max') options.max = number
    else return -EINVAL
  }
  return options
}

export function devptsType(kernel: Kernel): FsType {
  return {
    name: 'devpts',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, flags: number, options: string, _context: MountContext): OrErrno<DevptsSuper> {
      const chosen = parseOptions(options, {
        uid: undefined,
        gid: undefined,
        mode: 0o600,
        ptmxMode: 0,
        max: MAX_PTYS,
      })
      if (failed(chosen)) return chosen
      const sb = new DevptsSuper(kernel, chosen)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}
