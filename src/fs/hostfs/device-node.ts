/**
 * Device nodes that the guest makes in a tree of the host. The host's kernel lets nobody make them who is privileged only in a
 * user namespace, as the sentry is, and they would be of no use there: devices are the sentry's own. So an empty regular file
 * stands for each, known by its mode, and says in an attribute what it stands for. The guest sees the node, and never the
 * attribute. To the host, and to who packs the tree there, it is an empty file.
 *
 * A listing of the host's calls it a regular file. So the directory that has one is marked, and its listing leaves open what
 * regular files are: who wants to know looks at each, as find(1) does.
 */
import { S_IFBLK, S_IFCHR, S_IFMT, S_IFREG } from '../../abi/constants.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { HostStat } from '../../platform/host.ts'
import { major, makedev, minor } from '../../vfs/vfs.ts'

/** What no regular file has by chance. */
export const STAND_IN_MODE = 0o1600
/** The guest neither sees nor sets attributes that begin so. */
export const OWN_XATTRS = 'user.caisson.'
export const DEVICE_XATTR = `${OWN_XATTRS}device`

/** Of a directory: some file in it may stand for a device node. */
export const MARK_XATTR = `${OWN_XATTRS}devices`

export interface DeviceNode {
  /** With its type. */
  readonly mode: number
  readonly rdev: number
}

/** Whether the file may stand for a device: then its attribute says so. */
export function mayStandIn(stat: HostStat): boolean {
  return stat.mode === (S_IFREG | STAND_IN_MODE) && stat.size === 0
}

/** As mknod(1) takes it, with the permissions behind: 'c 1 3 666'. */
export function encodeDevice({ mode, rdev }: DeviceNode): Uint8Array {
  const type = (mode & S_IFMT) === S_IFBLK ? 'b' : 'c'
  return toBytes(`${type} ${major(rdev)} ${minor(rdev)} ${(mode & 0o7777).toString(8)}`)
}

export function decodeDevice(value: Uint8Array): DeviceNode | undefined {
  const match = /^([bc]) (\d{1,4}) (\d{1,7}) ([0-7]{1,4})$/.exec(fromBytes(value))
  if (match === null) return undefined
  const [, type, majorText, minorText, permissions] = match
  const [high, low] = [Number(majorText), Number(minorText)]
  if (high >= 2 ** 12 || low >= 2 ** 20) return undefined
  const mode = (type === 'b' ? S_IFBLK : S_IFCHR) | Number.parseInt(permissions, 8)
  return { mode, rdev: makedev(high, low) }
}
