/** A process on the host that stands for one of a container's, as a child of ours: its end is the other's. */
import type { ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { UserError } from '../sandbox/user-error.ts'

export interface Standing {
  readonly pid: number
  readonly process: ChildProcess
  /** The exit status, 128 + n after signal n. It doesn't keep the event loop alive: see `process.ref()`. */
  readonly exit: Promise<number>
}

export function standingOf(process: ChildProcess): Standing {
  const { pid } = process
  // The reason comes as an event.
  process.on('error', () => {})
  if (pid === undefined)
    throw new UserError('no process can be started: the limit of processes may be reached')
  const exit = new Promise<number>(resolve => {
    const tell = () => resolve(process.exitCode ?? 128 + constants.signals[process.signalCode!])
    if (process.exitCode !== null || process.signalCode !== null) tell()
    else process.on('exit', tell)
  })
  return { pid, process, exit }
}
