import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE, S_IFCHR } from '../abi/constants.ts'
import type { ContainerNetwork } from '../sandbox/options.ts'
import type { Config, LinuxConfig, MountConfig, NamespaceType, ProcessConfig } from './config.ts'
import type { Membership } from './membership.ts'
import type { Members } from './namespaces.ts'
import type { ContainerPlan } from './plan.ts'
import { planContainer } from './plan-container.ts'

const bundle = mkdtempSync(join(tmpdir(), 'caisson-plan-'))
mkdirSync(join(bundle, 'rootfs'))
writeFileSync(join(bundle, 'hosts'), '')
after(() => rmSync(bundle, { recursive: true }))

const NAMESPACES: readonly NamespaceType[] = ['pid', 'ipc', 'uts', 'mount', 'network']

interface Change {
  readonly process?: Partial<ProcessConfig>
  readonly linux?: Partial<LinuxConfig>
  readonly mounts?: readonly MountConfig[]
  readonly rest?: Partial<Config>
}

function config({ process, linux, mounts, rest }: Change = {}): Config {
  return {
    ociVersion: '1.2.0',
    process: { args: ['sh'], cwd: '/', ...process },
    root: { path: 'rootfs' },
    mounts,
    linux: { namespaces: NAMESPACES.map(type => ({ type })), ...linux },
    ...rest,
  }
}

function plan(
  change?: Change,
  membership: Membership = { members: new Map() },
  network: ContainerNetwork = 'host',
): ContainerPlan {
  return planContainer(config(change), { id: 'box', bundle, systemdCgroup: false, network, membership })
}

const without = (type: NamespaceType) => NAMESPACES.filter(each => each !== type).map(type => ({ type }))
const mount = (destination: string, source: string, ...options: string[]): MountConfig => ({
  destination,
  source,
  type: 'bind',
  options,
})

/** What is asked for, and the sentence that refuses it. */
const REFUSED: readonly (readonly [Change, RegExp])[] = [
  [{ rest: { ociVersion: '2.0.0' } }, /^ociVersion is 2\.0\.0/],
  [{ rest: { process: undefined } }, /^process is missing/],
  [{ rest: { root: { path: 'nowhere' } } }, /^root\.path: .*\/nowhere does not exist$/],
  [{ rest: { root: { path: 'hosts' } } }, /^root\.path: .*\/hosts is not a directory$/],
  [{ process: { args: [] } }, /^process\.args must not be empty$/],
  [{ process: { cwd: 'a' } }, /^process\.cwd must be an absolute path, and is 'a'$/],
  [{ process: { env: ['A=\0'] } }, /NUL/],
  [{ process: { oomScoreAdj: 1001 } }, /^process\.oomScoreAdj is 1001/],
  [
    { process: { rlimits: [{ type: 'RLIMIT_TIME', soft: 1, hard: 1 }] } },
    /^process\.rlimits has RLIMIT_TIME/,
  ],
  [{ process: { rlimits: [{ type: 'RLIMIT_CPU', soft: 2, hard: 1 }] } }, /soft limit of RLIMIT_CPU is above/],
  [
    { process: { capabilities: { effective: ['CAP_KILL'] } } },
    /effective has CAP_KILL, which is not permitted$/,
  ],
  [
    { process: { scheduler: { policy: 'SCHED_DEADLINE' } } },
    /^process\.scheduler\.policy can't be obeyed: SCHED_DEADLINE/,
  ],
  [
    { process: { scheduler: { policy: 'SCHED_FIFO' } } },
    /^process\.scheduler\.priority is 0, and must be from 1/,
  ],
  [
    { process: { ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 8 } } },
    /^process\.ioPriority\.priority is 8/,
  ],
  [{ linux: { namespaces: without('pid') } }, /^linux\.namespaces has no 'pid'/],
  [
    { linux: { namespaces: [...without('pid'), { type: 'pid', path: '/proc/1/ns/pid' }] } },
    /the pid namespace \/proc\/1\/ns\/pid can't be joined/,
  ],
  [
    { linux: { namespaces: without('uts') }, rest: { hostname: 'a' } },
    /^hostname is given, but linux\.namespaces has no 'uts'$/,
  ],
  [{ linux: { uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] } }, /has no 'user'$/],
  [{ linux: { timeOffsets: { monotonic: { secs: 1 } } } }, /has no 'time'$/],
  [
    { linux: { devices: [{ type: 'c', path: '/dev/kvm', major: 10, minor: 232 }] } },
    /^linux\.devices\[0\] can't be obeyed: \/dev\/kvm/,
  ],
  [{ linux: { sysctl: { 'kernel.panic': '1' } } }, /^linux\.sysctl: kernel\.panic can't be obeyed/],
  [
    { linux: { sysctl: { 'net.ipv4.ip_forward': '1' }, namespaces: without('network') } },
    /would be set for the host/,
  ],
  [{ linux: { maskedPaths: ['proc'] } }, /^linux\.maskedPaths must be absolute/],
  [{ linux: { intelRdt: { closID: 'x' } } }, /^linux\.intelRdt\.closID can't be obeyed/],
  [{ rest: { hooks: { poststop: [{ path: 'a' }] } } }, /^hooks\.poststop\[0\]\.path must be absolute/],
  [
    { mounts: [{ destination: '/a', type: 'ext4', source: '/dev/vda' }] },
    /^mounts\[0\]\.type can't be obeyed: .*'ext4'/,
  ],
  [{ mounts: [mount('/a', 'nowhere')] }, /^mounts\[0\]\.source: .*\/nowhere does not exist$/],
  [{ mounts: [mount('/a', '')] }, /^mounts\[0\]\.source is missing/],
  [{ mounts: [mount('/', 'rootfs')] }, /^mounts\[0\]\.destination is the root/],
  [
    { mounts: [mount('/a', 'rootfs', 'remount')] },
    /^mounts\[0\]\.options can't be obeyed: a sandbox has no 'remount'$/,
  ],
  [
    { mounts: [mount('/a', 'rootfs', 'idmap')] },
    /^mounts\[0\]\.options has 'idmap', but neither the mount nor the container has mappings/,
  ],
  [
    { mounts: [{ ...mount('/a', 'rootfs'), uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] }] },
    /^mounts\[0\]: uidMappings and gidMappings must be given together$/,
  ],
  [
    { mounts: [mount('/a', '/proc/self/status')] },
    /^mounts\[0\]\.source: .* belongs to the proc of the host/,
  ],
]

