/**
 * The tree of mounts of a container: the root from a donated tree of the host, and the mounts of config.json on it in their
 * order, as runc builds them (libcontainer/rootfs_linux.go):
 *
 *   1. the root, still writable so that mountpoints can be made in it
 *   2. each mount, with its propagation; what the guest's processes may not write to stays writable until the end
 *   3. the devices of /dev
 *   4. mounts and root become read-only, the root gets its propagation
 *   5. read-only and masked paths
 *
 * The settings of its namespaces in /proc/sys are made as well.
 *
 * All paths are walked by the guest's own rules below its new root, so that a link in an image leads nowhere else. What
 * fails is a UserError, and takes all mounts with it; the trees' descriptors are used up in any case.
 */
import {
  MS_BIND,
  MS_MANDLOCK,
  MS_RDONLY,
  MS_REC,
  MS_SYNCHRONOUS,
  S_IFCHR,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from '../abi/constants.ts'
import { EINVAL, EROFS, errnoName } from '../abi/errno.ts'
import { encodeText } from '../base/bytes.ts'
import { Credentials, type UserNamespace } from '../base/credentials.ts'
import { toKernelId } from '../base/id-map.ts'
import { failed, type Status } from '../base/result.ts'
import { HostSuper, mountHostfs } from '../fs/hostfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NsProxy } from '../kernel/namespaces.ts'
import { newHostStat } from '../platform/host.ts'
import type { MountContext } from '../vfs/fs-type.ts'
import { MountIdmap } from '../vfs/idmap.ts'
import { Mount, MountNamespace, mountTree } from '../vfs/mount.ts'
import { bind, mountFlags, remountBind, setPropagation } from '../vfs/mount-operations.ts'
import { LOOKUP_FOLLOW, lookup } from '../vfs/namei.ts'
import { FsState, type Path } from '../vfs/path.ts'
import { makedev } from '../vfs/vfs.ts'
import { deviceMount, hasOwnDevices, populateDev, withDev } from './container-devices.ts'
import { setSysctls } from './container-sysctl.ts'
import { makeMountpoint } from './mountpoint.ts'
import type { ContainerSpec, MountSpec } from './protocol.ts'
import { copyDirectory } from './tmpfs-copy-up.ts'
import { UserError } from './user-error.ts'

/** The flags of mount(2) that are a file system's and not a mount's. */
const SUPER_FLAGS = MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK

export interface ContainerNamespaces {
  readonly userNs: UserNamespace
  /** All others that its processes will be in. */
  readonly ns: Omit<NsProxy, 'mnt'>
}

/** `fds`: the descriptors that came with the request. The caller owns the namespace, with one reference. */
export function buildContainerRoot(
  kernel: Kernel,
  spec: ContainerSpec,
  fds: readonly number[],
  { userNs, ns }: ContainerNamespaces,
): MountNamespace {
  const trees = new Trees(kernel, fds, [spec.root.tree, ...spec.mounts.map(mount => mount.tree)])
  try {
    setSysctls(spec.sysctl, ns)
    const root = trees.mount(spec.root.tree, '/')
    const mounts = new MountNamespace(kernel.vfs, kernel.newInum(), userNs, root)
    try {
      new Builder(kernel, spec, trees, mounts, ns).build()
    } catch (error) {
      mounts.put()
      throw error
    }
    return mounts
  } finally {
    trees.close()
  }
}

/** /dev/console is the terminal of the container's first process: `slave` is where its devpts has it. */
export function mountConsole(mounts: MountNamespace, slave: Path): void {
  const root = mounts.rootPath
  const fs = new FsState(root, root, 0o022)
  const walk = { fs, cred: rootOf(mounts.userNs), mountNs: mounts }
  const place = makeMountpoint(walk, '/dev/console', false)
  const status = failed(place) ? place : bind(mounts, place, slave, false)
  fs.put()
  if (status < 0) throw new UserError(`/dev/console can't be made: ${reasonOf(status)}`)
}

/** The root of a user namespace: who builds the tree, and whose are the places that it makes. */
function rootOf(userNs: UserNamespace): Credentials {
  const cred = new Credentials(userNs)
  cred.uid = cred.euid = cred.suid = cred.fsuid = toKernelId(userNs.uidMap, 0)
  cred.gid = cred.egid = cred.sgid = cred.fsgid = toKernelId(userNs.gidMap, 0)
  cred.permitted = cred.effective = cred.bounding
  return cred
}

class Builder {
  readonly #kernel: Kernel
  readonly #spec: ContainerSpec
  readonly #trees: Trees
  readonly #mounts: MountNamespace
  readonly #walk: MountContext
  /** Made writable first, to become read-only when everything is in place. */
  readonly #readOnlyLater: Mount[] = []

  constructor(
    kernel: Kernel,
    spec: ContainerSpec,
    trees: Trees,
    mounts: MountNamespace,
    ns: Omit<NsProxy, 'mnt'>,
  ) {
    this.#kernel = kernel
    this.#spec = spec
    this.#trees = trees
    this.#mounts = mounts
    const place = mounts.rootPath
    const fs = new FsState(place, place, 0o022)
    this.#walk = { fs, cred: rootOf(mounts.userNs), mountNs: mounts, vfs: kernel.vfs, ns }
  }

  build(): void {
    const { root, mounts, devices, readonlyPaths, maskedPaths } = this.#spec
    try {
      for (const mount of withDev(mounts)) this.#mount(mount)
      if (hasOwnDevices(mounts)) populateDev(this.#walk, devices)
      for (const mount of this.#readOnlyLater) makeReadOnly(mount)
      if (root.readOnly) this.#mounts.root.flags |= MS_RDONLY
      this.#propagate(this.#mounts.root, root.propagation)
      for (const path of readonlyPaths) this.#protect(encodeText(path))
      for (const path of maskedPaths) this.#mask(encodeText(path))
    } finally {
      ;(this.#walk.fs as FsState).put()
    }
  }

  #mount(spec: MountSpec): void {
    const target = encodeText(spec.target)
    const mount = spec.type === 'bind' ? this.#bindTree(spec) : this.#newFileSystem(spec, target)
    const place = makeMountpoint(this.#walk, target, mount.root.inode!.isDir)
    if (failed(place)) {
      mount.unmount()
      throw new UserError(`there is no place for the mount at ${spec.target}: ${reasonOf(place)}`)
    }
    mount.attach(this.#mounts, place)
    if (spec.copyUp === true) this.#copyUp(mount, place, spec)
    if ((spec.flags & MS_RDONLY) !== 0 && spec.type !== 'bind') this.#readOnlyLater.push(mount)
    for (const change of spec.propagation) this.#propagate(mount, change)
  }

  #bindTree(spec: MountSpec): Mount {
    if (spec.tree === undefined) throw new UserError(`the bind mount at ${spec.target} has no source`)
    const mount = this.#trees.mount(spec.tree, spec.target)
    mount.flags = mountFlags(spec.flags)
    if (spec.idmap !== undefined && mount.sb.idmappable) mount.idmap = new MountIdmap(spec.idmap, undefined)
    const source = encodeText(spec.source)
    mount.sb.source = source
    if (mount.sb instanceof HostSuper) mount.sb.hostPath = source
    return mount
  }

  #newFileSystem(spec: MountSpec, target: string): Mount {
    // Of cgroups there is one kind only.
    const name = spec.type === 'cgroup' ? 'cgroup2' : spec.type
    const type = this.#kernel.fsTypes.get(name)
    if (type === undefined) {
      throw new UserError(`there is no file system of type '${spec.type}' for the mount at ${spec.target}`)
    }
    const flags = spec.flags & ~MS_RDONLY
    const source = encodeText(spec.source === '' ? name : spec.source)
    const options = encodeText(name === 'tmpfs' ? this.#tmpfsOptions(spec, target) : spec.options)
    const sb = type.mount(source, flags & SUPER_FLAGS, options, this.#walk)
    if (failed(sb)) {
      throw new UserError(`mounting ${spec.type} at ${spec.target} (${spec.options}): ${reasonOf(sb)}`)
    }
    if (sb.mounts === 0) sb.ownedBy(this.#walk.cred.userNs)
    return new Mount(this.#kernel.vfs, sb, type.rootOf?.(sb, this.#walk), mountFlags(flags))
  }

  /** A tmpfs over a directory that is there has that one's mode, unless another is asked for. */
  #tmpfsOptions(spec: MountSpec, target: string): string {
    if (/(^|,)mode=/.test(spec.options)) return spec.options
    const below = lookup(this.#walk, undefined, target, LOOKUP_FOLLOW)
    if (failed(below)) return spec.options
    const mode = `mode=${(below.dentry.inode!.mode & 0o7777).toString(8)}`
    return spec.options === '' ? mode : `${spec.options},${mode}`
  }

  #copyUp(mount: Mount, below: Path, spec: MountSpec): void {
    const status = copyDirectory(this.#walk, below, { mount, dentry: mount.root })
    if (status === 0) return
    throw new UserError(`copying what is below the mount at ${spec.target} into it: ${reasonOf(status)}`)
  }

  #propagate(mount: Mount, change: number): void {
    const kind = change & ~MS_REC
    if (kind === 0) return
    const changed = (change & MS_REC) !== 0 ? mountTree(mount) : [mount]
    for (const each of changed) setPropagation(each, kind)
  }

  /** readonlyPaths: a bind of the place onto itself. Paths that are not there are passed over. */
  #protect(path: string): void {
    const place = lookup(this.#walk, undefined, path, LOOKUP_FOLLOW)
    if (failed(place)) return
    const flags = place.mount.flags
    const status = bind(this.#mounts, place, place, true)
    if (status === 0) this.#remountTop(path, flags | MS_RDONLY)
    else throw new UserError(`${path} can't be made read-only: ${reasonOf(status)}`)
  }

  /** maskedPaths: /dev/null over files, an empty directory over directories. */
  #mask(path: string): void {
    const place = lookup(this.#walk, undefined, path, LOOKUP_FOLLOW)
    if (failed(place)) return
    if (place.dentry.inode!.isDir) {
      const tmpfs = this.#newFileSystem({ ...EMPTY_DIRECTORY, target: path }, path)
      tmpfs.attach(this.#mounts, place)
      makeReadOnly(tmpfs)
      return
    }
    const nothing = lookup(this.#walk, undefined, '/dev/null', LOOKUP_FOLLOW)
    const status = failed(nothing) ? nothing : bind(this.#mounts, place, nothing, false)
    if (status < 0) throw new UserError(`${path} can't be masked by /dev/null: ${reasonOf(status)}`)
  }

  #remountTop(path: string, flags: number): void {
    const top = lookup(this.#walk, undefined, path, LOOKUP_FOLLOW)
    const status = failed(top) ? top : remountBind(this.#mounts, top, flags | MS_BIND)
    if (status < 0) throw new UserError(`${path} can't be made read-only: ${reasonOf(status)}`)
  }
}

const EMPTY_DIRECTORY: MountSpec = {
  target: '',
  type: 'tmpfs',
  source: 'tmpfs',
  flags: MS_RDONLY,
  propagation: [],
  options: 'size=4k,nr_inodes=1,mode=755',
}

/** The mount alone: its file system may be another container's, too. */
function makeReadOnly(mount: Mount): void {
  mount.flags |= MS_RDONLY
}

/** The trees of the host that came with a request: each descriptor is used up by a file system, or closed. */
class Trees {
  readonly #kernel: Kernel
  readonly #fds: readonly number[]
  readonly #unused: Set<number>

  constructor(kernel: Kernel, fds: readonly number[], indices: readonly (number | undefined)[]) {
    this.#kernel = kernel
    this.#fds = fds
    this.#unused = new Set(
      indices.filter(index => index !== undefined && fds[index] !== undefined) as number[],
    )
  }

  /** A mount of the tree, attached nowhere yet. */
  mount(index: number, target: string): Mount {
    const { vfs, host } = this.#kernel
    const fd = this.#take(index, target)
    const stat = newHostStat()
    const type = host.statx(fd, '', 0, stat) < 0 ? 0 : stat.mode & S_IFMT
    if (type === S_IFCHR) {
      host.close(fd)
      return this.#ownDevice(makedev(stat.rdevMajor, stat.rdevMinor), stat.mode & 0o7777, target)
    }
    const sb = type === S_IFDIR || type === S_IFREG ? mountHostfs(vfs.newDev(), host, fd, SHARED) : -EINVAL
    if (failed(sb)) {
      host.close(fd)
      throw new UserError(
        `what is to be mounted at ${target} can't be given to a container: neither a directory nor a file`,
      )
    }
    return new Mount(vfs, sb)
  }

  /** Of a device node of the host's only its number matters: what is behind it is the sandbox's own device. */
  #ownDevice(rdev: number, mode: number, target: string): Mount {
    if (this.#kernel.vfs.devices.find(S_IFCHR, rdev) === undefined) {
      throw new UserError(`the device that is to be mounted at ${target} does not exist in a sandbox`)
    }
    return deviceMount(this.#kernel, rdev, mode)
  }

  #take(index: number, target: string): number {
    const fd = this.#fds[index]
    if (fd === undefined) throw new UserError(`the tree to be mounted at ${target} did not come along`)
    if (this.#unused.delete(index)) return fd
    const copy = this.#kernel.host.dup(fd)
    if (copy < 0)
      throw new UserError(`the tree to be mounted at ${target} can't be opened: ${errnoName(-copy)}`)
    return copy
  }

  close(): void {
    for (const index of this.#unused) this.#kernel.host.close(this.#fds[index]!)
    this.#unused.clear()
  }
}

/** Written to by the guest, and by others on the host. */
const SHARED = { shared: true } as const

function reasonOf(status: Status): string {
  return status === -EROFS ? 'the file system there is read-only' : errnoName(-status)
}
