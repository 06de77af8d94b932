/**
 * seccomp user notification: seccomp_unotify(2).
 *
 * A filter that was added with SECCOMP_FILTER_FLAG_NEW_LISTENER has a SeccompListener, a File. A call that the filter wants
 * decided becomes a Notification: INIT until the listener received it, SENT until it is answered, then REPLIED. The task that
 * made the call sleeps with `task.notification` set; the loop brings it back to `awaitReply` (not to the call's handler), where
 * it leaves with the answer, or with a signal, after which the call begins anew and is asked about again. Closing the listener
 * answers all with ENOSYS, and so will be what comes after.
 */
import {
  O_CLOEXEC,
  O_RDWR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  RLIMIT_NOFILE,
  SECCOMP_ADDFD_FLAG_SEND,
  SECCOMP_ADDFD_FLAG_SETFD,
  SECCOMP_IOCTL_NOTIF_ADDFD,
  SECCOMP_IOCTL_NOTIF_ID_VALID,
  SECCOMP_IOCTL_NOTIF_RECV,
  SECCOMP_IOCTL_NOTIF_SEND,
  SECCOMP_IOCTL_NOTIF_SET_FLAGS,
  SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
  SECCOMP_USER_NOTIF_FLAG_CONTINUE,
} from '../../abi/constants.ts'
import { E2BIG, EBADF, EFAULT, EINPROGRESS, EINVAL, ENOENT, ENOSYS } from '../../abi/errno.ts'
import { SECCOMP_NOTIF, SECCOMP_NOTIF_ADDFD, SECCOMP_NOTIF_RESP } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { put64, take64 } from '../../base/words.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import type { Path } from '../../vfs/path.ts'
import type { Task } from '../task.ts'

const PAGE_SIZE = 4096
const SIZE_MASK = 0x3fff0000
/** What is left of the request without size and direction, which do not tell it from others (EA_IOCTL). */
const COMMAND_MASK = 0xffff

const INIT = 0
const SENT = 1
const REPLIED = 2

/** One call that waits to be decided. */
export class Notification {
  readonly id: number
  readonly task: Task
  readonly listener: SeccompListener
  /** struct seccomp_data. */
  readonly data: Uint32Array
  /** The task waits here. */
  readonly queue = new WaitQueue()
  state: typeof INIT | typeof SENT | typeof REPLIED = INIT
  /** What the call returns if it is not 0, an errno as a rule; else its value. */
  error = 0
  value = 0
  /** The call is to be made as it stands. */
  proceed = false

  constructor(id: number, task: Task, listener: SeccompListener, data: Uint32Array) {
    this.id = id
    this.task = task
    this.listener = listener
    this.data = data
  }

  get replied(): boolean {
    return this.state === REPLIED
  }
  /** Only what kills interrupts it. */
  get killable(): boolean {
    return this.state === SENT && this.listener.waitKillable
  }

  reply(error: number, value: number, proceed: boolean): void {
    this.state = REPLIED
    this.error = error
    this.value = value
    this.proceed = proceed
    this.listener.drop(this)
    this.queue.wakeAll()
  }
}

export class SeccompListener extends File {
  readonly waitKillable: boolean
  readonly #queue = new WaitQueue()
  readonly #waiting: Notification[] = []
  /** Tasks that are under its filter. */
  #tasks = 0
  #nextId: number
  /** Nobody listens any more. */
  closed = false

