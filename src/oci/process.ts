/** runtime-spec's `process` as the sandbox takes it: names become numbers, and what Linux would refuse is refused here. */
import {
  IOPRIO_CLASS_BE,
  IOPRIO_CLASS_IDLE,
  IOPRIO_CLASS_RT,
  IOPRIO_CLASS_SHIFT,
  IOPRIO_NR_LEVELS,
  SCHED_BATCH,
  SCHED_FIFO,
  SCHED_IDLE,
  SCHED_NORMAL,
  SCHED_RR,
} from '../abi/constants.ts'
import { parseCpuList } from '../base/cpu-list.ts'
import type { ProcessSpec, RlimitSpec } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import { CAPABILITIES } from './capabilities.ts'
import type { CapabilitiesConfig, CapabilitySet, ProcessConfig } from './config.ts'
import { judgeFields } from './fields.ts'

const DEFAULT_UMASK = 0o022
const MAX_OOM_SCORE_ADJ = 1000
const MAX_RT_PRIORITY = 99

/** Each at the place of its number. */
const RLIMITS: readonly string[] = [
  'RLIMIT_CPU',
  'RLIMIT_FSIZE',
  'RLIMIT_DATA',
  'RLIMIT_STACK',
  'RLIMIT_CORE',
  'RLIMIT_RSS',
  'RLIMIT_NPROC',
  'RLIMIT_NOFILE',
  'RLIMIT_MEMLOCK',
  'RLIMIT_AS',
  'RLIMIT_LOCKS',
  'RLIMIT_SIGPENDING',
  'RLIMIT_MSGQUEUE',
  'RLIMIT_NICE',
  'RLIMIT_RTPRIO',
  'RLIMIT_RTTIME',
]

const POLICIES: Readonly<Record<string, number>> = {
  SCHED_OTHER: SCHED_NORMAL,
  SCHED_FIFO,
  SCHED_RR,
  SCHED_BATCH,
  SCHED_IDLE,
}

const IO_CLASSES: Readonly<Record<string, number>> = { IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE }

/**
 * Without descriptors: `stdio` and `passed` are the runtime's to fill. `joins`: the process is not the container's first
 * (exec). `warnings` gets a sentence for what is left out.
 */
export function planProcess(process: ProcessConfig, joins: boolean, warnings: string[]): ProcessSpec {
  if (joins) warnings.push(...judgeFields(process, 'process'))
  const { user = {}, args = [], env = [], cwd, oomScoreAdj } = process
  if (args.length === 0) throw new UserError('process.args must not be empty')
  if (!cwd.startsWith('/')) throw new UserError(`process.cwd must be an absolute path, and is '${cwd}'`)
  for (const text of [...args, ...env, cwd]) {
    if (text.includes('\0')) throw new UserError('process has a string with a NUL character in it')
  }
  if (oomScoreAdj !== undefined && Math.abs(oomScoreAdj) > MAX_OOM_SCORE_ADJ) {
    throw new UserError(`process.oomScoreAdj is ${oomScoreAdj}, and must be from -1000 to 1000`)
  }
  return {
    args,
    env,
    cwd,
    uid: user.uid ?? 0,
    gid: user.gid ?? 0,
    // As setgroups(2) leaves them.
    groups: (user.additionalGids ?? []).toSorted((a, b) => a - b),
    umask: (user.umask ?? DEFAULT_UMASK) & 0o777,
    capabilities: planCapabilities(process.capabilities ?? {}, warnings),
    rlimits: planRlimits(process.rlimits ?? []),
    noNewPrivileges: process.noNewPrivileges ?? false,
    oomScoreAdj,
    terminal: process.terminal ?? false,
    ioPriority: planIoPriority(process.ioPriority),
    scheduler: planScheduler(process.scheduler),
    cpuAffinity: joins ? planAffinity(process.execCPUAffinity) : undefined,
    stdio: [],
    passed: [],
  }
}

