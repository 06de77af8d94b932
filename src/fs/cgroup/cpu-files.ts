/**
 * The files of the controllers of CPUs and devices. Shares of the CPU and sets of CPUs are the host scheduler's to keep: what
 * the host's cgroup of the container has is shown, and can't be changed from inside. A quota is kept by the kernel.
 */
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import { rangeList } from '../proc/text.ts'
import { fixed, type PseudoDir, ro } from '../pseudo/node.ts'
import { limitText, parseNumber, setting, table, value } from './values.ts'

const MS = 1000
const LEAST_QUOTA = 1 * MS
const MOST_PERIOD = 1000 * MS

export const cpuFiles: PseudoDir<Cgroup> = {
  'cpu.idle': setting(
    () => '0',
    (_cgroup, text) => only(text, 0, 1, 0),
  ),
  'cpu.max': setting(({ cpu }) => `${limitText(cpu.quota)} ${cpu.period}`, setMax),
  'cpu.max.burst': setting(
    () => '0',
    (_cgroup, text) => only(text, 0, Number.POSITIVE_INFINITY, 0),
  ),
  'cpu.stat': table(statistics),
  'cpu.weight': setting(
    cgroup => `${cgroup.cpu.weight}`,
    (cgroup, text) => only(text, 1, 10000, cgroup.cpu.weight),
  ),
}

export const cpusetFiles: PseudoDir<Cgroup> = {
  'cpuset.cpus': setting(
    ({ cpuset }) => rangeList(cpuset.cpus ?? []),
    (cgroup, text) => (text === '' || text === effectiveCpus(cgroup) ? 0 : -EOPNOTSUPP),
  ),
  'cpuset.cpus.effective': value(effectiveCpus),
  'cpuset.cpus.partition': setting(
    () => 'member',
    (_cgroup, text) => (text === 'member' ? 0 : -EOPNOTSUPP),
  ),
  'cpuset.mems': setting(
    () => '',
    (_cgroup, text) => (text === '' || text === '0' ? 0 : -EOPNOTSUPP),
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

/** Accepts what it is already; other numbers of the range can't be had. */
function only(text: string, least: number, most: number, value: number): Status {
  const wanted = parseNumber(text)
  if (wanted < 0) return wanted
  if (wanted < least || wanted > most) return -ERANGE
  return wanted === value ? 0 : -EOPNOTSUPP
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
