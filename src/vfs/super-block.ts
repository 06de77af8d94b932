/** A mounted file system's own state, shared by all mounts of it. */
import type { UserNamespace } from '../base/credentials.ts'
import type { Status } from '../base/result.ts'
import type { HostStatfs } from '../platform/host.ts'
import { type Dentry, DentryLru } from './dentry.ts'
import type { HandleTable } from './handles.ts'
import type { Inode } from './inode.ts'
import type { InodeWatches } from './notify.ts'
import { dentryToString } from './path-string.ts'

export abstract class SuperBlock {
  /** 'tmpfs', 'proc', …: the third field of /proc/mounts. */
  abstract readonly fsType: string
  /** What /proc/mounts shows as the source. */
  source = 'none'
  /** Device number shown by stat: (major << 20) | minor, major 0 for all of ours. */
  readonly dev: number
  abstract readonly root: Inode
  /** MS_* flags of the super block (MS_RDONLY, MS_SYNCHRONOUS, …). */
  flags = 0
  maxNameLength = 255
  /** Whether a name that is not there becomes a negative entry; else each lookup of it fails anew (proc). */
  readonly cachesMissing: boolean = true
  /** Device nodes of it can't be opened, whatever the mount says (SB_I_NODEV). */
  noDevices = false
  /** Whose mount made it (s_user_ns): what its ids and setuid bits mean there. Undefined: the first one's. */
  userNs: UserNamespace | undefined = undefined
  /** Whether the mode of what is made has lost the caller's umask; else it is the file system's affair. */
  appliesUmask = true
  /** Mounts of it; the last one to go calls `release`. */
  mounts = 0
  /** Of vfs/dentry.ts: the shared root dentry and the entries that may be forgotten. */
  rootDentry: Dentry | undefined = undefined
  readonly dentries = new DentryLru()
  /** Marks on all that is in it (fanotify). */
  watches: InodeWatches | undefined = undefined
  /** Whether mounts of it may be id-mapped (FS_ALLOW_IDMAP). */
  readonly idmappable: boolean = false
  /** Who keeps and inherits access control lists: vfs/acl.ts, the host, a server, or nobody, since there are none. */
  readonly acls: 'none' | 'ours' | 'host' | 'server' = 'none'
  /** Whether its files have handles by which they can be opened; what has been given out of them. */
  readonly exportable: boolean = false
  handles: HandleTable | undefined = undefined

  constructor(dev: number) {
    this.dev = dev
  }

  /** It was made by a mount in `userNs`. */
  ownedBy(userNs: UserNamespace): void {
    this.userNs = userNs
    if (userNs.level > 0) this.noDevices = true
  }

  /** Options for /proc/mounts without the flags, such as 'size=65536k'; '' if none. */
  options(): string {
    return ''
  }
  /** What /proc/PID/mountinfo shows as the root of a mount of it. */
  showRoot(root: Dentry): string {
    return dentryToString(root)
  }
  /** mount -o remount with changed options. */
  remount(_flags: number, _options: string): Status {
    return 0
  }
  /** `inode`: the one that was asked about, for file systems that are several to the guest (pipes and sockets). */
  abstract statfs(out: HostStatfs, inode?: Inode): Status
  sync(): Status {
    return 0
  }
  /** The last mount of it went away. */
  release(): void {}
}