function planCapabilities(config: CapabilitiesConfig, warnings: string[]): ProcessSpec['capabilities'] {
  const set = (name: CapabilitySet) => {
    const names = config[name] ?? []
    const unknown = names.filter(each => !CAPABILITIES.includes(each))
    if (unknown.length > 0) {
      warnings.push(`process.capabilities.${name} has ${unknown.join(', ')}: Linux has no such capability`)
    }
    return new Set(names.filter(each => !unknown.includes(each)))
  }
  const permitted = set('permitted')
  const inheritable = set('inheritable')
  const effective = set('effective')
  const ambient = set('ambient')
  const excess = [...effective].filter(name => !permitted.has(name))
  if (excess.length > 0) {
    throw new UserError(`process.capabilities.effective has ${excess.join(', ')}, which is not permitted`)
  }
  const dropped = [...ambient].filter(name => !permitted.has(name) || !inheritable.has(name))
  if (dropped.length > 0) {
    const names = dropped.join(', ')
    warnings.push(`process.capabilities.ambient has ${names}: Linux wants it permitted and inheritable, too`)
  }
  const numbers = (names: ReadonlySet<string>) => [...names].map(name => CAPABILITIES.indexOf(name))
  return {
    bounding: numbers(set('bounding')),
    effective: numbers(effective),
    inheritable: numbers(inheritable),
    permitted: numbers(permitted),
    ambient: numbers(new Set([...ambient].filter(name => !dropped.includes(name)))),
  }
}

function planRlimits(config: NonNullable<ProcessConfig['rlimits']>): RlimitSpec[] {
  const limits = new Map<number, RlimitSpec>()
  for (const { type, soft, hard } of config) {
    const resource = RLIMITS.indexOf(type)
    if (resource < 0) throw new UserError(`process.rlimits has ${type}, which Linux doesn't know`)
    if (limits.has(resource)) throw new UserError(`process.rlimits has ${type} twice`)
    if (soft > hard) throw new UserError(`process.rlimits: the soft limit of ${type} is above the hard one`)
    limits.set(resource, { resource, soft, hard })
  }
  return [...limits.values()]
}

function planIoPriority(config: ProcessConfig['ioPriority']): number | undefined {
  if (config === undefined) return undefined
  const { class: name, priority = 0 } = config
  if (priority < 0 || priority >= IOPRIO_NR_LEVELS) {
    throw new UserError(`process.ioPriority.priority is ${priority}, and must be from 0 to 7`)
  }
  return (IO_CLASSES[name] << IOPRIO_CLASS_SHIFT) | priority
}

function planScheduler(config: ProcessConfig['scheduler']): ProcessSpec['scheduler'] {
  if (config === undefined) return undefined
  const { nice = 0, priority = 0 } = config
  const policy = POLICIES[config.policy]
  if (policy === undefined) {
    throw new UserError(
      `process.scheduler.policy can't be obeyed: ${config.policy} does not exist in the sandbox`,
    )
  }
  if (nice < -20 || nice > 19)
    throw new UserError(`process.scheduler.nice is ${nice}, and must be from -20 to 19`)
  const realTime = policy === SCHED_FIFO || policy === SCHED_RR
  if (realTime ? priority < 1 || priority > MAX_RT_PRIORITY : priority !== 0) {
    const right = realTime ? `from 1 to ${MAX_RT_PRIORITY}` : '0'
    throw new UserError(
      `process.scheduler.priority is ${priority}, and must be ${right} for ${config.policy}`,
    )
  }
  return { policy, nice, priority }
}

function planAffinity(config: ProcessConfig['execCPUAffinity']): number[] | undefined {
  const list = config?.final || config?.initial
  if (!list) return undefined
  const cpus = parseCpuList(list)
  if (cpus === undefined)
    throw new UserError(`process.execCPUAffinity is '${list}', which is no list of CPUs`)
  return cpus
}
