/**
 * pidfd_open(2): a descriptor for a process (or, with PIDFD_THREAD, a thread). It refers to the Pid, never to the
 * number, which may belong to somebody else once the process was waited for.
 */
import {
  O_NONBLOCK,
  O_RDWR,
  PIDFD_GET_CGROUP_NAMESPACE,
  PIDFD_GET_IPC_NAMESPACE,
  PIDFD_GET_MNT_NAMESPACE,
  PIDFD_GET_NET_NAMESPACE,
  PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE,
  PIDFD_GET_PID_NAMESPACE,
  PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE,
  PIDFD_GET_TIME_NAMESPACE,
  PIDFD_GET_USER_NAMESPACE,
  PIDFD_GET_UTS_NAMESPACE,
  PIDFD_THREAD,
  POLLHUP,
  POLLIN,
  POLLRDNORM,
  RLIMIT_NOFILE,
} from '../../abi/constants.ts'
import { EACCES, EINVAL, ENOTTY, ESRCH } from '../../abi/errno.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { mayInspect } from '../../kernel/credentials.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Pid } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { ThreadGroup } from '../../kernel/thread-group.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { type NsKind, namespaceOf } from '../proc/ns-kinds.ts'
import { nsFsOf } from '../proc/super.ts'

/** PIDFD_GET_*_NAMESPACE: a descriptor for a namespace of the process, without a way through /proc. */
const NAMESPACE_REQUESTS: ReadonlyMap<number, readonly [kind: NsKind, forChildren: boolean]> = new Map([
  [PIDFD_GET_CGROUP_NAMESPACE, ['cgroup', false]],
  [PIDFD_GET_IPC_NAMESPACE, ['ipc', false]],
  [PIDFD_GET_MNT_NAMESPACE, ['mnt', false]],
  [PIDFD_GET_NET_NAMESPACE, ['net', false]],
  [PIDFD_GET_PID_NAMESPACE, ['pid', false]],
  [PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE, ['pid', true]],
  [PIDFD_GET_TIME_NAMESPACE, ['time', false]],
  [PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE, ['time', true]],
  [PIDFD_GET_USER_NAMESPACE, ['user', false]],
  [PIDFD_GET_UTS_NAMESPACE, ['uts', false]],
])

export class PidFdFile extends File {
  readonly pid: Pid
  readonly thread: boolean
  readonly #kernel: Kernel
  readonly #task: Task
  readonly #group: ThreadGroup

  /** `flags`: PIDFD_NONBLOCK and PIDFD_THREAD; `target` has not been waited for. */
  constructor(opener: Task, target: Task, flags: number) {
    const path = opener.kernel.anonFs.path('anon_inode:[pidfd]', 0o700)
    super(path, O_RDWR | (flags & O_NONBLOCK), opener.cred)
    this.thread = (flags & PIDFD_THREAD) !== 0
    this.pid = this.thread ? target.pid : target.group.pid
    this.#kernel = opener.kernel
    this.#task = target
    this.#group = target.group
  }

  /** The process, undefined once it was waited for. */
  get group(): ThreadGroup | undefined {
    return this.pid.group ?? this.pid.task?.group
  }
  /** A thread of it that has not been released. */
  get task(): Task | undefined {
    return this.thread ? this.pid.task : this.pid.group?.leader
  }

  override get waitQueue(): WaitQueue {
    return this.#group.exitWait
  }
  override poll(): number {
    if (this.thread ? this.pid.task === undefined : this.pid.group === undefined) {
      return POLLIN | POLLRDNORM | POLLHUP
    }
    const ended = this.thread ? this.#task.ended : this.#group.dead
    return ended ? POLLIN | POLLRDNORM : 0
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    const asked = NAMESPACE_REQUESTS.get(request)
    if (asked === undefined) return -ENOTTY
    const caller = context.task as Task
    const target = this.task
    if (target === undefined) return -ESRCH
    if (argument !== 0) return -EINVAL
    if (target.ended) return -ESRCH
    if (!mayInspect(caller, target, true)) return -EACCES
    const [kind, forChildren] = asked
    return nsFsOf(this.#kernel).install(caller, kind, namespaceOf(target, kind, forChildren))
  }

  override fdinfo(): string {
    const gone = this.thread ? this.pid.task === undefined : this.pid.group === undefined
    if (gone) return 'Pid:\t-1\nNSpid:\t-1\n'
    const ns = this.#kernel.current?.pidNs ?? this.#kernel.pidNs
    const nr = this.pid.in(ns)
    // Its numbers from the reader's namespace down to its own.
    const inner = nr === 0 ? [0] : this.pid.numbers.slice(ns.level)
    return `Pid:\t${nr}\nNSpid:\t${inner.join('\t')}\n`
  }
}

/** A descriptor in `opener`'s table for `target`: fork's CLONE_PIDFD. The kernel's `makePidFd`. */
export function makePidFd(opener: Task, target: Task, thread: boolean): number {
  const file = new PidFdFile(opener, target, thread ? PIDFD_THREAD : 0)
  const fd = opener.fds.install(file, true, 0, opener.group.rlimits.soft(RLIMIT_NOFILE))
  if (fd < 0) filePut(file)
  return fd
}
