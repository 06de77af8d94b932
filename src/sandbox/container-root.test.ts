import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import {
  AT_FDCWD,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_REC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
} from '../abi/constants.ts'
import { EACCES, EPERM, EROFS } from '../abi/errno.ts'
import { Credentials, UserNamespace } from '../base/credentials.ts'
import { BufferDst } from '../base/io.ts'
import { Kernel } from '../kernel/kernel.ts'
import { loadAddon } from '../platform/addon.ts'
import { FakePlatform } from '../platform/fake.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { compileRows } from '../syscalls/dispatch.ts'
import type { File } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import { formatMounts } from '../vfs/mount-info.ts'
import { LOOKUP_FOLLOW, lookup, openAt, type WalkContext } from '../vfs/namei.ts'
import { mknod } from '../vfs/operations.ts'
import { FsState } from '../vfs/path.ts'
import { makedev } from '../vfs/vfs.ts'
import { buildContainerRoot } from './container-root.ts'
import { registerFileSystems } from './file-systems.ts'
import type { ContainerSpec, MountSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const host = new LinuxHost(addon)
host.ownFds = host.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY, 0, 0)
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-root-'))
after(() => fs.rmSync(dir, { recursive: true }))
let count = 0
let top = ''
let kernel: Kernel
beforeEach(() => {
  top = join(dir, String(count++))
  fs.mkdirSync(top)
  kernel = new Kernel(new FakePlatform(), host, { syscalls: compileRows({}) })
  registerFileSystems(kernel)
})

const openFds = (): number => fs.readdirSync('/proc/self/fd').length
const donate = (path: string): number => host.openat2(AT_FDCWD, path, O_PATH, 0, 0)
const mount = (target: string, type: string, more: Partial<MountSpec> = {}): MountSpec => ({
  target,
  type,
  source: type,
  flags: 0,
  propagation: [],
  options: '',
  ...more,
})
const PROC = mount('/proc', 'proc', { flags: MS_NOSUID | MS_NODEV | MS_NOEXEC })
const DEV = mount('/dev', 'tmpfs', { flags: MS_NOSUID, options: 'mode=755,size=65536k' })
const PTS = mount('/dev/pts', 'devpts', { options: 'newinstance,ptmxmode=0666,mode=0620,gid=5' })

interface Wanted {
  readonly mounts?: readonly MountSpec[]
  readonly readOnly?: boolean
  readonly masked?: readonly string[]
  readonly readonlyPaths?: readonly string[]
  readonly devices?: ContainerSpec['devices']
  readonly sysctl?: ContainerSpec['sysctl']
  readonly userNs?: UserNamespace
}

/** `sources`: host paths, donated behind the root, so that the first has index 1. */
function build(wanted: Wanted, sources: readonly string[] = []): MountNamespace {
  const spec = {
    root: { tree: 0, readOnly: wanted.readOnly ?? false, propagation: 0 },
    mounts: wanted.mounts ?? [],
    devices: wanted.devices ?? [],
    maskedPaths: wanted.masked ?? [],
    readonlyPaths: wanted.readonlyPaths ?? [],
    sysctl: wanted.sysctl ?? {},
  } as unknown as ContainerSpec
  const fds = [top, ...sources].map(donate)
  const { uts, ipc, net, cgroup, time, pidNs } = kernel
  const userNs = wanted.userNs ?? kernel.userNs
  const ns = { uts, ipc, net, cgroup, time, timeForChildren: time, pidForChildren: pidNs }
  return buildContainerRoot(kernel, spec, fds, { userNs, ns })
}

function walkOf(ns: MountNamespace): WalkContext {
  const cred = new Credentials(ns.userNs)
  cred.permitted = cred.effective = cred.bounding
  cred.uid = cred.euid = cred.fsuid = process.getuid!()
  return { fs: new FsState(ns.rootPath, ns.rootPath, 0o022), cred, mountNs: ns }
}
function open(ns: MountNamespace, path: string, flags = O_RDONLY): File | number {
  return openAt(walkOf(ns), undefined, path, flags, 0o644)
}
function read(ns: MountNamespace, path: string): string {
  const file = open(ns, path)
  if (typeof file === 'number') throw new Error(`${path}: errno ${-file}`)
  const into = new BufferDst(new Uint8Array(1000))
  const n = file.read(into)
  filePut(file)
  return Buffer.from(into.bytes.subarray(0, Math.max(0, n))).toString()
}
function inodeAt(ns: MountNamespace, path: string) {
  const place = lookup(walkOf(ns), undefined, path, LOOKUP_FOLLOW)
  if (typeof place === 'number') throw new Error(`${path}: errno ${-place}`)
  return place.dentry.inode!
}
const table = (ns: MountNamespace): string[] =>
  [...formatMounts(ns, ns.rootPath)].join('').trimEnd().split('\n')

