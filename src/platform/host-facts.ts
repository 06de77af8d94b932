/**
 * Facts of the host that /proc and /sys show to the guest: host files that are read, or opened for a later reading, while the
 * host's tree can still be reached. Never their directory: `..` leads from there to all of the host's tree.
 */
import { O_CLOEXEC, O_RDONLY } from '../abi/constants.ts'
import { fromBytes } from '../base/bytes.ts'
import type { HostAddon } from './addon.ts'

/** In sys/devices/system/cpu/vulnerabilities: those that Linux has known so far. */
export const CPU_VULNERABILITIES = [
  ...['gather_data_sampling', 'ghostwrite', 'indirect_target_selection', 'itlb_multihit', 'l1tf', 'mds'],
  ...['meltdown', 'mmio_stale_data', 'old_microcode', 'reg_file_data_sampling', 'retbleed'],
  ...['spec_rstack_overflow', 'spec_store_bypass', 'spectre_v1', 'spectre_v2', 'srbds', 'tsa'],
  ...['tsx_async_abort', 'vmscape'],
] as const

/**
 * Never change while the host is up, and cost as little to read as to open: read at once, since a descriptor each would be
 * many. Of the caches those of the first CPU; the others have the same.
 */
const CONSTANT = [
  'proc/sys/kernel/osrelease',
  ...['online', 'kernel_max', 'smt/active', 'smt/control'].map(name => `sys/devices/system/cpu/${name}`),
  ...['enabled', 'hpage_pmd_size'].map(name => `sys/kernel/mm/transparent_hugepage/${name}`),
  ...CPU_VULNERABILITIES.map(name => `sys/devices/system/cpu/vulnerabilities/${name}`),
  ...[0, 1, 2, 3].flatMap(i =>
    ['level', 'type', 'size', 'ways_of_associativity', 'shared_cpu_list'].map(
      file => `sys/devices/system/cpu/cpu0/cache/index${i}/${file}`,
    ),
  ),
]

/** The host makes this one anew for each reader, at some cost: read once, when somebody asks. */
const COSTLY = 'proc/cpuinfo'

/** Read again each time. */
const CHANGING = [
  ...['proc/meminfo', 'proc/stat', 'proc/loadavg', 'proc/vmstat'],
  ...['proc/pressure/cpu', 'proc/pressure/io', 'proc/pressure/memory'],
]

/** No fact is longer. /proc/cpuinfo has about 1.5 KiB per CPU. */
const MAX_FACT = 4 << 20
/** None of the files that are read at once is longer, and each comes whole with one read. */
const SMALL_FILE = 4096

export class HostFacts {
  readonly #addon: HostAddon
  readonly #open = new Map<string, number>()
  readonly #known = new Map<string, string>()

  /** Must be made before the jail closes. */
  constructor(addon: HostAddon) {
    this.#addon = addon
    const whole = new Uint8Array(SMALL_FILE)
    for (const name of CONSTANT) {
      const fd = this.#openFact(name)
      if (fd < 0) continue
      this.#known.set(name, fromBytes(whole, 0, Math.max(addon.pread(fd, whole, 0), 0)))
      addon.close(fd)
    }
    for (const name of [COSTLY, ...CHANGING]) {
      const fd = this.#openFact(name)
      if (fd >= 0) this.#open.set(name, fd)
    }
  }

  #openFact(name: string): number {
    return this.#addon.openat2(-1, `/${name}`, O_RDONLY | O_CLOEXEC, 0, 0)
  }

  /** The text of the host's file, '' where the host has none or it is not listed here. */
  get(name: string): string {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const fd = this.#open.get(name)
    if (fd === undefined) return ''
    const text = this.#read(fd)
    if (name === COSTLY) {
      this.#known.set(name, text)
      this.#open.delete(name)
      this.#addon.close(fd)
    }
    return text
  }

  #read(fd: number): string {
    let text = ''
    const piece = new Uint8Array(16384)
    while (text.length < MAX_FACT) {
      const count = this.#addon.pread(fd, piece, text.length)
      if (count <= 0) break
      text += fromBytes(piece, 0, count)
    }
    return text
  }
}
