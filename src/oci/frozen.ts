/** Containers that the host has frozen: their sentries are stopped too, and would be waited for in vain. */
import {
  SIGABRT,
  SIGBUS,
  SIGFPE,
  SIGILL,
  SIGPIPE,
  SIGSEGV,
  SIGSTOP,
  SIGSYS,
  SIGTRAP,
  SIGWINCH,
} from '../abi/constants.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { SavedState, Status } from './state.ts'

/** One of a pod is paused by its sentry, which goes on. */
export function isFrozen({ paused }: SavedState, status: Status): boolean {
  return status === 'paused' && paused !== true
}

export function refuseFrozen(state: SavedState, status: Status): void {
  if (isFrozen(state, status)) throw new UserError(`container ${state.id} is paused: resume it first`)
}

/** Whether a launcher that goes on passes the signal on that it was sent meanwhile. */
export function passesOn(signo: number): boolean {
  return !OF_THE_LAUNCHER.has(signo)
}

/** What it obeys itself (native/launcher/terminal.c); SIGWINCH it takes for its own terminal's. */
const OF_THE_LAUNCHER = new Set([
  SIGILL,
  SIGTRAP,
  SIGABRT,
  SIGBUS,
  SIGFPE,
  SIGSEGV,
  SIGPIPE,
  SIGSTOP,
  SIGWINCH,
  SIGSYS,
])
