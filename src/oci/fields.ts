/**
 * What becomes of every field of config.json: the list that docs/oci.md prints, that a test compares with the schema, and
 * that `judgeFields` holds a config to. A field is obeyed (by the code named), or it is refused when it asks for
 * something, or it is left out with a line in the log. There is no fourth way: a field that is not listed is logged too.
 */
import { UserError } from '../sandbox/user-error.ts'

export type Fate = 'obeyed' | 'refused' | 'ignored'

export interface Field {
  readonly fate: Fate
  /** How, or why not. */
  readonly note: string
}

const obeyed = (note: string): Field => ({ fate: 'obeyed', note })
const refused = (note: string): Field => ({ fate: 'refused', note })
const ignored = (note: string): Field => ({ fate: 'ignored', note })

const CAPABILITIES = obeyed("set of the first process; names that Linux doesn't know are logged")
const DEVICE_RULES = obeyed('by the sandbox, for its own devices; of the host it reaches none')
const HOOKS = obeyed('run on the host, in order')
const OTHER_SYSTEM = refused('this is a Linux runtime')
const HOST_CGROUP = obeyed("written to the sandbox's cgroup on the host")
const BOTH_CGROUPS = obeyed("written to the sandbox's cgroup on the host, and shown in the guest's")
const ID_MAPPED_MOUNT = obeyed('of bind mounts: what the host shows as an owner is an id inside of the map')

