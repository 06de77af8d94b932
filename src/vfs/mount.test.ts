import assert from 'node:assert/strict'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { MNT_DETACH, MS_PRIVATE, MS_SHARED, MS_SLAVE, S_IFREG } from '../abi/constants.ts'
import { EBUSY, EINVAL, ENOENT, ENOSPC, EPERM } from '../abi/errno.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { TmpfsSuper } from '../fs/tmpfs/super.ts'
import { loadAddon } from '../platform/addon.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { Dentry, dropDentry, holdDentry, unhash, unnamedDentry } from './dentry.ts'
import { filePut } from './file-ref.ts'
import type { FsType } from './fs-type.ts'
import { Inode } from './inode.ts'
import { MOUNT_MAX, Mount, MountNamespace, mountTree } from './mount.ts'
import * as mounts from './mount-operations.ts'
import { LOOKUP_FOLLOW, lookup, openAt, type WalkContext } from './namei.ts'
import * as operations from './operations.ts'
import { FsState, type Path } from './path.ts'
import { Vfs } from './vfs.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../native/build/caisson.node')))
const rootNs = new UserNamespace(undefined, 0, 0, 1)

let vfs: Vfs
let ns: MountNamespace
let root: WalkContext

function newTmpfs(): TmpfsSuper {
  const size = Number.POSITIVE_INFINITY
  return new TmpfsSuper(vfs.newDev(), host, host, { size, inodes: size, mode: 0o755, uid: 0, gid: 0 })
}
function contextIn(mountNs: MountNamespace, userNs = rootNs): WalkContext {
  const cred = new Credentials(userNs)
  cred.effective = cred.permitted = CapabilitySet.ALL
  return { fs: new FsState(mountNs.rootPath, mountNs.rootPath, 0o022), cred, mountNs }
}
function find(name: string, ctx = root): Path {
  const path = lookup(ctx, undefined, name, LOOKUP_FOLLOW)
  if (typeof path === 'number') throw new Error(`${name}: errno ${-path}`)
  return path
}
const mkdir = (name: string, ctx = root): number => operations.mkdir(ctx, undefined, name, 0o777)
const umount = (name: string, flags = 0, ctx = root): number =>
  mounts.umount(ctx.mountNs, ctx.fs, ctx.cred, find(name, ctx), flags)
function mountTmpfs(name: string): Mount {
  const mount = new Mount(vfs, newTmpfs())
  assert.equal(mounts.attachDetached(ns, find(name), mount), 0)
  return mount
}
/** Another namespace, whose mounts are peers of those here that are shared. */
function cloned(userNs = rootNs): WalkContext {
  const fs = new FsState(root.fs.root, root.fs.root, 0)
  const mountNs = ns.clone(2, userNs, fs)
  return { ...contextIn(mountNs, userNs), fs }
}

beforeEach(() => {
  vfs = new Vfs(host)
  ns = new MountNamespace(vfs, 1, rootNs, new Mount(vfs, newTmpfs()))
  root = contextIn(ns)
  for (const name of ['/a', '/a/b', '/m']) mkdir(name)
})

test('mounts and directories may be as deep as a guest likes', () => {
  let at = find('/m')
  for (let i = 0; i < 20_000; i++) {
    new Mount(vfs, ns.root.sb).attach(ns, at)
    at = { mount: [...at.mount.children.values()].at(-1)!, dentry: ns.root.root }
  }
  const copy = ns.clone(2, rootNs)
  assert.equal(copy.mounts.size, 20_001)
  copy.put()
  const lowest = [...ns.root.children.values()][0]
  lowest.unmount()
  assert.equal(ns.mounts.size, 1)

  const top = mountTmpfs('/m')
  let dir = find('/m')
  const files = []
  for (let i = 0; i < 20_000; i++) {
    operations.mkdir(root, dir, 'd', 0o755)
    const file = openAt(root, dir, 'd', 0, 0)
    if (typeof file === 'number') throw new Error(`errno ${-file}`)
    files.push(file)
    dir = file.path
  }
  for (const file of files) filePut(file)
  assert.equal(umount('/m'), 0)
  assert.equal(top.sb.mounts, 0)
})

