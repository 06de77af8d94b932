/** What mount(2) can mount: file_system_type. */
import type { Credentials } from '../base/credentials.ts'
import type { OrErrno } from '../base/result.ts'
import type { Dentry } from './dentry.ts'
import type { MountNamespace } from './mount.ts'
import type { FsContext } from './path.ts'
import type { SuperBlock } from './super-block.ts'
import type { Vfs } from './vfs.ts'

/** Needs no block device: 'nodev' in /proc/filesystems. */
export const FS_NODEV = 1
/** May be mounted by the root of a user namespace. */
export const FS_USERNS_MOUNT = 2
/** Of a type 'name.subtype' the part behind the dot is its own affair: an option 'subtype'. */
export const FS_HAS_SUBTYPE = 4

/** Who mounts, and from where: enough of a WalkContext to look up paths in the options (overlay's layers). */
export interface MountContext {
  readonly fs: FsContext
  readonly cred: Credentials
  readonly mountNs: MountNamespace
  readonly vfs: Vfs
  /** The other namespaces of who mounts (NsProxy of the kernel's); undefined: the first ones. */
  readonly ns: unknown
}

export interface FsType {
  readonly name: string
  readonly flags: number
  /** `flags` are MS_*; `options` the comma-separated rest. A super block that exists already may be given again. */
  mount(source: string, flags: number, options: string, context: MountContext): OrErrno<SuperBlock>
  /** Why a single parameter can't be meant, as far as can be said of it alone: fsconfig(2) tells. Undefined: it can. */
  refuses?(key: string, value: string | undefined): string | undefined
  /** A parameter of fsconfig(2) as a part of `options`, where values may have commas in them. */
  quotes?(key: string, value: string | undefined): string
  /** The directory that a new mount shows, where it is not the file system's root. */
  rootOf?(sb: SuperBlock, context: MountContext): Dentry
}