/** Paths with `[]` for the elements of an array and `*` for the values of a map. */
export const FIELDS: Readonly<Record<string, Field>> = {
  ociVersion: obeyed('1.x is taken'),
  'annotations.*': obeyed(
    'kept; those of CRI join the containers of a pod in one sandbox; `dev.caisson.network.policy`: docker.md',
  ),
  hostname: obeyed("the uts namespace's"),
  domainname: obeyed("the uts namespace's"),
  'root.path': obeyed('donated to the sandbox as its root'),
  'root.readonly': obeyed('on the host and in the guest'),

  'process.args': obeyed('executed by `start`'),
  'process.commandLine': ignored('it means something on Windows only'),
  'process.consoleSize.height': obeyed("the terminal's first size"),
  'process.consoleSize.width': obeyed("the terminal's first size"),
  'process.cwd': obeyed('made where it is missing'),
  'process.env': obeyed('as it is'),
  'process.terminal': obeyed('a terminal of its own, the host side by --console-socket'),
  'process.user.uid': obeyed('in the user namespace of the container'),
  'process.user.gid': obeyed('in the user namespace of the container'),
  'process.user.umask': obeyed('0022 if absent'),
  'process.user.additionalGids': obeyed('in the user namespace of the container'),
  'process.user.username': ignored('it means something on Windows only'),
  'process.capabilities.bounding': CAPABILITIES,
  'process.capabilities.permitted': CAPABILITIES,
  'process.capabilities.effective': CAPABILITIES,
  'process.capabilities.inheritable': CAPABILITIES,
  'process.capabilities.ambient': CAPABILITIES,
  'process.apparmorProfile': ignored(
    "the sandbox's kernel has no AppArmor; what it serves is confined already",
  ),
  'process.selinuxLabel': ignored("the sandbox's kernel has no SELinux; what it serves is confined already"),
  'process.oomScoreAdj': obeyed('among the processes of the sandbox'),
  'process.ioPriority.class': obeyed('as ioprio_get(2) shows it'),
  'process.ioPriority.priority': obeyed('as ioprio_get(2) shows it'),
  'process.noNewPrivileges': obeyed('prctl(2)'),
  'process.scheduler.policy': obeyed('SCHED_ISO and SCHED_DEADLINE are refused'),
  'process.scheduler.nice': obeyed('sched_setattr(2)'),
  'process.scheduler.priority': obeyed('sched_setattr(2)'),
  'process.scheduler.flags': refused("the sandbox's scheduler has none of them"),
  'process.scheduler.runtime': refused('SCHED_DEADLINE does not exist in the sandbox'),
  'process.scheduler.deadline': refused('SCHED_DEADLINE does not exist in the sandbox'),
  'process.scheduler.period': refused('SCHED_DEADLINE does not exist in the sandbox'),
  'process.rlimits[].type': obeyed('one entry for each RLIMIT_* of Linux'),
  'process.rlimits[].soft': obeyed('setrlimit(2)'),
  'process.rlimits[].hard': obeyed('setrlimit(2)'),
  'process.execCPUAffinity.initial': obeyed('of processes started by exec, where `final` is absent'),
  'process.execCPUAffinity.final': obeyed('of processes started by exec'),

  'mounts[].destination': obeyed('made where it is missing'),
  'mounts[].type': obeyed("the sandbox's own file systems; the host's only by bind"),
  'mounts[].source': obeyed('of bind mounts: relative to the bundle'),
  'mounts[].options': obeyed('see the list of options; `remount` is refused'),
  'mounts[].uidMappings[].containerID': ID_MAPPED_MOUNT,
  'mounts[].uidMappings[].hostID': ID_MAPPED_MOUNT,
  'mounts[].uidMappings[].size': ID_MAPPED_MOUNT,
  'mounts[].gidMappings[].containerID': ID_MAPPED_MOUNT,
  'mounts[].gidMappings[].hostID': ID_MAPPED_MOUNT,
  'mounts[].gidMappings[].size': ID_MAPPED_MOUNT,

  ...ofHooks('prestart', HOOKS),
  ...ofHooks('createRuntime', HOOKS),
  ...ofHooks('createContainer', HOOKS),
  ...ofHooks('startContainer', obeyed('run in the sandbox, before the process')),
  ...ofHooks('poststart', HOOKS),
  ...ofHooks('poststop', HOOKS),

  'linux.namespaces[].type': obeyed(
    "objects of the sandbox; one that is absent would be the host's: pid and mount are refused, others are its own",
  ),
  'linux.namespaces[].path': obeyed(
    'network: joined; the others: of a container of the same pod, else refused',
  ),
  'linux.uidMappings[].containerID': obeyed('of a user namespace of the sandbox'),
  'linux.uidMappings[].hostID': obeyed('of a user namespace of the sandbox'),
  'linux.uidMappings[].size': obeyed('of a user namespace of the sandbox'),
  'linux.gidMappings[].containerID': obeyed('of a user namespace of the sandbox'),
  'linux.gidMappings[].hostID': obeyed('of a user namespace of the sandbox'),
  'linux.gidMappings[].size': obeyed('of a user namespace of the sandbox'),
  'linux.timeOffsets.boottime.secs': obeyed('of a time namespace of the sandbox'),
  'linux.timeOffsets.boottime.nanosecs': obeyed('of a time namespace of the sandbox'),
  'linux.timeOffsets.monotonic.secs': obeyed('of a time namespace of the sandbox'),
  'linux.timeOffsets.monotonic.nanosecs': obeyed('of a time namespace of the sandbox'),
  'linux.devices[].type': obeyed('FIFOs, and the devices that the sandbox has; others are refused'),
  'linux.devices[].path': obeyed('made in the container'),
  'linux.devices[].major': obeyed(
    'null, zero, full, random, urandom, kmsg, tty, console, ptmx, net/tun, fuse',
  ),
  'linux.devices[].minor': obeyed(
    'null, zero, full, random, urandom, kmsg, tty, console, ptmx, net/tun, fuse',
  ),
  'linux.devices[].fileMode': obeyed('0666 if absent'),
  'linux.devices[].uid': obeyed('owner of the node'),
  'linux.devices[].gid': obeyed('owner of the node'),
  'linux.netDevices.*.name': refused('no device of the host is moved into a sandbox'),
  'linux.cgroupsPath': obeyed('the cgroup of the whole sandbox; systemd: slice:prefix:name'),
  'linux.rootfsPropagation': obeyed('in the sandbox; mounts that the host makes later do not appear'),
  'linux.seccomp.defaultAction': obeyed('by the sentry; SCMP_ACT_NOTIFY is refused'),
  'linux.seccomp.defaultErrnoRet': obeyed('EPERM if absent'),
  'linux.seccomp.architectures': obeyed('calls of other architectures do not exist in the sandbox'),
  'linux.seccomp.flags': obeyed('LOG and TSYNC; SPEC_ALLOW concerns the host alone'),
  'linux.seccomp.listenerPath': refused(
    'an agent of the host can’t serve a listener of the sandbox’s own kernel',
  ),
  'linux.seccomp.listenerMetadata': refused(
    'an agent of the host can’t serve a listener of the sandbox’s own kernel',
  ),
  'linux.seccomp.syscalls[].names': obeyed("names that x86-64 doesn't have are skipped"),
  'linux.seccomp.syscalls[].action': obeyed('by the sentry; SCMP_ACT_NOTIFY is refused'),
  'linux.seccomp.syscalls[].errnoRet': obeyed('EPERM if absent'),
  'linux.seccomp.syscalls[].args[].index': obeyed('0 to 5'),
  'linux.seccomp.syscalls[].args[].op': obeyed('all operators'),
  'linux.seccomp.syscalls[].args[].value': obeyed('64 bits'),
  'linux.seccomp.syscalls[].args[].valueTwo': obeyed('64 bits'),
  'linux.sysctl.*': obeyed(
    "of namespaces only; net.* in the sandbox's own stack, or with `--network=host` in the network namespace on the host",
  ),
  'linux.maskedPaths': obeyed('in the sandbox'),
  'linux.readonlyPaths': obeyed('in the sandbox'),
  'linux.mountLabel': ignored("the sandbox's kernel has no SELinux"),
  'linux.intelRdt.closID': refused('resctrl is not used'),
  'linux.intelRdt.schemata': refused('resctrl is not used'),
  'linux.intelRdt.l3CacheSchema': refused('resctrl is not used'),
  'linux.intelRdt.memBwSchema': refused('resctrl is not used'),
  'linux.intelRdt.enableMonitoring': refused('resctrl is not used'),
  'linux.memoryPolicy.mode': refused('the sandbox shows one memory node'),
  'linux.memoryPolicy.nodes': refused('the sandbox shows one memory node'),
  'linux.memoryPolicy.flags': refused('the sandbox shows one memory node'),
  'linux.personality.domain': obeyed('personality(2)'),
  'linux.personality.flags': refused('as by runc: none is defined'),

  'linux.resources.devices[].allow': DEVICE_RULES,
  'linux.resources.devices[].type': DEVICE_RULES,
  'linux.resources.devices[].major': DEVICE_RULES,
  'linux.resources.devices[].minor': DEVICE_RULES,
  'linux.resources.devices[].access': DEVICE_RULES,
  'linux.resources.memory.limit': obeyed("as the others, with the sentry's share on top on the host"),
  'linux.resources.memory.reservation': HOST_CGROUP,
  'linux.resources.memory.swap': obeyed("as the others, with the sentry's share on top on the host"),
  'linux.resources.memory.kernel': ignored('Linux has no such limit any more'),
  'linux.resources.memory.kernelTCP': obeyed('cgroup v1; refused on v2, which has no such limit'),
  'linux.resources.memory.swappiness': obeyed('cgroup v1; refused on v2, which has no such setting'),
  'linux.resources.memory.disableOOMKiller': obeyed('cgroup v1; refused on v2, which has no such setting'),
  'linux.resources.memory.useHierarchy': ignored('Linux always counts by hierarchy'),
  'linux.resources.memory.checkBeforeUpdate': obeyed('by update'),
  'linux.resources.cpu.shares': BOTH_CGROUPS,
  'linux.resources.cpu.quota': BOTH_CGROUPS,
  'linux.resources.cpu.period': BOTH_CGROUPS,
  'linux.resources.cpu.burst': HOST_CGROUP,
  'linux.resources.cpu.cpus': BOTH_CGROUPS,
  'linux.resources.cpu.mems': HOST_CGROUP,
  'linux.resources.cpu.idle': HOST_CGROUP,
  'linux.resources.cpu.realtimeRuntime': obeyed('cgroup v1; refused on v2, which has no such limit'),
  'linux.resources.cpu.realtimePeriod': obeyed('cgroup v1; refused on v2, which has no such limit'),
  'linux.resources.pids.limit': obeyed(
    "enforced in the guest's cgroup; on the host with the sentry's own share on top",
  ),
  'linux.resources.blockIO.weight': HOST_CGROUP,
  'linux.resources.blockIO.leafWeight': obeyed('cgroup v1; refused on v2, which has no such setting'),
  ...ofDevices('weightDevice', ['weight'], HOST_CGROUP),
  'linux.resources.blockIO.weightDevice[].leafWeight': obeyed(
    'cgroup v1; refused on v2, which has no such setting',
  ),
  ...ofDevices('throttleReadBpsDevice', ['rate'], HOST_CGROUP),
  ...ofDevices('throttleWriteBpsDevice', ['rate'], HOST_CGROUP),
  ...ofDevices('throttleReadIOPSDevice', ['rate'], HOST_CGROUP),
  ...ofDevices('throttleWriteIOPSDevice', ['rate'], HOST_CGROUP),
  'linux.resources.hugepageLimits[].pageSize': HOST_CGROUP,
  'linux.resources.hugepageLimits[].limit': HOST_CGROUP,
  'linux.resources.network.classID': obeyed('cgroup v1; refused on v2, which has no such setting'),
  'linux.resources.network.priorities[].name': obeyed('cgroup v1; refused on v2, which has no such setting'),
  'linux.resources.network.priorities[].priority': obeyed(
    'cgroup v1; refused on v2, which has no such setting',
  ),
  'linux.resources.rdma.*.hcaHandles': HOST_CGROUP,
  'linux.resources.rdma.*.hcaObjects': HOST_CGROUP,
  'linux.resources.unified.*': obeyed('cgroup v2: written as they are; refused on v1'),

  solaris: OTHER_SYSTEM,
  windows: OTHER_SYSTEM,
  vm: OTHER_SYSTEM,
  zos: OTHER_SYSTEM,
  freebsd: OTHER_SYSTEM,
}

