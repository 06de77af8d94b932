/**
 * Terminals and job control: which session a terminal controls, who may read, write and change it, and whom its
 * signal characters reach. credentials(7), termios(3), tty_ioctl(4), setpgid(2).
 */
import { CAP_SYS_ADMIN, SIGCONT, SIGHUP, SIGTTIN } from '../../abi/constants.ts'
import { EIO, ENOTTY, EPERM, ERESTARTSYS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { disassociateTerminal } from '../../kernel/session.ts'
import { sendToGroup } from '../../kernel/signal.ts'
import { kernelSignal } from '../../kernel/signal-info.ts'
import type { Task } from '../../kernel/task.ts'
import type { Tty } from './tty.ts'

/** Whether `tty` is the controlling terminal of the task. */
export function controls(tty: Tty, task: Task): boolean {
  return task.group.processGroup.session.terminal === tty
}

/** A signal character, or SIGWINCH: to the foreground process group. */
export function signalForeground(tty: Tty, signo: number): void {
  if (tty.foreground === undefined) return
  for (const member of [...tty.foreground.members]) sendToGroup(member, kernelSignal(signo))
}

/**
 * Whether a task may use its terminal now (tty_check_change): 0; a process of the background gets `signo` with its
 * whole group and -ERESTARTSYS, or -EIO where nobody could bring it to the foreground. One that ignores or blocks
 * SIGTTOU may go on; SIGTTIN it can't ignore.
 */
export function checkForeground(tty: Tty, task: Task, signo: number): Status {
  if (!controls(tty, task)) return 0
  const group = task.group.processGroup
  if (tty.foreground === undefined || tty.foreground === group) return 0
  if (task.signals.blocked.has(signo) || task.group.handlers.ignores(signo))
    return signo === SIGTTIN ? -EIO : 0
  if (group.orphaned()) return -EIO
  for (const member of [...group.members]) sendToGroup(member, kernelSignal(signo))
  return -ERESTARTSYS
}

/** The task's session gets the terminal; its group comes to the foreground. */
function takeTerminal(tty: Tty, task: Task): void {
  const { session } = task.group.processGroup
  session.terminal = tty
  tty.session = session
  tty.foreground = task.group.processGroup
}

/** open(2) without O_NOCTTY: a session leader that has no terminal gets this one, if it is free. */
export function acquireOnOpen(tty: Tty, task: Task, readable: boolean): void {
  const { session } = task.group.processGroup
  if (session.leader !== task.group || session.terminal !== undefined || tty.session !== undefined) return
  if (readable) takeTerminal(tty, task)
}

/** TIOCSCTTY. `steal`: an administrator may take it from another session. */
export function setControlling(tty: Tty, task: Task, readable: boolean, steal: boolean): Status {
  const { session } = task.group.processGroup
  const leader = session.leader === task.group
  if (leader && tty.session === session) return 0
  if (!leader || session.terminal !== undefined) return -EPERM
  const admin = task.cred.capable(CAP_SYS_ADMIN)
  if (tty.session !== undefined) {
    if (!steal || !admin) return -EPERM
    tty.session.terminal = undefined
  }
  if (!readable && !admin) return -EPERM
  takeTerminal(tty, task)
  return 0
}

/** TIOCNOTTY: a leader gives the terminal up for its whole session. */
export function giveUpControlling(tty: Tty, task: Task): Status {
  if (!controls(tty, task)) return -ENOTTY
  const { session } = task.group.processGroup
  if (session.leader === task.group) disassociateTerminal(session, false)
  return 0
}

/** The line went dead: the session leader gets SIGHUP and SIGCONT, and its session has no terminal any more. */
export function hangupTerminal(tty: Tty): void {
  const { session } = tty
  tty.session = tty.foreground = undefined
  if (session === undefined) return
  session.terminal = undefined
  if (session.leader === undefined || session.leader.dead) return
  sendToGroup(session.leader, kernelSignal(SIGHUP))
  sendToGroup(session.leader, kernelSignal(SIGCONT))
}
