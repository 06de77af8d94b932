/**
 * Process groups and sessions (credentials(7), "Process groups and sessions"), and what a terminal is to them.
 *
 * A ProcessGroup lives while it has members, a Session while it has process groups. A process always is in one
 * group; groups never move between sessions.
 */
import { SIGCONT, SIGHUP } from '../abi/constants.ts'
import type { Pid } from './pid.ts'
import { sendToGroup } from './signal.ts'
import { kernelSignal } from './signal-info.ts'
import type { ThreadGroup } from './thread-group.ts'

/** A terminal as job control sees it; implemented by the tty code. */
export interface Terminal {
  /** Its device number, for /proc/PID/stat. */
  readonly rdev: number
  /** The session that it controls, if any. */
  session: Session | undefined
  /** The foreground process group. */
  foreground: ProcessGroup | undefined
  /**
   * The session's leader ended: readers and writers of a real terminal get end-of-file and EIO from here on. Pseudo
   * terminals stay usable. Signals are not its business.
   */
  hangup(): void
  /** vhangup(2): nobody who has it open can use it any more, and it is no session's terminal. */
  vhangup(): void
}

export class ProcessGroup {
  readonly pid: Pid
  readonly session: Session
  readonly members = new Set<ThreadGroup>()

  constructor(pid: Pid, session: Session) {
    this.pid = pid
    this.session = session
    pid.processGroup = this
    session.groups.add(this)
  }

  /**
   * Whether no member has a parent outside the group but in the session: nobody could continue it, so its members don't
   * stop for the terminal. `without`: a process that is about to end.
   */
  orphaned(without: ThreadGroup | undefined = undefined): boolean {
    for (const member of this.members) {
      if (member === without || member.dead || member.parent === undefined) continue
      const parentGroup = member.parent.processGroup
      if (parentGroup !== this && parentGroup.session === this.session) return false
    }
    return true
  }

  hasStoppedMember(): boolean {
    for (const member of this.members) if (member.stopped) return true
    return false
  }
}

export class Session {
  readonly pid: Pid
  leader: ThreadGroup | undefined
  readonly groups = new Set<ProcessGroup>()
  terminal: Terminal | undefined = undefined

  constructor(pid: Pid, leader: ThreadGroup) {
    this.pid = pid
    this.leader = leader
    pid.session = this
  }
}

/** A new session with one new process group, both of `leader`: setsid(2), and the first process. */
export function startSession(leader: ThreadGroup): void {
  const session = new Session(leader.pid, leader)
  moveToProcessGroup(leader, new ProcessGroup(leader.pid, session))
}

/** Puts a process into a group; the group it leaves goes when it was the last member. */
export function moveToProcessGroup(group: ThreadGroup, to: ProcessGroup): void {
  const from = group.processGroup
  if (from === to) return
  group.processGroup = to
  to.members.add(group)
  if (from !== undefined) leaveProcessGroup(group, from)
}

export function leaveProcessGroup(group: ThreadGroup, from: ProcessGroup): void {
  from.members.delete(group)
  if (from.members.size > 0) return
  const session = from.session
  if (session.terminal?.foreground === from) session.terminal.foreground = undefined
  session.groups.delete(from)
  from.pid.processGroup = undefined
  if (session.groups.size === 0) {
    if (session.terminal !== undefined) session.terminal.session = undefined
    session.pid.session = undefined
    if (session.pid !== from.pid) session.pid.releaseIfUnused()
  }
  from.pid.releaseIfUnused()
}

/** The session gives up its terminal: the leader ended, or TIOCNOTTY. */
export function disassociateTerminal(session: Session, leaderEnded: boolean): void {
  const terminal = session.terminal
  if (terminal === undefined) return
  const foreground = terminal.foreground
  if (leaderEnded) terminal.hangup()
  if (foreground !== undefined) {
    for (const member of [...foreground.members]) {
      sendToGroup(member, kernelSignal(SIGHUP))
      sendToGroup(member, kernelSignal(SIGCONT))
    }
  }
  terminal.session = undefined
  terminal.foreground = undefined
  session.terminal = undefined
}

/**
 * Called when `group` ends, or when its parent changed: a process group that has become orphaned while a member is
 * stopped gets SIGHUP and SIGCONT (POSIX, exit(3p)). `parent`: the one whose tie counted until now.
 */
export function signalIfOrphaned(group: ThreadGroup, parent: ThreadGroup | undefined, ending: boolean): void {
  const pgrp = group.processGroup
  if (parent === undefined || parent.processGroup === pgrp || parent.processGroup.session !== pgrp.session)
    return
  if (!pgrp.orphaned(ending ? group : undefined) || !pgrp.hasStoppedMember()) return
  for (const member of [...pgrp.members]) {
    sendToGroup(member, kernelSignal(SIGHUP))
    sendToGroup(member, kernelSignal(SIGCONT))
  }
}