test('container root: the mounts of the specification come in their order, with their flags', () => {
  const ns = build({ mounts: [PROC, DEV, PTS] })
  assert.deepEqual(
    table(ns).map(line => line.split(' ').slice(1, 4).join(' ')),
    [
      '/ hostfs rw,relatime',
      '/proc proc rw,nosuid,nodev,noexec,relatime',
      '/dev tmpfs rw,nosuid,relatime,size=65536k,mode=755',
      '/dev/pts devpts rw,relatime,gid=5,mode=620,ptmxmode=666',
    ],
  )
  assert.ok(fs.statSync(join(top, 'dev')).isDirectory(), 'the place is made in the tree of the host')
})

test('container root: /dev has the standard nodes, those that are asked for, and the links', () => {
  const null2 = { path: '/dev/sub/null2', type: 0o020000, major: 1, minor: 3, mode: 0o640, uid: 7, gid: 8 }
  const ns = build({ mounts: [PROC, DEV, PTS], devices: [null2] })
  assert.equal(inodeAt(ns, '/dev/urandom').rdev, makedev(1, 9))
  assert.equal(inodeAt(ns, '/dev/urandom').mode & 0o777, 0o666)
  const node = inodeAt(ns, '/dev/sub/null2')
  assert.deepEqual([node.rdev, node.mode & 0o777, node.uid, node.gid], [makedev(1, 3), 0o640, 7, 8])
  assert.equal(inodeAt(ns, '/dev/ptmx').rdev, makedev(5, 2))
  assert.equal(read(ns, '/dev/null'), '')
  assert.deepEqual(fs.readdirSync(join(top, 'dev')), [], 'nothing of it is on the host')
})

test('container root: a user namespace uses the nodes of its /dev, and makes none', () => {
  const userNs = new UserNamespace(kernel.userNs, 0, 0, 1)
  userNs.uidMap = userNs.gidMap = [{ inside: 0, outside: 0, count: 1 }]
  const ns = build({ mounts: [PROC, DEV, PTS], userNs })
  assert.equal(read(ns, '/dev/null'), '')
  assert.equal(inodeAt(ns, '/dev/null').sb.userNs, userNs)
  assert.equal(mknod(walkOf(ns), undefined, '/dev/mine', 0o020666, makedev(1, 3)), -EPERM)
})

test('container root: without a mount for /dev there is one in memory all the same', () => {
  const ns = build({})
  assert.equal(inodeAt(ns, '/dev/zero').rdev, makedev(1, 5))
})

test('container root: trees of the host are bound as directories and as files', () => {
  const volume = join(dir, 'volume')
  fs.mkdirSync(volume, { recursive: true })
  fs.writeFileSync(join(volume, 'data'), 'of the volume')
  const bound = (target: string, tree: number, flags = MS_BIND): MountSpec =>
    mount(target, 'bind', { flags, tree })
  const ns = build({ mounts: [bound('/data', 1), bound('/etc/file', 2, MS_BIND | MS_RDONLY)] }, [
    volume,
    join(volume, 'data'),
  ])
  assert.equal(read(ns, '/data/data'), 'of the volume')
  assert.equal(read(ns, '/etc/file'), 'of the volume')
  assert.equal(open(ns, '/etc/file', O_WRONLY), -EROFS)
  assert.ok(fs.statSync(join(top, 'etc/file')).isFile())
})

test('container root: a device of the host becomes the own one of that number', () => {
  const ns = build({ mounts: [mount('/etc/nothing', 'bind', { flags: MS_BIND, tree: 1 })] }, ['/dev/null'])
  assert.equal(read(ns, '/etc/nothing'), '')
  assert.equal(inodeAt(ns, '/etc/nothing').rdev, makedev(1, 3))
})

test('container root: links in the tree lead mounts to places inside it, also to such that are not there yet', () => {
  fs.symlinkSync('/outside', join(top, 'link'))
  fs.symlinkSync('../../../up', join(top, 'relative'))
  const ns = build({ mounts: [mount('/link/tmp', 'tmpfs'), mount('/relative', 'tmpfs')] })
  assert.ok(fs.statSync(join(top, 'outside/tmp')).isDirectory())
  assert.ok(fs.statSync(join(top, 'up')).isDirectory())
  assert.equal(inodeAt(ns, '/outside/tmp').sb.fsType, 'tmpfs')
})

test('container root: a tmpfs has the mode of the directory below unless it has one of its own', () => {
  fs.mkdirSync(join(top, 'a'))
  fs.chmodSync(join(top, 'a'), 0o750)
  const ns = build({ mounts: [mount('/a', 'tmpfs'), mount('/b', 'tmpfs', { options: 'mode=700' })] })
  assert.equal(inodeAt(ns, '/a').mode & 0o7777, 0o750)
  assert.equal(inodeAt(ns, '/b').mode & 0o7777, 0o700)
})

