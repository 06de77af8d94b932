/**
 * Facts of the host that /proc and /sys show to the guest: host files that are opened while the host's tree can still
 * be reached, and read when somebody asks.
 */
import { O_CLOEXEC, O_RDONLY } from '../abi/constants.ts'
import { fromBytes } from '../base/bytes.ts'
import type { HostAddon } from './addon.ts'

/** Never change while the host is up: read once. */
const CONSTANT = [
  'proc/cpuinfo',
  'proc/version',
  'proc/sys/kernel/osrelease',
  'sys/devices/system/cpu/online',
  'sys/devices/system/cpu/possible',
  'sys/devices/system/cpu/present',
  'sys/devices/system/cpu/kernel_max',
  'sys/devices/system/node/online',
  'sys/kernel/mm/transparent_hugepage/enabled',
  'sys/kernel/mm/transparent_hugepage/hpage_pmd_size',
]

/** Read again each time. */
const CHANGING = ['proc/meminfo', 'proc/stat', 'proc/loadavg', 'proc/uptime', 'proc/vmstat']

/** No fact is longer. /proc/cpuinfo has about 1.5 KiB per CPU. */
const MAX_FACT = 4 << 20

export class HostFacts {
  readonly #addon: HostAddon
  readonly #open = new Map<string, number>()
  readonly #known = new Map<string, string>()

  /** Must be made before the jail closes. */
  constructor(addon: HostAddon) {
    this.#addon = addon
    for (const name of [...CONSTANT, ...CHANGING]) {
      const fd = addon.openat2(-1, `/${name}`, O_RDONLY | O_CLOEXEC, 0, 0)
      if (fd >= 0) this.#open.set(name, fd)
    }
  }

  /** The text of the host's file, '' where the host has none or it is not listed here. */
  get(name: string): string {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const fd = this.#open.get(name)
    if (fd === undefined) return ''
    const text = this.#read(fd)
    if (!CHANGING.includes(name)) {
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
