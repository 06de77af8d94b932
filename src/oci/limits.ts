/** runtime-spec's resources as the guest's own cgroup shows and enforces them. The host's are cgroup/'s. */
import type { LimitsSpec } from '../sandbox/protocol.ts'
import type { ResourcesConfig } from './config.ts'

export function planLimits(resources: ResourcesConfig): LimitsSpec {
  const { memory = {}, cpu = {}, pids, unified = {} } = resources
  const limits: LimitsSpec = {
    memory: limit(memory.limit),
    swap: swapOf(memory.limit, memory.swap),
    pids: limit(pids?.limit),
    cpuQuota: limit(cpu.quota),
    cpuPeriod: cpu.period || undefined,
    cpuWeight: cpu.shares ? weightOfShares(cpu.shares) : undefined,
    cpus: cpu.cpus || undefined,
  }
  const [quota, period] = (unified['cpu.max'] ?? '').split(' ')
  return withoutUndefined({
    ...limits,
    ...withoutUndefined({
      memory: unifiedLimit(unified['memory.max']),
      memoryHigh: unifiedLimit(unified['memory.high']),
      swap: unifiedLimit(unified['memory.swap.max']),
      pids: unifiedLimit(unified['pids.max']),
      cpuQuota: unifiedLimit(quota),
      cpuPeriod: unifiedLimit(period),
      cpuWeight: unifiedLimit(unified['cpu.weight']),
      cpus: unified['cpuset.cpus'] || undefined,
    }),
  })
}

/** cgroup v2's weight (1 to 10000) for v1's shares (2 to 262144), by the formula that all engines share. */
export function weightOfShares(shares: number): number {
  const clamped = Math.min(Math.max(shares, 2), 262_144)
  return 1 + Math.floor(((clamped - 2) * 9999) / 262_142)
}

/** v1 and runtime-spec count memory and swap together, v2 and the guest swap alone. */
function swapOf(memory: number | undefined, swap: number | undefined): number | undefined {
  if (!swap) return undefined
  if (swap < 0) return -1
  return memory !== undefined && memory > 0 ? Math.max(swap - memory, 0) : undefined
}

/** 0 says nothing, and everything below is no limit. */
function limit(value: number | undefined): number | undefined {
  return value ? Math.max(value, -1) : undefined
}

function unifiedLimit(text: string | undefined): number | undefined {
  if (text === 'max') return -1
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined
}

function withoutUndefined<T extends object>(record: T): Partial<T> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Partial<T>
}
