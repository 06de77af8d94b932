/**
 * A process of a container as containerd knows it: the container's first one, or one of `exec`. It is 'created' when it is
 * announced (of an exec nothing exists then but what it will be), 'running' when it is started, 'stopped' when it has ended,
 * and known until it is deleted.
 */
import type { StreamPaths, Streams } from './streams.ts'

export type ProcessStatus = 'created' | 'running' | 'stopped'

export class TaskProcess {
  /** '' for a container's first. */
  readonly execId: string
  readonly paths: StreamPaths
  streams: Streams | undefined = undefined
  status: ProcessStatus = 'created'
  /** On the host; 0 before there is one. */
  pid = 0
  exitStatus = 0
  exitedAt: Date | undefined = undefined
  /** It has ended, and its exit status is known. */
  readonly exited: Promise<void>
  /** Its start is made known: its end may be, too. */
  announced: Promise<void> = Promise.resolve()
  #setExited: () => void = () => {}

  constructor(execId: string, paths: StreamPaths) {
    this.execId = execId
    this.paths = paths
    this.exited = new Promise(resolve => {
      this.#setExited = resolve
    })
  }

  ended(exitStatus: number): void {
    this.status = 'stopped'
    this.exitStatus = exitStatus
    this.exitedAt = new Date()
    this.#setExited()
  }
}