for (const [change, sentence] of REFUSED) {
  test(`plan: ${JSON.stringify(change)} is refused`, () => {
    assert.throws(() => plan(change), { name: 'Error', message: sentence })
  })
}

test('plan: bind mounts become trees in their order, behind the root', () => {
  const { spec, trees } = plan({
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev'] },
      mount('etc/hosts', 'hosts', 'rbind', 'rslave', 'ro'),
      { destination: '/x', type: 'tmpfs', source: 'tmpfs', options: ['size=1m', 'mode=700', 'tmpcopyup'] },
      mount('/d/../y', bundle, 'rw'),
    ],
  })
  assert.deepEqual(
    trees.map(({ source, recursive, readOnly }) => [source, recursive, readOnly]),
    [
      [join(bundle, 'rootfs'), true, false],
      [join(bundle, 'hosts'), true, true],
      [bundle, false, false],
    ],
  )
  const [proc, hosts, tmpfs, y] = spec.mounts
  assert.deepEqual([proc.type, proc.flags], ['proc', MS_NOSUID | MS_NODEV])
  assert.deepEqual([hosts.target, hosts.tree, hosts.flags], ['/etc/hosts', 1, MS_RDONLY | MS_BIND | MS_REC])
  assert.deepEqual(hosts.propagation, [MS_SLAVE | MS_REC])
  assert.deepEqual([tmpfs.options, tmpfs.copyUp], ['size=1m,mode=700', true])
  assert.deepEqual([y.target, y.tree, y.flags], ['/y', 2, MS_BIND])
})

test("plan: in place of the host's windows into its kernel the sandbox has its own", () => {
  const { spec, trees, warnings } = plan({ mounts: [mount('/host/proc', '/proc', 'rbind', 'ro')] })
  assert.deepEqual([spec.mounts[0].type, spec.mounts[0].flags], ['proc', MS_RDONLY])
  assert.equal(trees.length, 1)
  assert.match(warnings[0], /^mounts\[0\]\.source: the sandbox has its own proc/)
})

