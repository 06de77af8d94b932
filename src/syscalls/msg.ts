/** System V message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2). The queue is in kernel/ipc/msg.ts. */
import {
  CAP_SYS_RESOURCE,
  IPC_CREAT,
  IPC_EXCL,
  IPC_INFO,
  IPC_NOWAIT,
  IPC_RMID,
  IPC_SET,
  IPC_STAT,
  MSG_COPY,
  MSG_EXCEPT,
  MSG_INFO,
  MSG_NOERROR,
  MSG_STAT,
  MSG_STAT_ANY,
  MSGMAP,
  MSGPOOL,
  MSGSEG,
  MSGSSZ,
  MSGTQL,
} from '../abi/constants.ts'
import { E2BIG, EAGAIN, EFAULT, EIDRM, EINVAL, ENOMSG, EPERM, ERESTARTNOHAND } from '../abi/errno.ts'
import { MSGBUF, MSGINFO, MSQID_DS } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { IPC_READ, IPC_WRITE } from '../kernel/ipc/ids.ts'
import { type Message, MessageQueue } from '../kernel/ipc/msg.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, enumOf, flags as flagsArg, hex, int, off, type SyscallRows, size } from './args.ts'
import { controlled, nowSeconds, pidField, putPerm, setPerm, statObject } from './ipc.ts'

/** A call that waits: the queue it began with, and the message that is to be sent. */
class MessageWait {
  readonly queue: MessageQueue
  readonly message: Message | undefined

  constructor(queue: MessageQueue, message: Message | undefined) {
    this.queue = queue
    this.message = message
  }
}

export function msgget(task: Task, key: number, flags: number): number {
  const make = () => new MessageQueue(key | 0, flags, task.cred, nowSeconds(task), task.ns.ipc.limits.msgmnb)
  return task.ns.ipc.msg.get(key | 0, flags, task.cred, () => 0, make)
}

export function msgsnd(task: Task, id: number, at: GuestAddr, length: number, flags: number): number {
  let wait = task.progress
  if (!(wait instanceof MessageWait)) {
    const message = readMessage(task, at, length)
    if (failed(message)) return message
    if (id < 0) return -EINVAL
    const queue = task.ns.ipc.msg.find(id)
    if (failed(queue)) return queue
    wait = new MessageWait(queue, message)
  }
  const { queue, message } = wait as MessageWait
  if (queue.removed) return -EIDRM
  const status = task.ns.ipc.msg.permission(queue, IPC_WRITE, task.cred)
  if (status < 0) return status
  if (queue.fits(message!.bytes.length)) {
    queue.put(message!)
    queue.lastSender = task.group.pid
    queue.stime = nowSeconds(task)
    return 0
  }
  if ((flags & IPC_NOWAIT) !== 0) return -EAGAIN
  task.progress = wait
  // Exclusive entries keep their order.
  return task.block(queue.senders, -ERESTARTNOHAND, 0, true)
}

function readMessage(task: Task, at: GuestAddr, length: number): OrErrno<Message> {
  const head = task.mm.view(at, MSGBUF.mtext)
  if (head === undefined) return -EFAULT
  const type = takeSigned64(head, MSGBUF.mtype)
  const rawType = [head.getInt32(0, true), head.getInt32(4, true)] as const
  if (length > task.ns.ipc.limits.msgmax || type < 1) return -EINVAL
  const bytes = new Uint8Array(length)
  if (length > 0 && task.mm.copyIn(at + MSGBUF.mtext, bytes) < 0) return -EFAULT
  return { type, rawType, bytes }
}

export function msgrcv(
  task: Task,
  id: number,
  at: GuestAddr,
  limit: number,
  type: number,
  flags: number,
): number {
  if (id < 0 || limit >= 2 ** 63) return -EINVAL
  const copy = (flags & MSG_COPY) !== 0
  if (copy && ((flags & MSG_EXCEPT) !== 0 || (flags & IPC_NOWAIT) === 0)) return -EINVAL
  const queue = task.progress instanceof MessageWait ? task.progress.queue : task.ns.ipc.msg.find(id)
  if (failed(queue)) return queue
  if (queue.removed) return -EIDRM
  const status = task.ns.ipc.msg.permission(queue, IPC_READ, task.cred)
  if (status < 0) return status
  // With MSG_COPY `type` is the place of the message in the queue.
  const index = copy
    ? type < queue.messages.length
      ? type
      : -1
    : queue.search(type, (flags & MSG_EXCEPT) !== 0)
  if (index < 0) {
    if ((flags & IPC_NOWAIT) !== 0) return -ENOMSG
    task.progress ??= new MessageWait(queue, undefined)
    return task.block(queue.receivers, -ERESTARTNOHAND, 0, true)
  }
  if (queue.messages[index].bytes.length > limit && (flags & MSG_NOERROR) === 0) return -E2BIG
  if (copy) return deliver(task, queue.messages[index], at, limit)
  queue.lastReceiver = task.group.pid
  queue.rtime = nowSeconds(task)
  return deliver(task, queue.take(index), at, limit)
}

