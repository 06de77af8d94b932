/** The files of the controllers of CPUs and devices. */
import { PRIO_MAX, PRIO_MIN } from '../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../abi/errno.ts'
import { parseCpuList } from '../../base/cpu-list.ts'
import type { Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import { type CpuController, DEFAULT_WEIGHT } from '../../kernel/cgroup/cpu.ts'
import { NICE_0_WEIGHT, niceWeight } from '../../kernel/scheduling.ts'
import { rangeList } from '../proc/text.ts'
import { fixed, type PseudoDir, ro } from '../pseudo/node.ts'
import { limitText, parseNumber, setting, table, value } from './values.ts'

const MS = 1000
const LEAST_QUOTA = 1 * MS
const MOST_PERIOD = 1000 * MS

export const cpuFiles: PseudoDir<Cgroup> = {
  'cpu.idle': setting(
    ({ cpu }) => (cpu.idle ? '1' : '0'),
    ({ cpu }, text) => inRange(text, 0, 1, value => cpu.setShare(cpu.weight, value === 1)),
  ),
  'cpu.max': setting(({ cpu }) => `${limitText(cpu.quota)} ${cpu.period}`, setMax),
  'cpu.max.burst': setting(
    ({ cpu }) => `${cpu.burst}`,
    ({ cpu }, text) => {
      const burst = parseNumber(text)
      if (burst < 0 || (burst > cpu.quota && cpu.quota !== Number.POSITIVE_INFINITY)) return -EINVAL
      cpu.burst = burst
      return 0
    },
  ),
  'cpu.stat': table(statistics),
  'cpu.stat.local': table(cgroup =>
    cgroup.has('cpu') ? { throttled_usec: Math.floor(cgroup.cpu.throttledTime / 1000) } : NOTHING,
  ),
  'cpu.weight': setting(
    // Who is only to run when nobody else does has none.
    ({ cpu }) => (cpu.idle ? '0' : `${cpu.weight}`),
    ({ cpu }, text) => inRange(text, 1, 10000, value => setWeight(cpu, value)),
  ),
  'cpu.weight.nice': setting(
    ({ cpu }) => `${niceOf(cpu.weight)}`,
    ({ cpu }, text) => {
      if (!/^[+-]?\d+$/.test(text)) return -EINVAL
      const nice = Number(text)
      return nice < -20 || nice > 19 ? -ERANGE : setWeight(cpu, weightOf(nice))
    },
  ),
}

export const cpusetFiles: PseudoDir<Cgroup> = {
  'cpuset.cpus': setting(({ cpuset }) => rangeList(cpuset.cpus ?? []), setCpus),
  'cpuset.cpus.effective': value(effectiveCpus),
  'cpuset.cpus.exclusive': setting(
    () => '',
    (_cgroup, text) => (text === '' ? 0 : -EINVAL),
  ),
  'cpuset.cpus.exclusive.effective': fixed(''),
  // The container's own cgroup is a member of the machine's partition, and members have no partitions below them.
  'cpuset.cpus.partition': setting(
    ({ cpuset }) =>
      cpuset.partition === 'member'
        ? 'member'
        : `${cpuset.partition} invalid (Parent is not a partition root)`,
    ({ cpuset }, text) => {
      if (text !== 'member' && text !== 'root' && text !== 'isolated') return -EINVAL
      cpuset.partition = text
      return 0
    },
  ),
  'cpuset.mems': setting(
    ({ cpuset }) => cpuset.mems,
    ({ cpuset }, text) => {
      if (text !== '' && text !== '0') return -EINVAL
      cpuset.mems = text
      return 0
    },
  ),
  'cpuset.mems.effective': fixed('0'),
}

/** Blocks are the host's; what of its devices they are on is not known here. */
export const ioFiles: PseudoDir<Cgroup> = {
  'io.stat': ro(() => ''),
}

function effectiveCpus({ cpuset }: Cgroup): string {
  return rangeList(cpuset.effective)
}

function inRange(text: string, least: number, most: number, set: (value: number) => Status | void): Status {
  const value = parseNumber(text)
  if (value < 0) return value
  return value < least || value > most ? -ERANGE : (set(value) ?? 0)
}

/** An idle cgroup's weight is fixed. */
function setWeight(cpu: CpuController, weight: number): Status {
  if (cpu.idle) return -EINVAL
  cpu.setShare(weight, false)
  return 0
}

/** Empty: what the parent has. CPUs that the machine does not have are an error, those that the parent lacks are not. */
function setCpus({ cpuset, kernel }: Cgroup, text: string): Status {
  const cpus = text === '' ? [] : parseCpuList(text)
  if (cpus === undefined || cpus.some(cpu => !kernel.cpus.includes(cpu))) return -EINVAL
  cpuset.setCpus(cpus.length === 0 ? undefined : cpus)
  return 0
}

function weightOf(nice: number): number {
  return Math.round((niceWeight(nice) * DEFAULT_WEIGHT) / NICE_0_WEIGHT)
}

/** The nice value that comes nearest. */
function niceOf(weight: number): number {
  const wanted = Math.round((weight * NICE_0_WEIGHT) / DEFAULT_WEIGHT)
  const distance = (nice: number) => Math.abs(niceWeight(nice) - wanted)
  let best = PRIO_MIN
  for (let nice = best + 1; nice < PRIO_MAX && distance(nice) < distance(best); nice++) best = nice
  return best
}

/** '$MAX $PERIOD', the period may be left out. */
function setMax(cgroup: Cgroup, text: string): Status {
  const words = text.split(/\s+/)
  const quota = words[0] === 'max' ? Number.POSITIVE_INFINITY : parseNumber(words[0])
  const period = words[1] === undefined ? cgroup.cpu.period : parseNumber(words[1])
  if (quota < LEAST_QUOTA || period < LEAST_QUOTA || period > MOST_PERIOD) return -EINVAL
  if (cgroup.cpu.burst > quota) return -EINVAL
  cgroup.cpu.setMax(quota, period, true)
  return 0
}

const NOTHING: Readonly<Record<string, number>> = {}

/** The time that the kernel works for a process is not measured apart: all of it is user time. */
function statistics(cgroup: Cgroup): Record<string, number> {
  const { cpu } = cgroup
  const used = Math.floor(cpu.usage() / 1000)
  const times = { usage_usec: used, user_usec: used, system_usec: 0, nice_usec: 0 }
  if (!cgroup.has('cpu')) return times
  return {
    ...times,
    nr_periods: cpu.periods,
    nr_throttled: cpu.throttledPeriods,
    throttled_usec: Math.floor(cpu.throttledTime / 1000),
    nr_bursts: cpu.bursts,
    burst_usec: Math.floor(cpu.burstTime / 1000),
  }
}