test("plan: the owners in a mount of the sandbox's own are not mapped, which is said", () => {
  const mappings = [{ containerID: 0, hostID: 1, size: 1 }]
  const mapped = { uidMappings: mappings, gidMappings: mappings }
  const tmpfs = { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', ...mapped }
  const { spec, warnings } = plan({ mounts: [tmpfs, { ...mount('/b', 'rootfs'), ...mapped }] })
  assert.deepEqual(warnings, ["mounts[0]: owners are mapped in bind mounts of the host's files only"])
  assert.deepEqual(
    spec.mounts.slice(-2).map(({ idmap }) => idmap?.uidMap),
    [undefined, [{ inside: 0, outside: 1, count: 1 }]],
  )
})

test('plan: a privileged container goes without the devices that a sandbox lacks', () => {
  const devices = [
    { type: 'c', path: '/dev/kvm', major: 10, minor: 232 },
    { type: 'c', path: '/dev/null', major: 1, minor: 3, fileMode: 0o20644 },
  ]
  const { spec, warnings } = plan({
    linux: { devices, resources: { devices: [{ allow: true, access: 'rwm' }] } },
  })
  assert.deepEqual(spec.devices, [
    { path: '/dev/null', type: S_IFCHR, major: 1, minor: 3, mode: 0o644, uid: 0, gid: 0 },
  ])
  assert.match(warnings[0], /\/dev\/kvm/)
})

test("plan: without a uts namespace the container has the host's name", () => {
  assert.equal(plan({ linux: { namespaces: without('uts') } }).spec.hostname, hostname())
  assert.equal(plan().spec.hostname, undefined)
})

test("plan: limits are the guest's, and swap is counted alone there", () => {
  const resources = {
    memory: { limit: 100, swap: 150 },
    cpu: { quota: 5, shares: 1024 },
    pids: { limit: 7 },
    unified: { 'memory.high': '90' },
  }
  assert.deepEqual(plan({ linux: { resources } }).spec.limits, {
    memory: 100,
    memoryHigh: 90,
    swap: 50,
    pids: 7,
    cpuQuota: 5,
    cpuWeight: 39,
  })
  assert.deepEqual(
    plan({ linux: { resources: { memory: { limit: -1 }, cpu: { quota: -1, shares: 0 } } } }).spec.limits,
    { memory: -1, cpuQuota: -1 },
  )
})

test('plan: settings of the network go to its namespace, the others to the guest', () => {
  const sysctl = { 'net.ipv4.ip_forward': '1', 'kernel/shmmax': '5', 'fs.mqueue.msg_max': '9' }
  const { spec, networkSysctl } = plan({ linux: { sysctl } })
  assert.deepEqual(spec.sysctl, { 'kernel.shmmax': '5', 'fs.mqueue.msg_max': '9' })
  assert.deepEqual(networkSysctl, { 'net.ipv4.ip_forward': '1' })
})

test("plan: a pod's container joins what its sandbox has", () => {
  const members: Members = new Map([
    [process.pid, { id: 'pause', sandbox: 'pause' }],
    [1, { id: 'other', sandbox: 'other' }],
  ])
  const path = (kind: string, pid = process.pid) => `/proc/${pid}/ns/${kind}`
  const inPod = (linux: Partial<LinuxConfig>) => plan({ linux }, { sandbox: 'pause', members })
  const namespaces = [
    { type: 'mount' },
    { type: 'pid' },
    { type: 'ipc', path: path('ipc') },
    { type: 'network', path: path('net') },
  ] as const
  const { spec } = inPod({ namespaces })
  const pause = { of: 'pause' }
  assert.deepEqual(spec.namespaces, { pid: 'new', ipc: pause, uts: pause, cgroup: 'new', net: pause })
  assert.throws(
    () => inPod({ namespaces: [...namespaces, { type: 'uts', path: path('uts', 1) }] }),
    /the uts namespace \/proc\/1\/ns\/uts can't be joined/,
  )
})

test('plan: ambient capabilities that Linux would not raise are told and left out', () => {
  const capabilities = {
    permitted: ['CAP_KILL', 'CAP_CHOWN'],
    inheritable: ['CAP_KILL'],
    ambient: ['CAP_KILL', 'CAP_CHOWN', 'CAP_FLY'],
  }
  const { spec, warnings } = plan({ process: { capabilities } })
  assert.deepEqual(spec.process.capabilities.ambient, [5])
  assert.deepEqual(
    warnings.map(text => /CAP_\w+/.exec(text)?.[0]),
    ['CAP_FLY', 'CAP_CHOWN'],
  )
})
