/**
 * The guest's tree of mounts: the root from donated host directories, and what every Linux system has on top of it
 * (/proc, /sys, /dev, /dev/pts, /dev/shm).
 */
import { MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME, O_WRONLY } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { decodeText, toBytes } from '../base/bytes.ts'
import { Credentials } from '../base/credentials.ts'
import { BufferSrc } from '../base/io.ts'
import { failed } from '../base/result.ts'
import { mountHostfs } from '../fs/hostfs/super.ts'
import { mountOverlay, UPPER_FIRST_INO } from '../fs/overlay/super.ts'
import { defaultTmpfsOptions, TmpfsSuper, totalMemory } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { INIT_INUM } from '../kernel/namespaces.ts'
import { type Dentry, rootDentry } from '../vfs/dentry.ts'
import { filePut } from '../vfs/file-ref.ts'
import type { MountContext } from '../vfs/fs-type.ts'
import { Mount, MountNamespace } from '../vfs/mount.ts'
import { lookupChild, openPath, type WalkContext } from '../vfs/namei.ts'
import { FsState, type Path } from '../vfs/path.ts'
import type { SuperBlock } from '../vfs/super-block.ts'
import { makeMountpoint } from './mountpoint.ts'
import type { Donation, SandboxOptions, ShownFile } from './options.ts'
import { UserError } from './user-error.ts'

/** A file system that every sandbox has: type, place, flags, options. */
const STANDARD_MOUNTS: readonly (readonly [string, string, number, string])[] = [
  ['proc', '/proc', MS_NOSUID | MS_NODEV | MS_NOEXEC, ''],
  ['sysfs', '/sys', MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, ''],
  ['cgroup2', '/sys/fs/cgroup', MS_NOSUID | MS_NODEV | MS_NOEXEC, ''],
  ['devtmpfs', '/dev', MS_NOSUID, 'mode=755'],
  ['devpts', '/dev/pts', MS_NOSUID | MS_NOEXEC, 'gid=5,mode=620,ptmxmode=666'],
  ['tmpfs', '/dev/shm', MS_NOSUID | MS_NODEV, 'mode=1777'],
  ['mqueue', '/dev/mqueue', MS_NOSUID | MS_NODEV | MS_NOEXEC, ''],
]

/** Builds the first mount namespace; `donated` are the descriptors of the donations, in their order. */
export function buildRoot(
  kernel: Kernel,
  options: SandboxOptions,
  donated: readonly number[],
): MountNamespace {
  const cred = new Credentials(kernel.userNs)
  cred.permitted = cred.effective = cred.bounding
  // What lies below an overlay is believed to stay as it is; everything else shows what others do to it.
  const hostRoot = hostMount(kernel, options.donations[0]!, donated[0]!, options.readOnlyRoot)
  let root: SuperBlock = hostRoot
  if (options.readOnlyRoot) hostRoot.flags |= MS_RDONLY
  else root = overlayRoot(kernel, hostRoot, options.overlaySize, cred)
  const namespace = new MountNamespace(kernel.vfs, INIT_INUM.mnt, kernel.userNs, new Mount(kernel.vfs, root))
  const place = namespace.rootPath
  const walk: WalkContext = { fs: new FsState(place, place, 0o022), cred, mountNs: namespace }

  // What is run here takes /sys/fs/cgroup for the machine's, as container engines do.
  kernel.cgroup.root.standsForRoot = true
  for (const [type, target, flags, settings] of STANDARD_MOUNTS) {
    const fsType = kernel.fsTypes.get(type)
    if (fsType === undefined) continue
    const context: MountContext = { ...walk, vfs: kernel.vfs, ns: undefined }
    const sb = fsType.mount(type, flags, settings, context)
    if (failed(sb)) throw new UserError(`mounting ${type} on ${target}: ${errnoName(-sb)}`)
    attach(kernel, namespace, walk, sb, target, flags, fsType.rootOf?.(sb, context))
  }
  options.donations.forEach((donation, i) => {
    if (i === 0) return
    const sb = hostMount(kernel, donation, donated[i]!, true)
    attach(kernel, namespace, walk, sb, donation.target, donation.readOnly ? MS_RDONLY : 0)
  })
  for (const file of options.files) showFile(kernel, namespace, walk, file)
  return namespace
}

/** A file of the sandbox's own at a place of the host's. */
function showFile(kernel: Kernel, namespace: MountNamespace, walk: WalkContext, file: ShownFile): void {
  const { path } = file
  const bytes = toBytes(file.text)
  const options = { ...defaultTmpfsOptions(totalMemory(kernel.host)), size: bytes.length + ADDED_SIZE }
  const sb = new TmpfsSuper(kernel.vfs.newDev(), kernel.host, kernel.clock, options, kernel)
  const place = makeMountpoint(walk, path, false)
  const inode = sb.root.create('file', 0o644, walk.cred)
  const dentry = lookupChild(rootDentry(sb), 'file')
  for (const result of [place, inode, dentry]) {
    if (failed(result)) throw new UserError(`${decodeText(path)} can't be shown: ${errnoName(-result)}`)
  }
  const mount = new Mount(kernel.vfs, sb, dentry as Dentry, MS_NOSUID | MS_NODEV | MS_RELATIME)
  mount.attach(namespace, place as Path)
  const open = openPath(walk, { mount, dentry: dentry as Dentry }, O_WRONLY, true)
  if (failed(open)) throw new UserError(`${decodeText(path)} can't be written: ${errnoName(-open)}`)
  const written = open.write(new BufferSrc(bytes))
  filePut(open)
  if (written < 0) throw new UserError(`${decodeText(path)} can't be written: ${errnoName(-written)}`)
}
/** What the guest may add to such a file. */
const ADDED_SIZE = 1 << 20

function hostMount(kernel: Kernel, donation: Donation, fd: number, shared: boolean): SuperBlock {
  const sb = mountHostfs(kernel.vfs.newDev(), kernel.host, fd, { shared })
  if (failed(sb)) {
    throw new UserError(`${decodeText(donation.source)} can't be given to the sandbox: ${errnoName(-sb)}`)
  }
  sb.source = donation.source
  return sb
}

function overlayRoot(kernel: Kernel, lower: SuperBlock, size: number, cred: Credentials): SuperBlock {
  const defaults = defaultTmpfsOptions(totalMemory(kernel.host))
  const { mode, uid, gid } = lower.root
  const options = { ...defaults, size, mode: mode & 0o7777, uid, gid }
  const upper = new TmpfsSuper(kernel.vfs.newDev(), kernel.host, kernel.clock, options, kernel)
  upper.nextIno = UPPER_FIRST_INO
  const overlay = mountOverlay(kernel.vfs, { upper, lowers: [lower] }, cred)
  if (failed(overlay)) throw new UserError(`the overlay can't be made: ${errnoName(-overlay)}`)
  return overlay
}

function attach(
  kernel: Kernel,
  namespace: MountNamespace,
  walk: WalkContext,
  sb: SuperBlock,
  target: string,
  flags: number,
  root?: Dentry,
): void {
  const place = makeMountpoint(walk, target, sb.root.isDir)
  if (failed(place)) throw new UserError(`no place to mount ${decodeText(target)}: ${errnoName(-place)}`)
  new Mount(kernel.vfs, sb, root, flags | MS_RELATIME).attach(namespace, place)
}