test('a namespace holds so many mounts, and no more', () => {
  let at = ns.root
  for (let i = 1; i < MOUNT_MAX; i++) {
    const mount = new Mount(vfs, ns.root.sb)
    mount.attach(ns, { mount: at, dentry: at.root })
    at = mount
  }
  assert.equal(mounts.bind(ns, { mount: ns.root, dentry: find('/a').dentry }, find('/'), false), -ENOSPC)
  ns.root.children.values().next().value!.unmount()
  assert.equal(mounts.bind(ns, find('/a'), find('/m'), false), 0)
})

test("'..' does not lead out of a bind mount for who was moved out of it", () => {
  mkdir('/a/b/c')
  mounts.bind(ns, find('/m'), find('/a/b'), false)
  root.fs.cwd = find('/m/c')
  assert.equal(operations.rename(root, undefined, '/a/b/c', undefined, '/a/c', 0), 0)
  assert.equal(lookup(root, undefined, '..', LOOKUP_FOLLOW), -ENOENT)
})

test('the parent of a removed working directory stays in the cache', () => {
  root.fs.cwd = find('/a/b')
  operations.rmdir(root, undefined, '/a/b')
  ns.root.sb.dentries.shrinkAll()
  assert.equal(find('..').dentry, find('/a').dentry)
  root.fs.cwd = find('/')
  ns.root.sb.dentries.shrinkAll()
  assert.equal(ns.root.sb.dentries.count, 0)
})

test('a removed directory stays for a name that was found in it afterwards', () => {
  mkdir('/a/b/c')
  const [a, b, c] = ['/a', '/a/b', '/a/b/c'].map(name => find(name).dentry)
  holdDentry(b)
  unhash(b)
  holdDentry(c)
  dropDentry(b)
  assert.deepEqual([a.refs, b.refs, b.inode !== undefined], [1, 1, true])
  dropDentry(c)
  assert.deepEqual([a.refs, b.refs, b.inode], [0, 0, undefined])
})

test('a name of no directory holds its parent while it is held, however often', () => {
  const { dentry } = find('/a')
  const unnamed = unnamedDentry('#1', dentry, find('/m').dentry.inode!)
  for (let i = 0; i < 2; i++) {
    holdDentry(unnamed)
    assert.equal(dentry.refs, 1)
    dropDentry(unnamed)
    assert.equal(dentry.refs, 0)
  }
})

test('a name that a rename comes from stays while it walks to where it goes', () => {
  ns.root.sb.dentries.limit = 4
  const detour = '/m/..'.repeat(2)
  for (let i = 0; i < 30; i++) operations.symlink(root, `/none${i}`, undefined, `/m/l${i}`)
  for (let i = 0; i < 30; i++) assert.equal(lookup(root, undefined, `/m/none${i}`, 0), -ENOENT)
  assert.equal(operations.rename(root, undefined, '/a/b', undefined, `${detour}/m/c`, 0), 0)
})

test('so does a place to mount on while a file system looks for what it needs', () => {
  const type: FsType = {
    name: 'seeker',
    flags: 0,
    mount: () => {
      for (let i = 0; i < 90; i++) lookup(root, undefined, `/m/none${i}`, 0)
      return newTmpfs()
    },
  }
  const at = find('/a/b')
  ns.root.sb.dentries.limit = 4
  assert.equal(mounts.mountNew({ ...root, vfs, ns: undefined }, at, type, 'none', 0, ''), 0)
  assert.equal(find('/a/b').mount.sb.fsType, 'tmpfs')
})

test('what comes by propagation slides in below what is mounted there', () => {
  mounts.changePropagation(ns, find('/'), MS_SHARED, true)
  const other = cloned()
  mounts.changePropagation(other.mountNs, find('/', other), MS_SLAVE, true)
  mounts.bind(other.mountNs, find('/m', other), find('/a', other), false)
  const own = find('/m', other).mount
  const below = mountTmpfs('/m')
  assert.equal(find('/m', other).mount, own)
  assert.equal(own.parent?.sb, below.sb)
  assert.equal(umount('/m'), 0)
  assert.equal(find('/m', other).mount, own)
  assert.equal(own.parent, other.mountNs.root)
  assert.equal(own.namespace, other.mountNs)
})

test('a lazy unmount takes the copies of the whole tree along', () => {
  mounts.changePropagation(ns, find('/'), MS_SHARED, true)
  const other = cloned()
  mountTmpfs('/m')
  mkdir('/m/x')
  mountTmpfs('/m/x')
  assert.equal(other.mountNs.mounts.size, 3)
  assert.equal(umount('/m', MNT_DETACH), 0)
  assert.equal(other.mountNs.mounts.size, 1)
})

