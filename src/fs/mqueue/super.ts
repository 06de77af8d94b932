/**
 * The mqueue file system: one directory of message queues for each IPC namespace, whether mounted somewhere or not.
 * mq_open(2) goes to it directly; a file that is made by open(2) gets the attributes of the namespace's defaults.
 */
import { CAP_SYS_RESOURCE, MQUEUE_MAGIC, RLIMIT_MSGQUEUE, S_IFDIR } from '../../abi/constants.ts'
import { EINVAL, EMFILE, ENOENT, ENOSPC } from '../../abi/errno.ts'
import type { Timespec } from '../../base/clock.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { IpcLimits } from '../../kernel/ipc/limits.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { IpcNamespace, NsProxy } from '../../kernel/namespaces.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import { type AttrChange, type DirSink, Inode } from '../../vfs/inode.ts'
import { Mount } from '../../vfs/mount.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import { MqueueInode, queueMemory } from './queue.ts'

/** Nobody may go beyond these. */
const HARD_MESSAGES = 65536
const HARD_MESSAGE_SIZE = 16 * 1024 * 1024

export class MqueueSuper extends SuperBlock {
  override readonly fsType = 'mqueue'
  override readonly root: MqueueDir
  readonly kernel: Kernel
  /** Of the namespace. */
  readonly limits: IpcLimits
  /** By which mq_open reaches it. */
  readonly internalMount: Mount
  #lastIno = 0

  constructor(kernel: Kernel, limits: IpcLimits) {
    super(kernel.vfs.newDev())
    this.source = 'mqueue'
    this.kernel = kernel
    this.limits = limits
    this.root = new MqueueDir(this)
    this.internalMount = new Mount(kernel.vfs, this, undefined, 0)
    // As long as the namespace.
    this.internalMount.refs++
  }

  newIno(): number {
    return ++this.#lastIno
  }
  now(): Timespec {
    return this.kernel.clock.realtime()
  }

  override statfs(out: HostStatfs): Status {
    out.type = MQUEUE_MAGIC
    out.bsize = out.frsize = 4096
    out.blocks = out.bfree = out.bavail = out.files = out.ffree = 0
    out.namelen = this.maxNameLength
    out.flags = 0
    return 0
  }
}

/** What mq_open(2) asks of a new queue. */
export interface QueueAttributes {
  readonly maxMessages: number
  readonly messageSize: number
}

export class MqueueDir extends Inode {
  readonly #home: MqueueSuper
  readonly #queues = new Map<string, MqueueInode>()
  /** Set for the one `create` that mq_open makes. */
  wanted: QueueAttributes | undefined = undefined

  constructor(sb: MqueueSuper) {
    super(sb, sb.newIno(), S_IFDIR | 0o1777, 0, 0)
    this.#home = sb
    this.nlink = 2
    this.size = 40
    for (const time of [this.atime, this.mtime, this.ctime, this.btime]) time.set(sb.now())
  }

  override lookup(name: string): OrErrno<Inode> {
    return this.#queues.get(name) ?? -ENOENT
  }

  override create(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    const { kernel, limits } = this.#home
    const task = kernel.current
    const privileged = cred.capable(CAP_SYS_RESOURCE)
    if (this.#queues.size >= limits.mqQueuesMax && !privileged) return -ENOSPC
    const { maxMessages, messageSize } = this.wanted ?? {
      maxMessages: Math.min(limits.mqMsgDefault, limits.mqMsgMax),
      messageSize: Math.min(limits.mqMsgsizeDefault, limits.mqMsgsizeMax),
    }
    if (!withinLimits(limits, maxMessages, messageSize, privileged)) return -EINVAL
    const account = kernel.users.of(cred.uid)
    const limit = task?.group.rlimits.soft(RLIMIT_MSGQUEUE) ?? Number.POSITIVE_INFINITY
    if (account.messageQueueBytes + queueMemory(maxMessages, messageSize) > limit) return -EMFILE
    const queue = new MqueueInode(this.#home, mode & 0o7777, cred, maxMessages, messageSize, account)
    this.#queues.set(name, queue)
    this.#changed(20)
    return queue
  }

  override unlink(name: string, inode: Inode): Status {
    this.#queues.delete(name)
    inode.nlink--
    inode.ctime.set(this.#home.now())
    this.#changed(-20)
    return 0
  }

  override readdir(cursor: number, sink: DirSink): Status {
    // Inode numbers only rise, and the map is in their order.
    for (const [name, queue] of this.#queues) {
      if (queue.ino > cursor && !sink(name, queue.ino, queue.type >>> 12, queue.ino)) break
    }
    return 0
  }

  override setattr(change: AttrChange): Status {
    if (change.mode !== undefined) this.mode = this.type | (change.mode & 0o7777)
    if (change.uid !== undefined) this.uid = change.uid
    if (change.gid !== undefined) this.gid = change.gid
    this.ctime.set(change.ctime ?? this.#home.now())
    return 0
  }

  #changed(size: number): void {
    this.size += size
    const now = this.#home.now()
    for (const time of [this.atime, this.mtime, this.ctime]) time.set(now)
  }
}

function withinLimits(
  limits: IpcLimits,
  maxMessages: number,
  messageSize: number,
  privileged: boolean,
): boolean {
  if (maxMessages <= 0 || messageSize <= 0) return false
  if (privileged) return maxMessages <= HARD_MESSAGES && messageSize <= HARD_MESSAGE_SIZE
  return maxMessages <= limits.mqMsgMax && messageSize <= limits.mqMsgsizeMax
}

/** The namespace's own instance. */
export function mqueueOf(kernel: Kernel, ns: IpcNamespace): MqueueSuper {
  if (ns.mqueue instanceof MqueueSuper) return ns.mqueue
  const sb = new MqueueSuper(kernel, ns.limits)
  ns.mqueue = sb
  return sb
}

export function mqueueType(kernel: Kernel): FsType {
  return {
    name: 'mqueue',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(_source: string, _flags: number, _options: string, context: MountContext): OrErrno<SuperBlock> {
      const ns = context.ns as NsProxy | undefined
      return mqueueOf(kernel, ns?.ipc ?? kernel.ipc)
    },
  }
}
