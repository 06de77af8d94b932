/** POSIX message queues: mq_open(2), mq_timedsend(2) and the others. Queues are files: fs/mqueue. */
import {
  CLOCK_REALTIME,
  MQ_PRIO_MAX,
  O_ACCMODE,
  O_CREAT,
  O_EXCL,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
  POLLIN,
  POLLOUT,
  SIGEV_NONE,
  SIGEV_SIGNAL,
  SIGEV_THREAD,
} from '../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EBADF,
  EBUSY,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENAMETOOLONG,
  ENOENT,
  ERESTARTSYS,
  ETIMEDOUT,
} from '../abi/errno.ts'
import { MQ_ATTR, SIGEVENT, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { isKnownNotification, MqueueFile, type MqueueInode } from '../fs/mqueue/queue.ts'
import { mqueueOf } from '../fs/mqueue/super.ts'
import { NSIG } from '../kernel/signal-state.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { COOKIE_LENGTH, CookieNotice, cookieSocket } from '../net/netlink/cookie.ts'
import type { SocketFile } from '../net/socket-file.ts'
import { rootDentry } from '../vfs/dentry.ts'
import type { File } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { openAt } from '../vfs/namei.ts'
import { unlink } from '../vfs/operations.ts'
import type { Path } from '../vfs/path.ts'
import {
  addr,
  fd as fdArg,
  flags as flagsArg,
  mode as modeArg,
  type SyscallRows,
  size,
  string,
  structIn,
  structOut,
  uint,
} from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'
import { deadlineOf, readTime } from './timespec.ts'

/** A call that waits holds the queue, and counts among its receivers. */
class QueueWait extends HeldProgress {
  readonly file: MqueueFile
  readonly #receives: boolean
  readonly deadline: number
  readonly message: Uint8Array | undefined

  constructor(file: MqueueFile, receives: boolean, deadline: number, message: Uint8Array | undefined) {
    super()
    this.file = file
    this.deadline = deadline
    this.message = message
    this.#receives = receives
    fileGet(file)
    if (receives) file.queue.receivers++
  }
  override end(): void {
    if (this.#receives) this.file.queue.receivers--
    filePut(this.file)
  }
}

export function mq_open(
  task: Task,
  nameAt: GuestAddr,
  flags: number,
  mode: number,
  attrAt: GuestAddr,
): number {
  let wanted: { maxMessages: number; messageSize: number } | undefined
  if ((flags & O_CREAT) !== 0 && attrAt !== 0) {
    const view = task.mm.view(attrAt, MQ_ATTR.size)
    if (view === undefined) return -EFAULT
    wanted = {
      maxMessages: takeSigned64(view, MQ_ATTR.mq_maxmsg),
      messageSize: takeSigned64(view, MQ_ATTR.mq_msgsize),
    }
  }
  const name = queueName(task, nameAt)
  if (failed(name)) return name
  if ((flags & O_ACCMODE) === (O_RDWR | O_WRONLY)) return -EINVAL
  const home = mqueueOf(task.kernel, task.ns.ipc)
  const known = flags & (O_ACCMODE | O_CREAT | O_EXCL | O_NONBLOCK)
  home.root.wanted = wanted
  const file = openAt(task.walk, rootOf(task), name, known, mode & 0o7777)
  home.root.wanted = undefined
  // Closed by exec, whether asked for or not.
  return failed(file) ? file : installFile(task, file, true)
}

export function mq_unlink(task: Task, nameAt: GuestAddr): number {
  const name = queueName(task, nameAt)
  return failed(name) ? name : unlink(task.walk, rootOf(task), name)
}

/** The C library has taken the leading slash away. */
function queueName(task: Task, at: GuestAddr): OrErrno<string> {
  const name = task.mm.readPath(at)
  if (failed(name)) return name
  if (name === '') return -ENOENT
  if (name.includes('/') || name === '.' || name === '..') return -EACCES
  return name.length > 255 ? -ENAMETOOLONG : name
}

function rootOf(task: Task): Path {
  const home = mqueueOf(task.kernel, task.ns.ipc)
  return { mount: home.internalMount, dentry: rootDentry(home) }
}

export function mq_timedsend(
  task: Task,
  fd: number,
  at: GuestAddr,
  length: number,
  priority: number,
  timeoutAt: GuestAddr,
): number {
  const wait = task.progress instanceof QueueWait ? task.progress : undefined
  const deadline = wait?.deadline ?? readDeadline(task, timeoutAt)
  if (deadline < 0) return deadline
  if (priority >= MQ_PRIO_MAX) return -EINVAL
  const file = wait?.file ?? queueOf(task, fd)
  if (file === undefined || !file.sends) return -EBADF
  const { queue } = file
  if (length > queue.messageSize) return -EMSGSIZE
  let bytes = wait?.message
  if (bytes === undefined) {
    bytes = new Uint8Array(length)
    if (length > 0 && task.mm.copyIn(at, bytes) < 0) return -EFAULT
  }
  if (queue.full) return waitFor(task, file, false, deadline, bytes)
  queue.put({ priority, bytes }, task)
  return 0
}

export function mq_timedreceive(
  task: Task,
  fd: number,
  at: GuestAddr,
  length: number,
  priorityAt: GuestAddr,
  timeoutAt: GuestAddr,
): number {
  const wait = task.progress instanceof QueueWait ? task.progress : undefined
  const deadline = wait?.deadline ?? readDeadline(task, timeoutAt)
  if (deadline < 0) return deadline
  const file = wait?.file ?? queueOf(task, fd)
  if (file === undefined || !file.receives) return -EBADF
  const { queue } = file
  if (length < queue.messageSize) return -EMSGSIZE
  const message = queue.take()
  if (message === undefined) return waitFor(task, file, true, deadline, undefined)
  if (priorityAt !== 0 && task.mm.putU32(priorityAt, message.priority) < 0) return -EFAULT
  if (message.bytes.length > 0 && task.mm.copyOut(at, message.bytes) < 0) return -EFAULT
  return message.bytes.length
}

/** A point of CLOCK_REALTIME as one of the monotonic clock; Infinity for a null pointer. */
function readDeadline(task: Task, at: GuestAddr): number {
  if (at === 0) return Number.POSITIVE_INFINITY
  const time = readTime(task, at)
  return failed(time) ? time : Math.max(0, deadlineOf(task, time, CLOCK_REALTIME, true))
}

function waitFor(
  task: Task,
  file: MqueueFile,
  receives: boolean,
  deadline: number,
  message: Uint8Array | undefined,
): number {
  if (file.nonblocking) return -EAGAIN
  if (deadline !== Number.POSITIVE_INFINITY) {
    if (task.kernel.now() >= deadline) return -ETIMEDOUT
    task.blockUntil(deadline)
  }
  task.progress ??= new QueueWait(file, receives, deadline, message)
  // Exclusive entries keep their order.
  return task.block(file.waitQueue, -ERESTARTSYS, receives ? POLLIN : POLLOUT, true)
}

function queueOf(task: Task, fd: number): MqueueFile | undefined {
  const file: File | undefined = fileOf(task, fd)
  return file instanceof MqueueFile ? file : undefined
}

export function mq_notify(task: Task, fd: number, eventAt: GuestAddr): number {
  let kind = SIGEV_NONE
  let signo = 0
  let valueLo = 0
  let valueHi = 0
  if (eventAt !== 0) {
    const view = task.mm.view(eventAt, SIGEVENT.size)
    if (view === undefined) return -EFAULT
    kind = view.getInt32(SIGEVENT.sigev_notify, true)
    signo = view.getInt32(SIGEVENT.sigev_signo, true)
    valueLo = view.getInt32(SIGEVENT.sigev_value, true)
    valueHi = view.getInt32(SIGEVENT.sigev_value + 4, true)
    if (!isKnownNotification(kind)) return -EINVAL
    if (kind === SIGEV_SIGNAL && (signo < 0 || signo > NSIG)) return -EINVAL
  }
  const socket =
    kind === SIGEV_THREAD ? readCookie(task, valueHi * 2 ** 32 + (valueLo >>> 0), signo) : undefined
  if (typeof socket === 'number') return socket
  const file = queueOf(task, fd)
  if (file === undefined) return -EBADF
  const queue: MqueueInode = file.queue
  if (eventAt === 0) {
    queue.forget(task.group)
    return 0
  }
  if (queue.notification !== undefined) return -EBUSY
  const notice = socket === undefined ? undefined : new CookieNotice(socket.file, socket.cookie)
  queue.notification = { group: task.group, kind, signo, valueLo, valueHi, notice }
  return 0
}

/** SIGEV_THREAD: what is to be written to a netlink socket, whose descriptor stands in the place of the signal. */
function readCookie(
  task: Task,
  at: GuestAddr,
  fd: number,
): { file: SocketFile; cookie: Uint8Array } | number {
  const cookie = new Uint8Array(COOKIE_LENGTH)
  if (task.mm.copyIn(at, cookie) < 0) return -EFAULT
  const file = cookieSocket(fileOf(task, fd))
  return typeof file === 'number' ? file : { file, cookie }
}

/** Of the attributes only O_NONBLOCK can be changed. */
export function mq_getsetattr(task: Task, fd: number, newAt: GuestAddr, oldAt: GuestAddr): number {
  let flags = -1
  if (newAt !== 0) {
    const view = task.mm.view(newAt, MQ_ATTR.size)
    if (view === undefined) return -EFAULT
    flags = takeSigned64(view, MQ_ATTR.mq_flags)
    if ((flags & ~O_NONBLOCK) !== 0) return -EINVAL
  }
  const file = queueOf(task, fd)
  if (file === undefined) return -EBADF
  const { queue } = file
  const out = task.mm.out(MQ_ATTR.size)
  put64(out, MQ_ATTR.mq_flags, file.flags & O_NONBLOCK)
  put64(out, MQ_ATTR.mq_maxmsg, queue.maxMessages)
  put64(out, MQ_ATTR.mq_msgsize, queue.messageSize)
  put64(out, MQ_ATTR.mq_curmsgs, queue.messages.length)
  if (flags >= 0) file.flags = (file.flags & ~O_NONBLOCK) | flags
  return oldAt === 0 ? 0 : task.mm.commit(oldAt)
}

const openFlags = flagsArg({ O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_NONBLOCK })

export const mqueueCalls = {
  mq_open: {
    nr: NR.mq_open,
    run: mq_open,
    args: [string, openFlags, modeArg, structIn(MQ_ATTR)],
    returns: 'fd',
  },
  mq_unlink: { nr: NR.mq_unlink, run: mq_unlink, args: [string] },
  mq_timedsend: {
    nr: NR.mq_timedsend,
    run: mq_timedsend,
    args: [fdArg, addr, size, uint, structIn(TIMESPEC)],
  },
  mq_timedreceive: {
    nr: NR.mq_timedreceive,
    run: mq_timedreceive,
    args: [fdArg, addr, size, addr, structIn(TIMESPEC)],
  },
  mq_notify: {
    nr: NR.mq_notify,
    run: mq_notify,
    args: [fdArg, structIn(SIGEVENT)],
  },
  mq_getsetattr: {
    nr: NR.mq_getsetattr,
    run: mq_getsetattr,
    args: [fdArg, structIn(MQ_ATTR), structOut(MQ_ATTR)],
  },
} satisfies SyscallRows
