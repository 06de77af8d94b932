/** A directory of the hierarchy: the core's files, those of the controllers that the cgroup has, and its child cgroups. */
import { SIGKILL } from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ERANGE, ESRCH } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type Status } from '../../base/result.ts'
import {
  type Cgroup,
  CONTROLLERS,
  type ControllerName,
  maskOf,
  moveToCgroup,
} from '../../kernel/cgroup/cgroup.ts'
import { isFrozen, setFreeze } from '../../kernel/cgroup/freezer.ts'
import { killGroup } from '../../kernel/signal.ts'
import type { Task } from '../../kernel/task.ts'
import { caller } from '../proc/access.ts'
import { type DirNode, dir, type PseudoDir, type PseudoNode, ro, rw, wo } from '../pseudo/node.ts'
import { cpuFiles, cpusetFiles, ioFiles } from './cpu-files.ts'
import { memoryFiles } from './memory-files.ts'
import { pidsFiles } from './pids-files.ts'
import { pressureFiles } from './pressure-files.ts'
import type { Cgroup2Super } from './super.ts'
import { limit, parseNumber, setting, table } from './values.ts'

/** What somebody to whom a cgroup is left may write in its own directory, too. */
export const DELEGATED_FILES = [
  'cgroup.procs',
  'cgroup.threads',
  'cgroup.subtree_control',
  'memory.oom.group',
  'memory.reclaim',
]

export function cgroupDirectory(sb: Cgroup2Super): DirNode<Cgroup> {
  const node: DirNode<Cgroup> = dir(
    writable({
      ...coreFiles(sb),
      ...cpusetFiles,
      ...cpuFiles,
      ...ioFiles,
      ...memoryFiles,
      ...pidsFiles,
      ...pressureFiles,
    }),
    {
      mode: 0o755,
      visible: (cgroup, name) => isVisible(cgroup, name),
      mkdir(cgroup, name, cred) {
        const made = cgroup.makeChild(name, cred.fsuid, cred.fsgid)
        return failed(made) ? made : { subject: made, node }
      },
      rmdir: (cgroup, name) => cgroup.removeChild(name),
      directories: cgroup => cgroup.children.size,
      dynamic: {
        find(cgroup, name) {
          const child = cgroup.children.get(name)
          return child === undefined ? undefined : { subject: child, node }
        },
        list: cgroup => [...cgroup.children.values()].map(child => [child.key, child.name]),
      },
    },
  )
  return node
}

/** Writing nothing is never an error. What is written ends where a C string does: LXC writes that byte, too. */
function writable(files: PseudoDir<Cgroup>): PseudoDir<Cgroup> {
  const out: Record<string, PseudoNode<Cgroup>> = {}
  for (const [name, node] of Object.entries(files)) {
    const write = node.kind === 'file' ? node.write : undefined
    out[name] =
      node.kind !== 'file' || write === undefined
        ? node
        : {
            ...node,
            write: (cgroup, text, cred) => (text === '' ? 0 : write(cgroup, text.split('\0', 1)[0], cred)),
          }
  }
  return out
}

/** A controller's files are named after it. Use of the CPUs and pressure are told even without the controller. */
function isVisible(cgroup: Cgroup, name: string): boolean {
  if (name !== 'cgroup.pressure' && name.endsWith('.pressure')) return cgroup.pressure.shown
  const prefix = name.slice(0, name.indexOf('.'))
  return prefix === 'cgroup' || name.startsWith('cpu.stat') || cgroup.has(prefix as ControllerName)
}