  constructor(path: Path, cred: Credentials, waitKillable: boolean, firstId: number) {
    super(path, O_RDWR, cred)
    this.waitKillable = waitKillable
    this.#nextId = firstId
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }
  override poll(): number {
    let events = 0
    for (const { state } of this.#waiting)
      events |= state === INIT ? POLLIN | POLLRDNORM : POLLOUT | POLLWRNORM
    return this.#tasks === 0 ? events | POLLHUP : events
  }

  taskAdded(): void {
    this.#tasks++
  }
  taskGone(): void {
    if (--this.#tasks === 0) this.#queue.wakeAll()
  }

  /** The call that `data` describes is to be decided. */
  ask(task: Task, data: Uint32Array): Notification {
    const notification = new Notification(this.#nextId++, task, this, data)
    this.#waiting.push(notification)
    this.#queue.wake(POLLIN | POLLRDNORM)
    return notification
  }
  /** It is decided, or nobody waits for it any more. */
  drop(notification: Notification): void {
    const at = this.#waiting.indexOf(notification)
    if (at >= 0) this.#waiting.splice(at, 1)
  }

  override release(): void {
    this.closed = true
    for (const notification of [...this.#waiting]) notification.reply(-ENOSYS, 0, false)
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    switch (request >>> 0) {
      case SECCOMP_IOCTL_NOTIF_RECV:
        return this.#receive(context, argument)
      case SECCOMP_IOCTL_NOTIF_SEND:
        return this.#send(context, argument)
      case SECCOMP_IOCTL_NOTIF_ID_VALID:
        return this.#isValid(context, argument)
      case SECCOMP_IOCTL_NOTIF_SET_FLAGS:
        // Where the answered task runs on is the host's to say.
        return argument > SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP ? -EINVAL : 0
    }
    if ((request & COMMAND_MASK) === (SECCOMP_IOCTL_NOTIF_ADDFD & COMMAND_MASK))
      return this.#addFd(context, argument, (request & SIZE_MASK) >>> 16)
    return -EINVAL
  }

  /** Waits, whatever O_NONBLOCK says, for a call to decide. */
  #receive(context: IoctlContext, at: number): number {
    const bytes = new Uint8Array(SECCOMP_NOTIF.size)
    if (context.copyIn(at, bytes) < 0) return -EFAULT
    if (bytes.some(byte => byte !== 0)) return -EINVAL
    const reader = context.task as Task
    const notification = this.#waiting.find(each => each.state === INIT)
    if (notification === undefined) return this.#tasks === 0 ? -ENOENT : reader.block(this.#queue)
    const out = new DataView(bytes.buffer)
    put64(out, SECCOMP_NOTIF.id, notification.id)
    out.setInt32(SECCOMP_NOTIF.pid, notification.task.pid.in(reader.pidNs), true)
    notification.data.forEach((word, i) => {
      out.setUint32(SECCOMP_NOTIF.data + i * 4, word, true)
    })
    if (context.copyOut(at, bytes) < 0) return -EFAULT
    notification.state = SENT
    this.#queue.wake(POLLOUT | POLLWRNORM)
    // It may have to sleep more soundly now.
    notification.queue.wakeAll()
    return 0
  }

  #send(context: IoctlContext, at: number): number {
    const bytes = new Uint8Array(SECCOMP_NOTIF_RESP.size)
    if (context.copyIn(at, bytes) < 0) return -EFAULT
    const view = new DataView(bytes.buffer)
    const flags = view.getUint32(SECCOMP_NOTIF_RESP.flags, true)
    const error = view.getInt32(SECCOMP_NOTIF_RESP.error, true)
    const low = view.getUint32(SECCOMP_NOTIF_RESP.val, true)
    const high = view.getInt32(SECCOMP_NOTIF_RESP.val + 4, true)
    if ((flags & ~SECCOMP_USER_NOTIF_FLAG_CONTINUE) !== 0) return -EINVAL
    const proceed = flags !== 0
    if (proceed && (error !== 0 || low !== 0 || high !== 0)) return -EINVAL
    const found = this.#find(take64(view, SECCOMP_NOTIF_RESP.id))
    if (found === undefined) return -ENOENT
    if (found.state !== SENT) return -EINPROGRESS
    found.reply(error, high * 2 ** 32 + low, proceed)
    return 0
  }

  #isValid(context: IoctlContext, at: number): number {
    const bytes = new Uint8Array(8)
    if (context.copyIn(at, bytes) < 0) return -EFAULT
    const found = this.#find(take64(new DataView(bytes.buffer), 0))
    return found?.state === SENT ? 0 : -ENOENT
  }

  /** A descriptor of the caller's for the task that made the call. */
  #addFd(context: IoctlContext, at: number, size: number): number {
    if (size < SECCOMP_NOTIF_ADDFD.size || size >= PAGE_SIZE) return -EINVAL
    const bytes = new Uint8Array(size)
    if (context.copyIn(at, bytes) < 0) return -EFAULT
    if (bytes.subarray(SECCOMP_NOTIF_ADDFD.size).some(byte => byte !== 0)) return -E2BIG
    const view = new DataView(bytes.buffer)
    const flags = view.getUint32(SECCOMP_NOTIF_ADDFD.flags, true)
    const newFd = view.getUint32(SECCOMP_NOTIF_ADDFD.newfd, true)
    const newFlags = view.getUint32(SECCOMP_NOTIF_ADDFD.newfd_flags, true)
    if ((newFlags & ~O_CLOEXEC) !== 0) return -EINVAL
    if ((flags & ~(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND)) !== 0) return -EINVAL
    const chosen = (flags & SECCOMP_ADDFD_FLAG_SETFD) !== 0
    if (newFd !== 0 && !chosen) return -EINVAL
    const source = (context.task as Task).fds.get(view.getUint32(SECCOMP_NOTIF_ADDFD.srcfd, true))
    if (source === undefined) return -EBADF
    const found = this.#find(take64(view, SECCOMP_NOTIF_ADDFD.id))
    if (found === undefined) return -ENOENT
    if (found.state !== SENT) return -EINPROGRESS
    const fd = giveFd(found.task, source, chosen ? newFd : undefined, newFlags !== 0)
    if (fd >= 0 && (flags & SECCOMP_ADDFD_FLAG_SEND) !== 0) found.reply(0, fd, false)
    return fd
  }

  #find(id: number): Notification | undefined {
    return this.#waiting.find(each => each.id === id)
  }
}

/** receive_fd, receive_fd_replace. */
function giveFd(task: Task, file: File, at: number | undefined, cloexec: boolean): number {
  const limit = task.group.rlimits.soft(RLIMIT_NOFILE)
  if (at !== undefined && at >= limit) return -EBADF
  fileGet(file)
  if (at !== undefined) {
    task.fds.set(at, file, cloexec)
    return at
  }
  const fd = task.fds.install(file, cloexec, 0, limit)
  if (fd < 0) filePut(file)
  return fd
}
