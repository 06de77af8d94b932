/**
 * The files of the controllers of CPUs and devices. A quota is kept by the kernel. Shares of the CPU and sets of CPUs are the
 * host scheduler's to keep: for a container they are what its cgroup on the host has; what is written inside is remembered
 * and shown, as nice values and affinities are.
 */
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../abi/errno.ts'
import { parseCpuList } from '../../base/cpu-list.ts'
import type { Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { CpuController } from '../../kernel/cgroup/cpu.ts'
import { rangeList } from '../proc/text.ts'
import { fixed, type PseudoDir, ro } from '../pseudo/node.ts'
import { limitText, parseNumber, setting, table, value } from './values.ts'

const MS = 1000
const LEAST_QUOTA = 1 * MS
const MOST_PERIOD = 1000 * MS

export const cpuFiles: PseudoDir<Cgroup> = {
  'cpu.idle': setting(
    ({ cpu }) => (cpu.idle ? '1' : '0'),
    ({ cpu }, text) =>
      inRange(text, 0, 1, value => {
        cpu.idle = value === 1
      }),
  ),
  'cpu.max': setting(({ cpu }) => `${limitText(cpu.quota)} ${cpu.period}`, setMax),
  'cpu.max.burst': setting(
    () => '0',
    (_cgroup, text) => (parseNumber(text) === 0 ? 0 : -EINVAL),
  ),
  'cpu.stat': table(statistics),
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
  'cpuset.cpus.partition': setting(
    () => 'member',
    (_cgroup, text) => (text === 'member' ? 0 : -EOPNOTSUPP),
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
  cpu.weight = weight
  return 0
}

/** Empty: what the parent has. CPUs that the machine does not have are an error, those that the parent lacks are not. */
function setCpus({ cpuset, kernel }: Cgroup, text: string): Status {
  const cpus = text === '' ? [] : parseCpuList(text)
  if (cpus === undefined || cpus.some(cpu => !kernel.cpus.includes(cpu))) return -EINVAL
  cpuset.cpus = cpus.length === 0 ? undefined : cpus
  return 0
}

/** sched_prio_to_weight[] of nice values from -20 on: each step is a tenth of the CPU. */
const NICE_WEIGHTS = [
  ...[88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906],
  ...[3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45],
  ...[36, 29, 23, 18, 15],
]
/** The weight of nice 0 there, and as cpu.weight has it. */
const NICE_0_WEIGHT = 1024
const DEFAULT_WEIGHT = 100

function weightOf(nice: number): number {
  return Math.round((NICE_WEIGHTS[nice + 20] * DEFAULT_WEIGHT) / NICE_0_WEIGHT)
}

/** The nice value that comes nearest. */
function niceOf(weight: number): number {
  const wanted = Math.round((weight * NICE_0_WEIGHT) / DEFAULT_WEIGHT)
  const distance = (i: number) => Math.abs(NICE_WEIGHTS[i] - wanted)
  let best = 0
  for (let i = 1; i < NICE_WEIGHTS.length && distance(i) < distance(best); i++) best = i
  return best - 20
}

/** '$MAX $PERIOD', the period may be left out. */
function setMax(cgroup: Cgroup, text: string): Status {
  const words = text.split(/\s+/)
  const quota = words[0] === 'max' ? Number.POSITIVE_INFINITY : parseNumber(words[0])
  const period = words[1] === undefined ? cgroup.cpu.period : parseNumber(words[1])
  if (quota < LEAST_QUOTA || period < LEAST_QUOTA || period > MOST_PERIOD) return -EINVAL
  cgroup.cpu.setMax(quota, period, true)
  return 0
}

/** The time that the kernel works for a process is not measured apart: all of it is user time. */
function statistics(cgroup: Cgroup): Record<string, number> {
  const { cpu } = cgroup
  const used = Math.floor(cpu.usage() / 1000)
  const times = { usage_usec: used, user_usec: used, system_usec: 0 }
  if (!cgroup.has('cpu')) return times
  return {
    ...times,
    nr_periods: cpu.periods,
    nr_throttled: cpu.throttledPeriods,
    throttled_usec: Math.floor(cpu.throttledTime / 1000),
    nr_bursts: 0,
    burst_usec: 0,
  }
}
