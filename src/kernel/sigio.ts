/**
 * SIGIO: whom an open file tells of itself (F_SETOWN, F_SETSIG), and when (O_ASYNC). fs/fcntl.c.
 *
 * With O_ASYNC a Notice stands on the file's wait queue like a poller that never sleeps: what would wake poll(2) sends the
 * signal. Leases and directory notification send it themselves, through vfs.signalOwner.
 */
import {
  F_OWNER_PGRP,
  F_OWNER_PID,
  F_OWNER_TID,
  POLL_ERR,
  POLL_HUP,
  POLL_IN,
  POLL_MSG,
  POLL_OUT,
  POLL_PRI,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLMSG,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  S_IFIFO,
  S_IFSOCK,
  SI_SIGIO,
  SIGBUS,
  SIGCHLD,
  SIGFPE,
  SIGILL,
  SIGIO,
  SIGSEGV,
  SIGSYS,
  SIGTRAP,
  SIGURG,
} from '../abi/constants.ts'
import type { Credentials } from '../base/credentials.ts'
import type { WaitEntry, Waiter } from '../base/wait-queue.ts'
import type { File, ReleaseHook } from '../vfs/file.ts'
import type { Pid } from './pid.ts'
import { sendToGroup, sendToTask } from './signal.ts'
import { kernelSignal, SigInfo } from './signal-info.ts'
import type { Task } from './task.ts'

/** si_band by POLL_* code. */
const BANDS: Readonly<Record<number, number>> = {
  [POLL_IN]: POLLIN | POLLRDNORM,
  [POLL_OUT]: POLLOUT | POLLWRNORM | POLLWRBAND,
  [POLL_MSG]: POLLIN | POLLRDNORM | POLLMSG,
  [POLL_ERR]: POLLERR,
  [POLL_PRI]: POLLPRI | POLLRDBAND,
  [POLL_HUP]: POLLHUP | POLLERR,
}
/** Signals whose small positive codes mean something else. */
const OWN_CODES: ReadonlySet<number> = new Set([SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD, SIGSYS])

/** Whom the file signals (`pid` undefined: nobody), with whose rights. */
export function setFileOwner(file: File, pid: Pid | undefined, type: number, cred: Credentials): void {
  file.owner = pid
  file.ownerType = type
  file.ownerCred = cred
  if (pid !== undefined) file.owned()
}

/** __f_setown without force: the caller's process, unless somebody was chosen. */
export function setOwnerIfNone(file: File, task: Task): void {
  if (file.owner === undefined) setFileOwner(file, task.group.pid, F_OWNER_PID, task.cred)
}

/** The owner, if it still exists. */
export function fileOwner(file: File): Pid | undefined {
  const pid = file.owner as Pid | undefined
  if (pid === undefined) return undefined
  if (file.ownerType === F_OWNER_PGRP) return pid.processGroup === undefined ? undefined : pid
  return pid.task === undefined && pid.group === undefined ? undefined : pid
}

/** send_sigio: tells the owner that `reason` (POLL_*) came up at `fd`. Set as vfs.signalOwner. */
export function signalOwner(file: File, fd: number, reason: number): void {
  for (const send of ownersToTell(file)) signalOne(file, send, fd, reason)
}

/** send_sigurg: tells the owner of urgent data. */
export function signalUrgent(file: File): void {
  for (const send of ownersToTell(file)) send(kernelSignal(SIGURG))
}

type Send = (info: SigInfo) => number

/** How to reach each of the owners that may be signalled. */
function ownersToTell(file: File): Send[] {
  const pid = fileOwner(file)
  const own = file.ownerCred
  if (pid === undefined || own === undefined) return []
  if (file.ownerType === F_OWNER_TID) {
    const { task } = pid
    return task !== undefined && maySignal(own, task.cred) ? [info => sendToTask(task, info)] : []
  }
  const groups = file.ownerType === F_OWNER_PID ? [pid.group] : [...pid.processGroup!.members]
  return groups
    .filter(group => group !== undefined && maySignal(own, group.leader.cred))
    .map(group => info => sendToGroup(group!, info))
}

function signalOne(file: File, send: Send, fd: number, reason: number): void {
  const signo = file.ownerSignal
  if (signo !== 0) {
    const info = new SigInfo(signo, OWN_CODES.has(signo) ? SI_SIGIO : reason)
    info.band = BANDS[reason] ?? 0
    info.fd = fd
    // A full queue says less, but not nothing.
    if (send(info) === 0) return
  }
  send(kernelSignal(SIGIO))
}

/** sigio_perm. */
function maySignal(own: Credentials, target: Credentials): boolean {
  if (own.euid === 0 || own.euid === target.suid || own.euid === target.uid) return true
  return own.uid === target.suid || own.uid === target.uid
}

/** O_ASYNC of one open description. */
class Notice implements Waiter, ReleaseHook {
  readonly #file: File
  readonly #fd: number
  readonly #entry: WaitEntry

  constructor(file: File, fd: number) {
    this.#file = file
    this.#fd = fd
    this.#entry = file.waitQueue!.add(this)
    // Those who poll are told of everything, not only of changes.
    file.poll()
  }

  woken(_entry: WaitEntry, events: number): void {
    const reason = reasonFor(this.#file, events === 0 ? this.#file.poll() : events)
    if (reason !== 0) signalOwner(this.#file, this.#fd, reason)
  }
  fileReleased(): void {
    this.#entry.queue.remove(this.#entry)
  }
}

/** What the events are called in the signal: 0 for those that this kind of file does not tell. */
function reasonFor(file: File, events: number): number {
  const type = file.inode.type
  const ended = (events & (POLLHUP | POLLERR)) !== 0
  if (type === S_IFIFO) {
    if (file.readable && (ended || (events & POLLIN) !== 0)) return POLL_IN
    return file.writable && (ended || (events & POLLOUT) !== 0) ? POLL_OUT : 0
  }
  // Room to write is told by sockets and terminals only to who was refused before.
  if (type === S_IFSOCK && (events & POLLHUP) !== 0) return POLL_HUP
  if ((events & POLLERR) !== 0) return POLL_ERR
  if ((events & (POLLIN | POLLRDNORM)) !== 0) return POLL_IN
  return (events & POLLPRI) !== 0 ? POLL_PRI : 0
}

/** fasync: switches O_ASYNC of a file that can have it (`file.canSignal`). */
export function setAsync(task: Task, file: File, fd: number, on: boolean): void {
  const old = file.releaseHooks?.find(hook => hook instanceof Notice)
  if (on === (old !== undefined)) return
  if (old !== undefined) {
    ;(old as Notice).fileReleased()
    file.releaseHooks = file.releaseHooks!.filter(hook => hook !== old)
    return
  }
  const preset = file.owner === undefined ? file.defaultOwner() : undefined
  if (preset !== undefined) setFileOwner(file, preset as Pid, F_OWNER_PGRP, task.cred)
  else if (file.ownedWhenAsync) setOwnerIfNone(file, task)
  file.releaseHooks ??= []
  file.releaseHooks.push(new Notice(file, fd))
}
