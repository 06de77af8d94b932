/** What can be waited for in a generated file (cgroup.events, memory.events): poll(2) and inotify(7) tell of it. */
import { WaitQueue } from './wait-queue.ts'

export class Changes {
  count = 0
  readonly queue = new WaitQueue()
  /** Set by the file that shows it. */
  notify: (() => void) | undefined = undefined

  changed(): void {
    this.count++
    this.queue.wakeAll()
    this.notify?.()
  }
}
