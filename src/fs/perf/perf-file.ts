/** The file of a counter, perf_event_open(2): read for its count, alone or with its group's. */

import {
  PERF_EVENT_IOC_DISABLE,
  PERF_EVENT_IOC_ENABLE,
  PERF_EVENT_IOC_ID,
  PERF_EVENT_IOC_PERIOD,
  PERF_EVENT_IOC_REFRESH,
  PERF_EVENT_IOC_RESET,
  PERF_FORMAT_GROUP,
  PERF_FORMAT_ID,
  PERF_FORMAT_LOST,
  PERF_FORMAT_TOTAL_TIME_ENABLED,
  PERF_FORMAT_TOTAL_TIME_RUNNING,
  PERF_IOC_FLAG_GROUP,
  POLLHUP,
} from '../../abi/constants.ts'
import { EINVAL, ENOSPC, ENOTTY } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import { put64 } from '../../base/words.ts'
import type { PerfEvent } from '../../kernel/perf/perf-event.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

export class PerfFile extends File {
  readonly event: PerfEvent
  readonly id: number
  readonly #format: number
  /** The group's leader; itself where there is none. */
  readonly leader: PerfFile
  /** Of a leader: those that were opened into its group, and still are. */
  readonly #siblings = new Set<PerfFile>()

  /** `flags`: O_RDWR. `format`: PERF_FORMAT_*. */
  constructor(
    path: Path,
    flags: number,
    cred: Credentials,
    event: PerfEvent,
    id: number,
    format: number,
    leader: PerfFile | undefined,
  ) {
    super(path, flags, cred)
    this.event = event
    this.id = id
    this.#format = format
    this.leader = leader ?? this
    if (leader !== undefined) leader.#siblings.add(this)
  }

  /** There is no ring of samples to wait for. */
  override poll(): number {
    return POLLHUP
  }

  override read(into: IoDst): number {
    const words = this.#words()
    if (into.remaining < words.length * 8) return -ENOSPC
    const bytes = new Uint8Array(words.length * 8)
    const view = new DataView(bytes.buffer)
    words.forEach((value, i) => {
      put64(view, i * 8, value)
    })
    return into.put(bytes)
  }

  #words(): number[] {
    const { time } = this.event
    const times = [
      ...((this.#format & PERF_FORMAT_TOTAL_TIME_ENABLED) !== 0 ? [time] : []),
      ...((this.#format & PERF_FORMAT_TOTAL_TIME_RUNNING) !== 0 ? [time] : []),
    ]
    const rest = (file: PerfFile): number[] => [
      ...((this.#format & PERF_FORMAT_ID) !== 0 ? [file.id] : []),
      ...((this.#format & PERF_FORMAT_LOST) !== 0 ? [0] : []),
    ]
    if ((this.#format & PERF_FORMAT_GROUP) === 0) {
      return [Math.round(this.event.count), ...times.map(Math.round), ...rest(this)]
    }
    const members = [this, ...this.#siblings]
    const values = members.flatMap(file => [Math.round(file.event.count), ...rest(file)])
    return [members.length, ...times.map(Math.round), ...values]
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    switch (request) {
      case PERF_EVENT_IOC_ENABLE:
        return this.#each(argument, event => event.setEnabled(true))
      case PERF_EVENT_IOC_DISABLE:
        return this.#each(argument, event => event.setEnabled(false))
      case PERF_EVENT_IOC_RESET:
        return this.#each(argument, event => event.reset())
      case PERF_EVENT_IOC_ID: {
        const bytes = new Uint8Array(8)
        new DataView(bytes.buffer).setUint32(0, this.id, true)
        return context.copyOut(argument, bytes)
      }
      // For events that make samples.
      case PERF_EVENT_IOC_REFRESH:
      case PERF_EVENT_IOC_PERIOD:
        return -EINVAL
    }
    return -ENOTTY
  }

  #each(flags: number, act: (event: PerfEvent) => void): number {
    const { leader } = this
    if ((flags & PERF_IOC_FLAG_GROUP) === 0) act(this.event)
    else for (const file of [leader, ...leader.#siblings]) act(file.event)
    return 0
  }

  override release(): void {
    this.leader.#siblings.delete(this)
    this.event.close()
  }
}
