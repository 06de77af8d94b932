/**
 * proc: the processes of a pid namespace and the state of the kernel as files (proc(5)). A mount belongs to the pid
 * namespace of who made it.
 */
import { MS_RDONLY, PROC_SUPER_MAGIC } from '../../abi/constants.ts'
import { EINVAL, EPERM, ESRCH } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { NsProxy } from '../../kernel/namespaces.ts'
import type { PidNamespace } from '../../kernel/pid.ts'
import { Task } from '../../kernel/task.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { type DirNode, dir } from '../pseudo/node.ts'
import { PseudoSuper } from '../pseudo/super.ts'
import { caller, mayTrace } from './access.ts'
import { Descriptor } from './fd-dir.ts'
import { NsFs } from './ns-file.ts'
import { pidFiles, threadFiles } from './pid-dir.ts'
import { rootDirectory } from './root.ts'

const HIDE_OFF = 0
/** Foreign processes can't be looked into, or not be seen at all. */
const HIDE_CONTENTS = 1
const HIDE_ALL = 2
const HIDE_UNTRACEABLE = 4

export class ProcSuper extends PseudoSuper {
  override readonly fsType = 'proc'
  override readonly magic = PROC_SUPER_MAGIC
  override readonly blockSize = 1024
  // Processes come and go; so the check whether a name may be made is never reached.
  override readonly cachesMissing = false
  override readonly root: Inode
  readonly kernel: Kernel
  readonly pidNs: PidNamespace
  readonly nsFs: NsFs
  readonly processDirectory: DirNode<Task>
  readonly threadDirectory: DirNode<Task>
  hidePid = HIDE_OFF
  gid = 0
  /** subset=pid: nothing but the processes. */
  readonly onlyPids: boolean

  constructor(kernel: Kernel, pidNs: PidNamespace, nsFs: NsFs, onlyPids: boolean) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.kernel = kernel
    this.pidNs = pidNs
    this.nsFs = nsFs
    this.onlyPids = onlyPids
    this.source = 'proc'
    // A cached name holds its task: of those that ended only few may stay.
    this.dentries.limit = 512
    this.threadDirectory = dir(threadFiles(this))
    this.processDirectory = dir(pidFiles(this))
    this.root = new PseudoInode(this, rootDirectory(this), kernel)
  }

  /** A task is there until it was waited for. */
  override alive(subject: object): boolean {
    return !(subject instanceof Task) || subject.pid.task === subject
  }

  /** The files of a process belong to it, but those of one that may not be looked into to root. */
  override owner(inode: PseudoInode): void {
    const { subject, node } = inode
    const task = subject instanceof Task ? subject : subject instanceof Descriptor ? subject.task : undefined
    if (task === undefined) return
    const plainDirectory = node.kind === 'dir' && node.mode === undefined
    const open = plainDirectory || (!task.ended && task.mm.dumpable === 1)
    inode.uid = open ? task.cred.euid : 0
    inode.gid = open ? task.cred.egid : 0
  }

  override permission(inode: PseudoInode, cred: Credentials): Status | undefined {
    if (inode.node !== this.processDirectory) return undefined
    if (!this.alive(inode.subject)) return -ESRCH
    if (this.hidePid < HIDE_CONTENTS || this.hidePid === HIDE_UNTRACEABLE) return undefined
    return this.#maySee(inode.subject as Task, cred) ? undefined : -EPERM
  }

  /** Whether a process shows up at all. */
  visible(task: Task): boolean {
    if (this.hidePid < HIDE_ALL) return true
    return this.#maySee(task, caller(this.kernel).cred)
  }

  #maySee(task: Task, cred: Credentials): boolean {
    if (this.hidePid !== HIDE_UNTRACEABLE && cred.inGroup(this.gid)) return true
    return mayTrace(task)
  }

  override options(): string {
    const names: Record<number, string> = { 1: 'noaccess', 2: 'invisible', 4: 'ptraceable' }
    const parts: string[] = []
    if (this.gid !== 0) parts.push(`gid=${this.gid}`)
    if (this.hidePid !== HIDE_OFF) parts.push(`hidepid=${names[this.hidePid]}`)
    if (this.onlyPids) parts.push('subset=pid')
    return parts.join(',')
  }

  override remount(flags: number, options: string): Status {
    const parsed = parseOptions(options)
    if (typeof parsed === 'number') return parsed
    this.hidePid = parsed.hidePid ?? this.hidePid
    this.gid = parsed.gid ?? this.gid
    this.flags = (this.flags & ~MS_RDONLY) | (flags & MS_RDONLY)
    return 0
  }
}

interface Options {
  hidePid?: number
  gid?: number
  onlyPids?: boolean
}

function parseOptions(options: string): Options | number {
  const parsed: Options = {}
  for (const option of options.split(',')) {
    const [key, value = ''] = option.split('=', 2)
    const hide = (
      { 0: 0, off: 0, 1: 1, noaccess: 1, 2: 2, invisible: 2, 4: 4, ptraceable: 4 } as Record<string, number>
    )[value]
    if (option === '') continue
    else if (key === 'hidepid' && hide !== undefined) parsed.hidePid = hide
    else if (key === 'gid' && /^\d+$/.test(value)) parsed.gid = Number(value)
    else if (key === 'subset' && value === 'pid') parsed.onlyPids = true
    else return -EINVAL
  }
  return parsed
}

/** Where the files of the kernel's namespaces are. */
export function nsFsOf(kernel: Kernel): NsFs {
  return (kernel.fsTypes.get('proc') as ProcType).nsFs
}

/** The file system type 'proc', one for a kernel. */
export class ProcType implements FsType {
  readonly name = 'proc'
  readonly flags = FS_NODEV | FS_USERNS_MOUNT
  readonly nsFs: NsFs
  readonly #kernel: Kernel

  constructor(kernel: Kernel) {
    this.#kernel = kernel
    this.nsFs = new NsFs(kernel)
  }

  mount(source: string, flags: number, options: string, context: MountContext): OrErrno<ProcSuper> {
    const parsed = parseOptions(options)
    if (typeof parsed === 'number') return parsed
    const pidNs = (context.ns as NsProxy | undefined)?.pidForChildren ?? this.#kernel.pidNs
    const sb = new ProcSuper(this.#kernel, pidNs, this.nsFs, parsed.onlyPids === true)
    sb.source = source
    sb.flags = flags
    sb.hidePid = parsed.hidePid ?? HIDE_OFF
    sb.gid = parsed.gid ?? 0
    return sb
  }
}
