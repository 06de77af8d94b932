/**
 * fuse: file systems that a guest process serves (fuse(4)). `mount -t fuse -o fd=N,…` ties an open /dev/fuse to a super
 * block; the connection between them is in connection.ts, and how a call waits for the server in kernel/request-log.ts.
 */

import {
  FUSE_ROOT_ID,
  FUSE_STATFS,
  FUSE_SUPER_MAGIC,
  MS_RDONLY,
  S_IFDIR,
  S_IFMT,
} from '../../abi/constants.ts'
import { EINVAL, ENOTCONN } from '../../abi/errno.ts'
import { FUSE_KSTATFS } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import { INVALID_ID, toKernelId } from '../../base/id-map.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { HostStatfs } from '../../platform/host.ts'
import {
  FS_HAS_SUBTYPE,
  FS_NODEV,
  FS_USERNS_MOUNT,
  type FsType,
  type MountContext,
} from '../../vfs/fs-type.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import { FuseConnection } from './connection.ts'
import { fuseControlType } from './control.ts'
import { deviceOf } from './device.ts'
import { FuseDir } from './directory.ts'
import { TYPES } from './entry.ts'
import { FuseInode } from './inode.ts'
import { Message } from './wire.ts'

const MIN_READ = 4096
const STATFS_ANSWER = { min: FUSE_KSTATFS.size, max: FUSE_KSTATFS.size }

interface FuseOptions {
  fd: number
  rootMode: number
  /** Kernel-wide ids. */
  userId: number
  groupId: number
  defaultPermissions: boolean
  allowOther: boolean
  /** 0: no limit. */
  maxRead: number
  subtype: string
}

export class FuseSuper extends SuperBlock {
  override readonly fsType: string
  /** Mostly a directory. */
  override readonly root: FuseInode
  /** fuse_no_acl: in a user namespace lists are for servers that asked for them. */
  override acls: 'none' | 'server'
  readonly connection: FuseConnection
  readonly #options: FuseOptions
  /** All that are mounted; it is among them until its release. */
  readonly #mounted: Set<FuseSuper>

  constructor(
    context: MountContext,
    connection: FuseConnection,
    options: FuseOptions,
    mounted: Set<FuseSuper>,
  ) {
    super(context.vfs.newDev())
    this.fsType = options.subtype === '' ? 'fuse' : `fuse.${options.subtype}`
    this.connection = connection
    this.acls = connection.userNs.level === 0 ? 'server' : 'none'
    this.#options = options
    this.maxNameLength = 1024
    const Root = (options.rootMode & S_IFMT) === S_IFDIR ? FuseDir : FuseInode
    this.root = new Root(this, { lo: FUSE_ROOT_ID, hi: 0 }, 0, options.rootMode)
    this.root.uid = options.userId
    this.root.gid = options.groupId
    connection.nodes.set(FUSE_ROOT_ID, this.root)
    connection.sb = this
    this.#mounted = mounted.add(this)
  }

  get defaultPermissions(): boolean {
    return this.#options.defaultPermissions || this.connection.obeysAcls
  }

  /**
   * fuse_allow_current_process: a server sees what others do and can hold them up, so without allow_other it serves only
   * who mounted it, even before root; and with it nobody outside of its user namespace.
   */
  allows(cred: Credentials): boolean {
    const { allowOther, userId, groupId } = this.#options
    if (allowOther) {
      for (let ns = cred.userNs; ; ns = ns.parent) {
        if (ns === this.connection.userNs) return true
        if (ns.parent === undefined) return false
      }
    }
    const uids = cred.uid === userId && cred.euid === userId && cred.suid === userId
    return uids && cred.gid === groupId && cred.egid === groupId && cred.sgid === groupId
  }

