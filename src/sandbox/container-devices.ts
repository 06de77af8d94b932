/**
 * /dev of a container: the nodes that every container has and those of config.json, the usual links, and the console.
 * Only these exist there: nothing shows up by itself as in a devtmpfs.
 */
import { MS_NOSUID, MS_STRICTATIME, S_IFCHR } from '../abi/constants.ts'
import { EEXIST, errnoName } from '../abi/errno.ts'
import { decodeText, encodeText } from '../base/bytes.ts'
import { Credentials, firstUserNs } from '../base/credentials.ts'
import { toKernelId } from '../base/id-map.ts'
import { failed, type Status } from '../base/result.ts'
import { STANDARD_NODES } from '../fs/dev/devices.ts'
import { TmpfsSuper } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { rootDentry } from '../vfs/dentry.ts'
import { Mount } from '../vfs/mount.ts'
import { lookup, lookupChild, type WalkContext } from '../vfs/namei.ts'
import { chown, mknod, symlink, unlink } from '../vfs/operations.ts'
import { FsState } from '../vfs/path.ts'
import { makedev } from '../vfs/vfs.ts'
import { makeMountpoint } from './mountpoint.ts'
import type { DeviceSpec, MountSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

const DEV = '/dev'

/** Where config.json mounts nothing on /dev: what the devices are made in must not be the host's file system. */
const DEV_MOUNT: MountSpec = {
  target: DEV,
  type: 'tmpfs',
  source: 'tmpfs',
  flags: MS_NOSUID | MS_STRICTATIME,
  propagation: [],
  options: 'mode=755,size=65536k',
}

const LINKS: readonly (readonly [string, string])[] = [
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
  ['/dev/ptmx', 'pts/ptmx'],
]

/** The mounts of a container, with one for /dev among them. */
export function withDev(mounts: readonly MountSpec[]): readonly MountSpec[] {
  return mounts.some(mount => mount.target === DEV) ? mounts : [DEV_MOUNT, ...mounts]
}

/** Whether /dev is the container's own; a directory that is bound there is left as it is. */
export function hasOwnDevices(mounts: readonly MountSpec[]): boolean {
  return !mounts.some(mount => mount.target === DEV && mount.type === 'bind')
}

/** Makes nodes and links. Who walks is the container's root. */
export function populateDev(walk: WalkContext, devices: readonly DeviceSpec[]): void {
  // Modes are as they are asked for.
  const ctx: WalkContext = { ...walk, fs: new FsState(walk.fs.root, walk.fs.root, 0) }
  try {
    const paths = new Set(devices.map(device => device.path))
    for (const { name, major, minor, mode } of STANDARD_NODES) {
      const path = `${DEV}/${name}`
      if (!paths.has(path)) makeNode(ctx, { path, type: S_IFCHR, major, minor, mode, uid: 0, gid: 0 })
    }
    for (const device of devices) makeNode(ctx, device)
    for (const [path, target] of LINKS) makeLink(ctx, path, target)
  } finally {
    ;(ctx.fs as FsState).put()
  }
}

function makeNode(ctx: WalkContext, device: DeviceSpec): void {
  const path = encodeText(device.path)
  const parent = makeMountpoint(ctx, path.slice(0, path.lastIndexOf('/')) || '/', true)
  let status: Status = failed(parent) ? parent : 0
  if (status === 0) {
    const rdev = makedev(device.major, device.minor)
    status = mknod({ ...ctx, cred: makerFor(ctx.cred) }, undefined, path, device.type | device.mode, rdev)
  }
  if (status === -EEXIST) return
  // Nobody in the container can make others.
  if (!failed(parent)) parent.dentry.sb.noDevices = false
  if (status === 0) status = setOwner(ctx, path, device)
  if (status < 0) throw new UserError(`the device ${device.path} can't be made: ${errnoName(-status)}`)
}

/** In a user namespace of its own the container's root makes no nodes: who may, for it. */
function makerFor(owner: Credentials): Credentials {
  const maker = new Credentials(firstUserNs(owner.userNs))
  maker.fsuid = owner.fsuid
  maker.fsgid = owner.fsgid
  maker.effective = owner.effective
  return maker
}

function setOwner(ctx: WalkContext, path: string, { uid, gid }: DeviceSpec): Status {
  const place = lookup(ctx, undefined, path, 0)
  if (failed(place)) return place
  const { uidMap, gidMap } = ctx.cred.userNs
  return chown(ctx.cred, place, toKernelId(uidMap, uid), toKernelId(gidMap, gid))
}

function makeLink(ctx: WalkContext, path: string, target: string): void {
  let status = symlink(ctx, target, undefined, path)
  if (status === -EEXIST && path === '/dev/ptmx') {
    // A node of another instance, which the image brought along.
    status = unlink(ctx, undefined, path)
    if (status === 0) status = symlink(ctx, target, undefined, path)
  }
  if (status < 0 && status !== -EEXIST) {
    throw new UserError(`${decodeText(path)} can't be made: ${errnoName(-status)}`)
  }
}

/** A mount, attached nowhere, of one device node: for a bind mount of a device of the host's. */
export function deviceMount(kernel: Kernel, rdev: number, mode: number): Mount {
  const options = { size: 0, inodes: 2, mode: 0o755, uid: 0, gid: 0 }
  const sb = new TmpfsSuper(kernel.vfs.newDev(), kernel.host, kernel.clock, options)
  const made = sb.root.mknod('device', S_IFCHR | mode, rdev, new Credentials(kernel.userNs))
  const node = failed(made) ? made : lookupChild(rootDentry(sb), 'device')
  if (failed(node)) throw new Error(`a device node can't be made: ${node}`)
  return new Mount(kernel.vfs, sb, node)
}