test('an unmount fails where a copy of it is in use', () => {
  mounts.changePropagation(ns, find('/'), MS_SHARED, true)
  const other = cloned()
  mountTmpfs('/m')
  other.fs.cwd = find('/m', other)
  assert.equal(umount('/m'), -EBUSY)
  other.fs.cwd = find('/', other)
  assert.equal(umount('/m'), 0)
})

test('a slave whose group ends has no master any more', () => {
  const group = mountTmpfs('/m')
  mounts.setPropagation(group, MS_SHARED)
  mounts.bind(ns, find('/a/b'), find('/m'), false)
  const slave = find('/a/b').mount
  mounts.setPropagation(slave, MS_SLAVE)
  assert.equal(slave.masterGroup, group.peerGroup)
  mounts.setPropagation(group, MS_PRIVATE)
  assert.equal(slave.masterGroup, 0)
})

test('who holds a directory does not see below a locked mount after a lazy unmount', () => {
  const outer = mountTmpfs('/m')
  mkdir('/m/secret')
  mkdir('/m/secret/hidden')
  mountTmpfs('/m/secret')
  const inner = new UserNamespace(rootNs, 0, 0, 2)
  const other = cloned(inner)
  mounts.bind(other.mountNs, find('/a', other), find('/', other), true)
  const copy = find('/a/m', other).mount
  assert.equal(mountTree(copy).length, 2)
  other.fs.cwd = find('/a/m', other)
  assert.equal(umount('/a', MNT_DETACH, other), 0)
  assert.equal(lookup(other, undefined, 'secret/hidden', 0), -ENOENT)
  assert.equal(copy.children.size, 1)
  other.fs.cwd = find('/', other)
  assert.equal(copy.children.size, 0)
  other.mountNs.put()
  assert.equal(outer.sb.mounts, 1)
})

test('nor does he when what he holds is a copy of what is unmounted elsewhere', () => {
  mounts.changePropagation(ns, find('/'), MS_SHARED, true)
  const other = cloned(new UserNamespace(rootNs, 0, 0, 2))
  mountTmpfs('/a')
  for (const name of ['/a/secret', '/a/secret/hidden']) mkdir(name)
  mountTmpfs('/a/secret')
  assert.equal(mounts.bind(ns, find('/m'), find('/a'), true), 0)
  other.fs.cwd = find('/m', other)
  const copy = other.fs.cwd.mount
  assert.equal(umount('/m', MNT_DETACH), 0)
  assert.equal(copy.namespace, undefined)
  assert.equal(lookup(other, undefined, 'secret/hidden', 0), -ENOENT)
  other.fs.cwd = find('/', other)
  assert.equal(copy.children.size, 0)
})

test('a file system is reconfigured by the user namespace that mounted it', () => {
  const inner = new UserNamespace(rootNs, 0, 0, 2)
  const other = cloned(inner)
  assert.equal(mounts.remount(other.mountNs, other.cred, find('/', other), 1, ''), -EPERM)
  assert.equal(umount('/', 0, other), -EPERM)
  assert.equal(umount('/', MNT_DETACH, other), -EINVAL)
})

/** Stands for the file of a mount namespace, as fs/proc has it. */
class HoldingInode extends Inode {
  readonly held: MountNamespace
  constructor(sb: TmpfsSuper, held: MountNamespace) {
    super(sb, 1, S_IFREG | 0o444, 0, 0)
    this.held = held
  }
  override get mountNs(): MountNamespace {
    return this.held
  }
  override mountRoot(there: boolean): void {
    if (there) this.held.get()
    else this.held.put()
  }
}

test('mount namespaces that hold one another end one after the other, however many they are', () => {
  const chain: MountNamespace[] = []
  for (let i = 0; i < 20_000; i++) {
    const each = new MountNamespace(vfs, 10 + i, rootNs, new Mount(vfs, newTmpfs()))
    const before = chain.at(-1)
    if (before !== undefined) {
      const inode = new HoldingInode(before.root.sb as TmpfsSuper, each)
      const file = new Mount(vfs, inode.sb, new Dentry('mnt', undefined, inode, inode.sb))
      file.attach(before, before.rootPath)
      each.put()
    }
    chain.push(each)
  }
  assert.equal(chain.at(-1)!.users, 1)
  chain[0].put()
  assert.deepEqual([chain.at(-1)!.users, chain.at(-1)!.mounts.size], [0, 0])
})
