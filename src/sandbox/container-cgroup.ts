/** The cgroup of a container: a child of the hierarchy's top, which the container sees as the root. */
import { errnoName } from '../abi/errno.ts'
import { encodeText } from '../base/bytes.ts'
import { parseCpuList } from '../base/cpu-list.ts'
import { failed } from '../base/result.ts'
import type { Cgroup } from '../kernel/cgroup/cgroup.ts'
import { DeviceGuard } from '../kernel/cgroup/device-guard.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { type ContainerStats, type DeviceRuleSpec, LEAST_MEMORY, type LimitsSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

const NONE = Number.POSITIVE_INFINITY
/** Bytes that the sentry may need itself while the sandbox is at its limit: its least, and some work. */
const SENTRY_SHARE = 32 << 20

/**
 * `alone`: it is the only container of its sandbox. Then the host's cgroup of the sandbox keeps its memory limit, so that
 * who asks the host hears of processes that were killed for it, and its CPU quota; the limits of several in one sandbox
 * only the sandbox itself can tell apart.
 */
export function makeContainerCgroup(kernel: Kernel, id: string, limits: LimitsSpec, alone: boolean): Cgroup {
  const cgroup = kernel.cgroups.makeChild(encodeText(id))
  if (failed(cgroup))
    throw new UserError(`the cgroup of container ${id} can't be made: ${errnoName(-cgroup)}`)
  setContainerLimits(cgroup, limits, alone)
  return cgroup
}

export function setDeviceRules(cgroup: Cgroup, rules: readonly DeviceRuleSpec[]): void {
  cgroup.devices ??= new DeviceGuard()
  cgroup.devices.rules = rules.map(({ allow, type, major, minor, access }) => ({
    allow,
    type,
    major,
    minor,
    access,
  }))
}

/** What `limits` does not name stays as it is. */
export function setContainerLimits(cgroup: Cgroup, limits: LimitsSpec, alone: boolean): void {
  const { memory, pids, cpu, cpuset } = cgroup
  memory.max = limitOf(limits.memory, memory.max)
  memory.tolerance = alone ? LEAST_MEMORY : 0
  memory.fileMax = alone ? Math.max(memory.max, LEAST_MEMORY) - SENTRY_SHARE : NONE
  memory.high = limitOf(limits.memoryHigh, memory.high)
  memory.swapMax = limitOf(limits.swap, memory.swapMax)
  memory.limitsChanged()
  pids.max = limitOf(limits.pids, pids.max)
  if (limits.cpus !== undefined) cpuset.setCpus(parseCpuList(limits.cpus))
  if (limits.cpuWeight !== undefined) cpu.setShare(limits.cpuWeight, cpu.idle)
  cpu.setMax(limitOf(limits.cpuQuota, cpu.quota), limits.cpuPeriod ?? cpu.period, !alone)
}

function limitOf(limit: number | undefined, before: number): number {
  if (limit === undefined) return before
  return limit < 0 ? NONE : limit
}

/** After its last process has ended: it goes with all cgroups that were made in it. */
export function removeContainerCgroup(cgroup: Cgroup): void {
  for (const child of [...cgroup.children.values()]) removeContainerCgroup(child)
  cgroup.parent?.removeChild(cgroup.name)
}

export function containerStats({ memory, pids, cpu }: Cgroup): ContainerStats {
  const used = memory.current()
  const cpuMs = cpu.usage() / 1e6
  return {
    memory: used,
    memoryPeak: memory.peak,
    oomKills: memory.events.oom_kill,
    pids: pids.current,
    cpuUsageMs: cpuMs,
    // The time that the sentry works for a container is not measured apart.
    cpuUserMs: cpuMs,
    cpuSystemMs: 0,
  }
}
