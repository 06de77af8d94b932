/**
 * Resources as properties of a unit (systemd.resource-control(5)). systemd writes its own idea of them into the cgroup's
 * files whenever it reloads, so it is told all that it can express.
 */

import { parseCpuList } from '../../base/cpu-list.ts'
import type { ResourcesConfig } from '../config.ts'
import { weightOfShares } from '../limits.ts'
import { hostMemory, hostPids } from './settings.ts'

/** Name, signature, and the value's words, as busctl(1) takes them. */
export type Property = readonly [name: string, signature: string, ...value: string[]]

/** 'infinity': 2^64 - 1. */
const INFINITY = '18446744073709551615'
const DEFAULT_PERIOD_US = 100_000
/** What quotas are rounded up to. */
const QUOTA_STEP_US = 10_000

export function systemdProperties(version: 1 | 2, resources: ResourcesConfig): Property[] {
  const { memory = {}, cpu = {}, pids, blockIO = {} } = resources
  const list: Property[] = []
  const put = (name: string, value: number | undefined) => {
    if (value) list.push([name, 't', value < 0 ? INFINITY : String(value)])
  }
  put(version === 1 ? 'MemoryLimit' : 'MemoryMax', hostMemory(memory.limit))
  put('TasksMax', hostPids(pids?.limit))
  if (cpu.shares) {
    if (version === 1) put('CPUShares', cpu.shares)
    else put('CPUWeight', weightOfShares(cpu.shares))
  }
  if (cpu.quota) {
    const period = cpu.period || DEFAULT_PERIOD_US
    const perSecond = (cpu.quota * 1e6) / period
    put('CPUQuotaPerSecUSec', cpu.quota < 0 ? -1 : Math.ceil(perSecond / QUOTA_STEP_US) * QUOTA_STEP_US)
    put('CPUQuotaPeriodUSec', cpu.period)
  }
  if (version === 1) {
    put('BlockIOWeight', blockIO.weight)
    return list
  }
  put('MemoryLow', memory.reservation)
  if (memory.swap && memory.limit) put('MemorySwapMax', memory.swap < 0 ? -1 : memory.swap - memory.limit)
  putMask('AllowedCPUs', cpu.cpus)
  putMask('AllowedMemoryNodes', cpu.mems)
  return list

  /** A bit for each number, in bytes. */
  function putMask(name: string, text: string | undefined): void {
    const numbers = text ? parseCpuList(text) : undefined
    if (numbers === undefined) return
    const bytes = new Uint8Array((numbers.at(-1)! >>> 3) + 1)
    for (const number of numbers) bytes[number >>> 3] |= 1 << (number & 7)
    list.push([name, 'ay', String(bytes.length), ...[...bytes].map(String)])
  }
}