test('container root: tmpcopyup begins with what was below', () => {
  fs.mkdirSync(join(top, 'etc/sub'), { recursive: true })
  fs.writeFileSync(join(top, 'etc/sub/file'), 'kept', { mode: 0o640 })
  fs.symlinkSync('sub/file', join(top, 'etc/link'))
  const ns = build({ mounts: [mount('/etc', 'tmpfs', { copyUp: true })] })
  assert.equal(read(ns, '/etc/link'), 'kept')
  assert.equal(inodeAt(ns, '/etc/sub/file').mode & 0o777, 0o640)
  assert.equal(inodeAt(ns, '/etc/sub/file').sb.fsType, 'tmpfs')
})

test('container root: a read-only root is written to by nobody but the mounts on it are', () => {
  const ns = build({ readOnly: true, mounts: [PROC, mount('/run', 'tmpfs')] })
  assert.equal(openAt(walkOf(ns), undefined, '/new', O_WRONLY | 0o100, 0o644), -EROFS)
  const file = openAt(walkOf(ns), undefined, '/run/new', O_WRONLY | 0o100, 0o644)
  assert.ok(typeof file !== 'number')
})

test('container root: masked files are empty, masked directories too, and what is missing is passed over', () => {
  fs.mkdirSync(join(top, 'secret/deep'), { recursive: true })
  const ns = build({ mounts: [PROC, DEV], masked: ['/proc/timer_list', '/secret', '/no/such'] })
  assert.equal(read(ns, '/proc/timer_list'), '')
  assert.equal(inodeAt(ns, '/proc/timer_list').rdev, makedev(1, 3))
  assert.equal(typeof lookup(walkOf(ns), undefined, '/secret/deep', 0), 'number')
  assert.equal(openAt(walkOf(ns), undefined, '/secret/x', O_WRONLY | 0o100, 0o644), -EROFS)
})

test('container root: read-only paths refuse writes and keep the flags of their mount', () => {
  const ns = build({ mounts: [PROC, DEV], readonlyPaths: ['/proc/sys', '/proc/sysrq-trigger'] })
  // For others than root permissions come first.
  const refusals = process.getuid!() === 0 ? [-EROFS] : [-EROFS, -EACCES]
  for (const name of ['sys/kernel/hostname', 'sysrq-trigger']) {
    assert.ok(refusals.includes(open(ns, `/proc/${name}`, O_WRONLY) as number), name)
  }
  assert.match(table(ns).at(-1)!, /^proc \/proc\/sysrq-trigger proc ro,nosuid,nodev,noexec,relatime/)
})

test('container root: propagation is what the specification says', () => {
  const MS_SHARED = 1 << 20
  const ns = build({ mounts: [mount('/shared', 'tmpfs', { propagation: [MS_SHARED | MS_REC] })] })
  const shared = [...ns.mounts].find(each => each.peerGroup !== 0)
  assert.equal(shared?.sb.fsType, 'tmpfs')
  assert.equal(ns.root.peerGroup, 0)
})

test('container root: settings of its namespaces are set, others are refused by name', () => {
  build({
    sysctl: { 'kernel.shm_rmid_forced': '1', 'kernel.sem': '10 20 30 40', 'fs.mqueue.msg_max': '100' },
  })
  const { limits } = kernel.ipc
  assert.deepEqual([limits.shmRmidForced, limits.semmsl, limits.semmni, limits.mqMsgMax], [1, 10, 40, 100])
  assert.throws(() => build({ sysctl: { 'kernel.nonsense': '1' } }), /no setting kernel.nonsense/)
  assert.throws(
    () => build({ sysctl: { 'kernel.msgmax': 'x' } }),
    /kernel.msgmax can't be set to 'x': EINVAL/,
  )
})

test('container root: what can’t be mounted is named, and nothing is left of the rest', () => {
  const volume = join(dir, 'volume2')
  fs.mkdirSync(volume)
  const before = openFds()
  const bound = mount('/data', 'bind', { flags: MS_BIND, tree: 1 })
  assert.throws(
    () => build({ mounts: [PROC, bound, mount('/x', 'ext4')] }, [volume]),
    (error: Error) => error instanceof UserError && /'ext4' for the mount at \/x/.test(error.message),
  )
  assert.throws(
    () => build({ mounts: [mount('/t', 'tmpfs', { options: 'nonsense=1' }), bound] }, [volume]),
    /tmpfs at \/t \(nonsense=1\): EINVAL/,
  )
  assert.equal(openFds(), before)
  assert.equal(kernel.vfs.mounts.size, 0)
})

test('container root: it goes with its last user, descriptors included', () => {
  const before = openFds()
  const ns = build({ mounts: [PROC, DEV, PTS], masked: ['/proc/keys'], readonlyPaths: ['/proc/sys'] })
  ns.put()
  assert.equal(openFds(), before)
  assert.equal(kernel.vfs.mounts.size, 0)
})
