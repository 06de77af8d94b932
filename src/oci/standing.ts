/** A process on the host that stands for one of a container's, as a child of ours: its end is the other's. */
import { exitStatus, type HostProcess } from '../sandbox/host-process.ts'

export interface Standing {
  readonly pid: number
  kill(signo: number): void
  /** The exit status, 128 + n after signal n. Looked at, it makes us the one who sees the end: see HostProcess. */
  readonly exit: Promise<number>
}

export function standingOf(process: HostProcess): Standing {
  return {
    pid: process.pid,
    kill: signo => process.kill(signo),
    get exit() {
      return process.exit.then(exitStatus)
    },
  }
}
