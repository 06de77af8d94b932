/**
 * The objects of the descriptor-based mount API: fsopen(2), open_tree(2).
 *
 * An FsContextFile collects parameters, makes a super block of them (FSCONFIG_CMD_CREATE), gives it to one mount
 * (fsmount), and from then on can reconfigure it. A TreeFile is an O_PATH descriptor of the root of a mount that is
 * attached nowhere yet; if it still isn't when the descriptor goes, the mount goes too.
 */
import { MS_DIRSYNC, MS_LAZYTIME, MS_RDONLY, MS_SYNCHRONOUS, O_PATH, O_RDWR } from '../abi/constants.ts'
import { EBUSY, EINVAL, EMSGSIZE, ENODATA, ENOMEM, EPERM } from '../abi/errno.ts'
import { toBytes } from '../base/bytes.ts'
import type { Credentials } from '../base/credentials.ts'
import type { IoDst } from '../base/io.ts'
import { failed, type Status } from '../base/result.ts'
import type { AnonFs } from '../vfs/anon.ts'
import { File, PathFile } from '../vfs/file.ts'
import type { FsType, MountContext } from '../vfs/fs-type.ts'
import { Mount } from '../vfs/mount.ts'
import { makeSuper, mayReconfigure } from '../vfs/mount-operations.ts'
import type { SuperBlock } from '../vfs/super-block.ts'

/** Parameters that are flags of the super block, as the generic part of the kernel knows them: set or cleared. */
const SUPER_FLAGS: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  ro: [MS_RDONLY, 0],
  rw: [0, MS_RDONLY],
  sync: [MS_SYNCHRONOUS, 0],
  async: [0, MS_SYNCHRONOUS],
  dirsync: [MS_DIRSYNC, 0],
  lazytime: [MS_LAZYTIME, 0],
  nolazytime: [0, MS_LAZYTIME],
}

/** Messages that are kept: the log of Linux has as many. */
const MAX_MESSAGES = 8
/** More parameters than any file system has, and an overlay layers. */
const MAX_OPTIONS = 1024

export class FsContextFile extends File {
  readonly #type: FsType
  #source = ''
  #flags = 0
  readonly #options: string[] = []
  readonly #messages: string[] = []
  /** FSCONFIG_CMD_CREATE failed. */
  #broken = false
  /** Made, not mounted yet: this mount holds it, attached nowhere. */
  #made: Mount | undefined = undefined
  /** What parameters and FSCONFIG_CMD_RECONFIGURE are for, after the mount. */
  #super: SuperBlock | undefined

  constructor(anonFs: AnonFs, cred: Credentials, type: FsType, picked: SuperBlock | undefined = undefined) {
    super(anonFs.path('anon_inode:[fscontext]', 0o600), O_RDWR, cred)
    this.#type = type
    this.#super = picked
    if (picked !== undefined) this.#flags = picked.flags
  }

  /** A message for each read(2): why something was refused. */
  override read(into: IoDst): number {
    const message = this.#messages.shift()
    if (message === undefined) return -ENODATA
    return message.length > into.remaining ? -EMSGSIZE : into.put(toBytes(message))
  }
  /** Says why; what nobody reads is forgotten, the oldest first. */
  #refuse(reason: string): Status {
    this.#say(`e ${reason}`)
    return -EINVAL
  }
  #say(message: string): void {
    if (this.#messages.length === MAX_MESSAGES) this.#messages.shift()
    this.#messages.push(`${message}\n`)
  }

  /** FSCONFIG_SET_FLAG (`value` undefined) and FSCONFIG_SET_STRING. */
  setParameter(key: string, value: string | undefined): Status {
    if (this.#made !== undefined || this.#broken) return -EBUSY
    const flag = SUPER_FLAGS[key]
    if (flag !== undefined && value === undefined) {
      this.#flags = (this.#flags | flag[0]) & ~flag[1]
      return 0
    }
    if (key === 'source') {
      if (value === undefined) return this.#refuse('Non-string source')
      if (this.#source !== '') return this.#refuse('Multiple sources')
      this.#source = value
      return 0
    }
    const refused = this.#type.refuses?.(key, value)
    if (refused !== undefined) return this.#refuse(`${this.#type.name}: ${refused}`)
    if (this.#options.length === MAX_OPTIONS) return -ENOMEM
    this.#options.push(this.#type.quotes?.(key, value) ?? (value === undefined ? key : `${key}=${value}`))
    return 0
  }

  /** FSCONFIG_CMD_CREATE, and (`exclusive`) FSCONFIG_CMD_CREATE_EXCL: not one that is mounted already. */
  create(context: MountContext, exclusive: boolean): Status {
    if (this.#made !== undefined || this.#super !== undefined || this.#broken) return -EBUSY
    const { vfs } = context
    const source = this.#source === '' ? 'none' : this.#source
    const sb = makeSuper(this.#type, source, this.#flags, this.#options.join(','), context)
    if (failed(sb)) {
      // Nothing more can be done with it.
      this.#broken = true
      return sb
    }
    if (exclusive && sb.mounts > 0) {
      this.#broken = true
      this.#say(`w ${this.#type.name}: reusing existing filesystem not allowed`)
      return -EBUSY
    }
    this.#made = new Mount(vfs, sb, this.#type.rootOf?.(sb, context), 0)
    this.#options.length = 0
    return 0
  }

  /** FSCONFIG_CMD_RECONFIGURE. */
  reconfigure(cred: Credentials): Status {
    const sb = this.#super
    if (sb === undefined) return -EBUSY
    if (!mayReconfigure(cred, sb)) return -EPERM
    const status = sb.remount(this.#flags, this.#options.join(','))
    this.#options.length = 0
    if (status === 0) sb.flags = this.#flags
    return status
  }

  /** fsmount: the mount, once. */
  takeMount(): Mount | number {
    const mount = this.#made
    if (mount === undefined) return this.#super === undefined ? -EINVAL : -EBUSY
    this.#made = undefined
    this.#super = mount.sb
    return mount
  }

  override release(): void {
    this.#made?.unmount()
  }
}

export class TreeFile extends PathFile {
  readonly #mount: Mount

  constructor(mount: Mount, cred: Credentials) {
    super({ mount, dentry: mount.root }, O_PATH, cred)
    this.#mount = mount
  }
  override release(): void {
    if (isDetached(this.#mount)) this.#mount.unmount()
  }
}

/** Attached nowhere, and no namespace's root, as what `open_tree` and `fsmount` give. */
export function isDetached(mount: Mount): boolean {
  return mount.mountpoint === undefined && mount.namespace === undefined && !mount.unmounted
}