  override statfs(out: HostStatfs, inode?: FuseInode): Status {
    const { connection } = this
    const { node } = inode ?? this.root
    const answer = connection.call(FUSE_STATFS, node, 0, STATFS_ANSWER, () => new Message(0))
    if (failed(answer)) return answer
    const { reply } = answer
    out.type = FUSE_SUPER_MAGIC
    out.bsize = reply.getUint32(FUSE_KSTATFS.bsize, true)
    out.frsize = reply.getUint32(FUSE_KSTATFS.frsize, true)
    out.blocks = take64(reply, FUSE_KSTATFS.blocks)
    out.bfree = take64(reply, FUSE_KSTATFS.bfree)
    out.bavail = take64(reply, FUSE_KSTATFS.bavail)
    out.files = take64(reply, FUSE_KSTATFS.files)
    out.ffree = take64(reply, FUSE_KSTATFS.ffree)
    out.namelen = reply.getUint32(FUSE_KSTATFS.namelen, true)
    return 0
  }

  override options(): string {
    const { userId, groupId, allowOther, maxRead } = this.#options
    const { defaultPermissions } = this
    let text = `user_id=${userId},group_id=${groupId}`
    if (defaultPermissions) text += ',default_permissions'
    if (allowOther) text += ',allow_other'
    return maxRead === 0 ? text : `${text},max_read=${maxRead}`
  }

  override remount(_flags: number, options: string): Status {
    // mount(8) repeats the options there are, which can't be changed.
    return options === '' || options === this.options() ? 0 : -EINVAL
  }

  override release(): void {
    this.#mounted.delete(this)
    this.connection.sb = undefined
    this.connection.abort(false)
  }
}

/** fuse, and the file system that shows what of it is mounted. */
export function fuseTypes(kernel: Kernel): FsType[] {
  const mounted = new Set<FuseSuper>()
  return [fuseType(kernel, mounted), fuseControlType(kernel, mounted)]
}

function fuseType(kernel: Kernel, mounted: Set<FuseSuper>): FsType {
  return {
    name: 'fuse',
    flags: FS_NODEV | FS_USERNS_MOUNT | FS_HAS_SUBTYPE,
    mount(source: string, flags: number, text: string, context: MountContext): OrErrno<FuseSuper> {
      const { userNs } = context.cred
      const options = parseOptions(text, userNs.uidMap, userNs.gidMap)
      if (typeof options === 'number') return options
      const device = deviceOf(kernel, options.fd)
      if (device === undefined || device.cred.userNs !== userNs) return -EINVAL
      if (device.connection !== undefined) return device.connection.sb ?? -ENOTCONN
      const pidNs = kernel.current!.pidNs
      const maxRead = options.maxRead === 0 ? Number.POSITIVE_INFINITY : options.maxRead
      const connection = new FuseConnection(kernel, userNs, pidNs, maxRead)
      const sb = new FuseSuper(context, connection, options, mounted)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      device.connect(connection)
      connection.begin()
      return sb
    },
  }
}

type IdMap = Parameters<typeof toKernelId>[0]

function parseOptions(text: string, uidMap: IdMap, gidMap: IdMap): FuseOptions | number {
  const options: FuseOptions = {
    fd: -1,
    rootMode: 0,
    userId: INVALID_ID,
    groupId: INVALID_ID,
    defaultPermissions: false,
    allowOther: false,
    maxRead: 0,
    subtype: '',
  }
  for (const part of text.split(',')) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    const value = equals < 0 ? '' : part.slice(equals + 1)
    const decimal = /^\d{1,10}$/.test(value) ? Number(value) : undefined
    if (key === '') continue
    if (key === 'default_permissions' && equals < 0) options.defaultPermissions = true
    else if (key === 'allow_other' && equals < 0) options.allowOther = true
    else if (key === 'subtype' && options.subtype === '') options.subtype = value
    else if (key === 'rootmode' && /^[0-7]{1,7}$/.test(value)) options.rootMode = Number.parseInt(value, 8)
    else if (decimal === undefined) return -EINVAL
    else if (key === 'fd') options.fd = decimal
    else if (key === 'user_id') options.userId = toKernelId(uidMap, decimal)
    else if (key === 'group_id') options.groupId = toKernelId(gidMap, decimal)
    else if (key === 'max_read') options.maxRead = Math.max(MIN_READ, decimal)
    else return -EINVAL
  }
  const { fd, rootMode, userId, groupId } = options
  if (fd < 0 || userId === INVALID_ID || groupId === INVALID_ID) return -EINVAL
  return TYPES.includes(rootMode & S_IFMT) ? options : -EINVAL
}