function ofHooks(kind: string, field: Field): Record<string, Field> {
  const names = ['path', 'args', 'env', 'timeout']
  return Object.fromEntries(names.map(name => [`hooks.${kind}[].${name}`, field]))
}

function ofDevices(list: string, values: readonly string[], field: Field): Record<string, Field> {
  const names = ['major', 'minor', ...values]
  return Object.fromEntries(names.map(name => [`linux.resources.blockIO.${list}[].${name}`, field]))
}

/**
 * Throws for the first field that is refused; returns a sentence for each that is ignored. `root`: where in a config the
 * value stands ('process' for one of exec's, '' for the whole).
 */
export function judgeFields(value: unknown, root = ''): string[] {
  const warnings: string[] = []
  visit(value, root, root)
  return warnings

  /** `path` as the user knows it, `pattern` as FIELDS has it. */
  function visit(value: unknown, path: string, pattern: string): void {
    if (value === undefined) return
    const field = FIELDS[pattern]
    if (field !== undefined) {
      if (field.fate === 'obeyed' || asksForNothing(value)) return
      if (field.fate === 'refused') throw new UserError(`${path} can't be obeyed: ${field.note}`)
      warnings.push(`${path} is ignored: ${field.note}`)
      return
    }
    if (typeof value !== 'object' || value === null) {
      warnings.push(`${path} is ignored: runtime-spec has no such field`)
      return
    }
    if (Array.isArray(value)) {
      value.forEach((each, i) => void visit(each, `${path}[${i}]`, `${pattern}[]`))
      return
    }
    const isMap = MAPS.has(pattern)
    for (const [name, each] of Object.entries(value)) {
      visit(each, join(path, name), join(pattern, isMap ? '*' : name))
    }
  }
}

/** What has names of the user's own. */
const MAPS: ReadonlySet<string> = new Set(
  Object.keys(FIELDS).flatMap(path => (path.includes('.*') ? [path.split('.*')[0]] : [])),
)

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

function asksForNothing(value: unknown): boolean {
  if (typeof value !== 'object' || value === null)
    return value === undefined || value === '' || value === false || value === 0
  return Object.values(value).every(asksForNothing)
}