/** A bad address loses the message, as in Linux. */
function deliver(task: Task, message: Message, at: GuestAddr, limit: number): number {
  const length = Math.min(limit, message.bytes.length)
  const out = task.mm.out(MSGBUF.mtext)
  out.setInt32(0, message.rawType[0], true)
  out.setInt32(4, message.rawType[1], true)
  if (task.mm.commit(at) < 0) return -EFAULT
  if (length > 0 && task.mm.copyOut(at + MSGBUF.mtext, message.bytes.subarray(0, length)) < 0) return -EFAULT
  return length
}

export function msgctl(task: Task, id: number, command: number, at: GuestAddr): number {
  if (id < 0 || command < 0) return -EINVAL
  switch (command) {
    case IPC_INFO:
    case MSG_INFO:
      return info(task, command === MSG_INFO, at)
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY:
      return stat(task, id, command, at)
    case IPC_SET:
      return set(task, id, at)
    case IPC_RMID: {
      const queue = controlled(task, task.ns.ipc.msg, id)
      if (failed(queue)) return queue
      task.ns.ipc.msg.remove(queue)
      return 0
    }
    default:
      return -EINVAL
  }
}

function stat(task: Task, id: number, command: number, at: GuestAddr): number {
  const queue = statObject(task, task.ns.ipc.msg, id, command !== IPC_STAT, command === MSG_STAT_ANY)
  if (failed(queue)) return queue
  const out = task.mm.out(MSQID_DS.size)
  putPerm(task, out, MSQID_DS.msg_perm, queue)
  put64(out, MSQID_DS.msg_stime, queue.stime)
  put64(out, MSQID_DS.msg_rtime, queue.rtime)
  put64(out, MSQID_DS.msg_ctime, queue.ctime)
  put64(out, MSQID_DS.msg_cbytes, queue.bytes)
  put64(out, MSQID_DS.msg_qnum, queue.messages.length)
  put64(out, MSQID_DS.msg_qbytes, queue.maxBytes)
  out.setInt32(MSQID_DS.msg_lspid, pidField(task, queue.lastSender), true)
  out.setInt32(MSQID_DS.msg_lrpid, pidField(task, queue.lastReceiver), true)
  const status = task.mm.commit(at)
  return status < 0 ? status : command === IPC_STAT ? 0 : queue.id
}

function set(task: Task, id: number, at: GuestAddr): number {
  const view = task.mm.view(at, MSQID_DS.size)
  if (view === undefined) return -EFAULT
  const maxBytes = takeSigned64(view, MSQID_DS.msg_qbytes)
  const queue = controlled(task, task.ns.ipc.msg, id)
  if (failed(queue)) return queue
  if (maxBytes > task.ns.ipc.limits.msgmnb && !task.cred.capable(CAP_SYS_RESOURCE)) return -EPERM
  const status = setPerm(task, queue, view)
  if (status < 0) return status
  queue.maxBytes = maxBytes
  // Who may no longer receive is told; who was too long may fit.
  queue.receivers.wakeAll()
  queue.senders.wakeAll()
  return 0
}

/** MSG_INFO: what is in use, in three fields of the limits. */
function info(task: Task, inUse: boolean, at: GuestAddr): number {
  const { msg, limits } = task.ns.ipc
  const out = task.mm.out(MSGINFO.size)
  const queues = msg.objects()
  const messages = queues.reduce((sum, queue) => sum + queue.messages.length, 0)
  const bytes = queues.reduce((sum, queue) => sum + queue.bytes, 0)
  out.setInt32(MSGINFO.msgmni, limits.msgmni, true)
  out.setInt32(MSGINFO.msgmax, limits.msgmax, true)
  out.setInt32(MSGINFO.msgmnb, limits.msgmnb, true)
  out.setInt32(MSGINFO.msgssz, MSGSSZ, true)
  out.setUint16(MSGINFO.msgseg, MSGSEG, true)
  out.setInt32(MSGINFO.msgpool, inUse ? queues.length : MSGPOOL, true)
  out.setInt32(MSGINFO.msgmap, inUse ? messages : MSGMAP, true)
  out.setInt32(MSGINFO.msgtql, inUse ? bytes : MSGTQL, true)
  const status = task.mm.commit(at)
  return status < 0 ? status : Math.max(msg.highest, 0)
}

const MSG_COMMANDS = { IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO, MSG_STAT, MSG_INFO, MSG_STAT_ANY }
const msgFlags = flagsArg({ IPC_NOWAIT, MSG_NOERROR, MSG_EXCEPT, MSG_COPY })

export const msgCalls = {
  msgget: { nr: NR.msgget, run: msgget, args: [hex, flagsArg({ IPC_CREAT, IPC_EXCL })] },
  msgsnd: { nr: NR.msgsnd, run: msgsnd, args: [int, addr, size, msgFlags] },
  msgrcv: { nr: NR.msgrcv, run: msgrcv, args: [int, addr, size, off, msgFlags] },
  msgctl: { nr: NR.msgctl, run: msgctl, args: [int, enumOf(MSG_COMMANDS), addr] },
} satisfies SyscallRows
