/** What the host's procfs tells of the memory of stub processes: the guests' own, and a few pages of the stub's. */
import { O_RDONLY } from '../abi/constants.ts'
import { fromBytes } from '../base/bytes.ts'
import type { MemoryMeter, SpaceMemory } from '../kernel/cgroup/memory-meter.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import type { AddressSpace, SpaceUsage } from '../platform/platform.ts'

const PAGE_KIB = 4

export class ProcessMemory implements MemoryMeter {
  readonly #host: LinuxHost
  readonly #proc: number
  readonly #text = new Uint8Array(4096)

  /** `proc`: a descriptor of a procfs that shows the stubs. */
  constructor(host: LinuxHost, proc: number) {
    this.#host = host
    this.#proc = proc
  }

  /** Resident pages now; 0 if it is gone. */
  resident(pid: number): number {
    return Number(this.#read(`${pid}/statm`).split(' ', 2)[1] ?? 0)
  }

  /** The most pages that were resident at once. */
  peak(pid: number): number {
    const found = /^VmHWM:\s*(\d+) kB/m.exec(this.#read(`${pid}/status`))
    return found === null ? 0 : Number(found[1]) / PAGE_KIB
  }

  /** As getrusage(2) would tell of it; times in clock ticks. */
  usage(pid: number): SpaceUsage | undefined {
    const fields = fieldsOf(this.#read(`${pid}/stat`))
    if (fields.length < 13) return undefined
    const [, , , , , , , minorFaults, , majorFaults, , user, system] = fields
    return { peakPages: this.peak(pid), minorFaults, majorFaults, user, system }
  }

  /** The CPU on which one of its threads was last. */
  lastCpu(pid: number, tid: number): number | undefined {
    return fieldsOf(this.#read(`${pid}/task/${tid}/stat`))[PROCESSOR]
  }

  /** MemoryMeter. A space without a process of its own uses nothing. */
  measure(space: AddressSpace, exact: boolean, into: SpaceMemory): void {
    const { pid } = space as { readonly pid?: number }
    const text = pid === undefined ? '' : this.#read(exact ? `${pid}/smaps_rollup` : `${pid}/status`)
    into.anonymous = pagesIn(text, exact ? 'Pss_Anon:' : 'RssAnon:')
    into.shared = pagesIn(text, exact ? 'Pss_Shmem:' : 'RssShmem:')
  }

  #read(name: string): string {
    const fd = this.#host.openat2(this.#proc, name, O_RDONLY, 0, 0)
    if (fd < 0) return ''
    const n = this.#host.pread(fd, this.#text, 0)
    this.#host.close(fd)
    return n > 0 ? fromBytes(this.#text, 0, n) : ''
  }
}

/** Of /proc/PID/stat, from the third one on. The name may have spaces and parentheses in it. */
function fieldsOf(stat: string): number[] {
  return stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
}
/** The 39th. */
const PROCESSOR = 36

/** The number of KiB behind `label`, in pages. */
function pagesIn(text: string, label: string): number {
  const at = text.indexOf(label)
  return at < 0 ? 0 : Number.parseInt(text.slice(at + label.length), 10) / PAGE_KIB
}