function coreFiles(sb: Cgroup2Super): PseudoDir<Cgroup> {
  return {
    'cgroup.controllers': ro(cgroup => controllerNames(cgroup.controllers)),
    'cgroup.events': table(
      cgroup => ({ populated: cgroup.population > 0 ? 1 : 0, frozen: isFrozen(cgroup) ? 1 : 0 }),
      cgroup => cgroup.events,
    ),
    'cgroup.freeze': setting(
      cgroup => (cgroup.freeze ? '1' : '0'),
      (cgroup, text) => {
        const freeze = parseNumber(text)
        if (freeze < 0) return freeze
        if (freeze > 1) return -ERANGE
        setFreeze(cgroup, freeze === 1)
        return 0
      },
    ),
    'cgroup.kill': wo((cgroup, text) => kill(cgroup, text)),
    'cgroup.max.depth': limit(
      cgroup => cgroup.maxDepth,
      (cgroup, depth) => {
        cgroup.maxDepth = depth
      },
      parseCount,
    ),
    'cgroup.max.descendants': limit(
      cgroup => cgroup.maxDescendants,
      (cgroup, count) => {
        cgroup.maxDescendants = count
      },
      parseCount,
    ),
    'cgroup.procs': rw(listProcesses, (cgroup, text, cred) => attach(sb, cgroup, text, cred, true)),
    'cgroup.stat': table(cgroup => ({
      nr_descendants: cgroup.descendants,
      ...countControllers('nr_subsys_', name => countOf(cgroup, name)),
      nr_dying_descendants: 0,
      ...countControllers('nr_dying_subsys_', () => 0),
    })),
    'cgroup.stat.local': table(({ kernel, frozenSince, frozenTime }) => {
      const frozen = frozenTime + (frozenSince === undefined ? 0 : kernel.now() - frozenSince)
      return { frozen_usec: Math.floor(frozen / 1000) }
    }),
    'cgroup.subtree_control': rw(
      cgroup => controllerNames(cgroup.subtreeControl),
      (cgroup, text) => controlSubtree(cgroup, text),
    ),
    'cgroup.threads': rw(listThreads, (cgroup, text, cred) => attach(sb, cgroup, text, cred, false)),
    'cgroup.type': setting(
      () => 'domain',
      (_cgroup, text) => (text === 'threaded' ? -EOPNOTSUPP : -EINVAL),
    ),
  }
}

function countControllers(prefix: string, count: (name: ControllerName) => number): Record<string, number> {
  return Object.fromEntries(CONTROLLERS.map(name => [prefix + name, count(name)]))
}
/** Here and below. */
function countOf(cgroup: Cgroup, controller: ControllerName): number {
  let count = 0
  for (const each of cgroup.subtree()) if (each.has(controller)) count++
  return count
}

function parseCount(text: string): number {
  return /^-\d+$/.test(text) ? -ERANGE : parseNumber(text)
}

function controllerNames(mask: number): string {
  return mask === 0 ? '' : `${CONTROLLERS.filter(name => (mask & maskOf(name)) !== 0).join(' ')}\n`
}

function listProcesses(cgroup: Cgroup): string {
  const { pidNs } = caller(cgroup.kernel)
  let text = ''
  for (const group of cgroup.groups) text += `${group.pid.in(pidNs)}\n`
  return text
}

function listThreads(cgroup: Cgroup): string {
  const { pidNs } = caller(cgroup.kernel)
  let text = ''
  for (const task of cgroup.tasks(false)) text += `${task.pid.in(pidNs)}\n`
  return text
}

/** cgroup.procs and cgroup.threads: moves the process; a thread alone can't leave it. */
function attach(sb: Cgroup2Super, to: Cgroup, text: string, cred: Credentials, whole: boolean): Status {
  const writer = caller(to.kernel)
  const nr = parseNumber(text.trim())
  if (nr < 0) return nr
  const task: Task | undefined = nr === 0 ? writer : writer.pidNs.task(nr)
  if (task === undefined || task.ended) return -ESRCH
  const from = task.group.cgroup
  const allowed = sb.mayMove(writer, from, to, cred)
  if (allowed < 0) return allowed
  if (!whole) return from === to ? 0 : -EOPNOTSUPP
  return moveToCgroup(task.group, to)
}

/** '+memory -pids'. */
function controlSubtree(cgroup: Cgroup, text: string): Status {
  let enable = 0
  let disable = 0
  for (const word of text.trim().split(/\s+/)) {
    if (word === '') continue
    const name = word.slice(1) as ControllerName
    if (!CONTROLLERS.includes(name)) return -EINVAL
    const mask = maskOf(name)
    // The last word about a controller counts.
    enable &= ~mask
    disable &= ~mask
    if (word[0] === '+') enable |= mask
    else if (word[0] === '-') disable |= mask
    else return -EINVAL
  }
  return cgroup.controlSubtree(enable, disable)
}

function kill(cgroup: Cgroup, text: string): Status {
  const number = parseNumber(text.trim())
  if (number < 0) return number
  if (number !== 1) return -ERANGE
  for (const each of cgroup.subtree()) for (const group of [...each.groups]) killGroup(group, SIGKILL)
  return 0
}
