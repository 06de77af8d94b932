/** What a server tells by itself: fuse_notify_code. What it says of caches is all that there is to say here. */

import {
  FUSE_NOTIFY_DELETE,
  FUSE_NOTIFY_INVAL_ENTRY,
  FUSE_NOTIFY_INVAL_INODE,
  FUSE_NOTIFY_POLL,
  FUSE_NOTIFY_RETRIEVE,
  FUSE_NOTIFY_STORE,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOTDIR, EOPNOTSUPP } from '../../abi/errno.ts'
import {
  FUSE_NOTIFY_DELETE_OUT,
  FUSE_NOTIFY_INVAL_ENTRY_OUT,
  FUSE_NOTIFY_INVAL_INODE_OUT,
} from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { FuseConnection } from './connection.ts'

export function takeNotice(connection: FuseConnection, code: number, body: DataView): Status {
  switch (code) {
    case FUSE_NOTIFY_POLL:
      // Nobody was promised a wake-up.
      return 0
    case FUSE_NOTIFY_INVAL_INODE:
      return invalidateInode(connection, body)
    case FUSE_NOTIFY_INVAL_ENTRY:
      return invalidateEntry(connection, body, FUSE_NOTIFY_INVAL_ENTRY_OUT)
    case FUSE_NOTIFY_DELETE:
      return invalidateEntry(connection, body, FUSE_NOTIFY_DELETE_OUT)
    case FUSE_NOTIFY_STORE:
    case FUSE_NOTIFY_RETRIEVE:
      return -EOPNOTSUPP
  }
  return -EINVAL
}

function invalidateInode(connection: FuseConnection, body: DataView): Status {
  const { size, ino, off } = FUSE_NOTIFY_INVAL_INODE_OUT
  if (body.byteLength !== size) return -EINVAL
  const inode = connection.nodes.get(take64(body, ino))
  if (inode === undefined) return -ENOENT
  // A negative offset: the attributes only.
  inode.invalidate(body.getInt32(off + 4, true) >= 0)
  return 0
}

function invalidateEntry(
  connection: FuseConnection,
  body: DataView,
  layout: { readonly size: number; readonly parent: number; readonly namelen: number },
): Status {
  if (body.byteLength < layout.size) return -EINVAL
  const length = body.getUint32(layout.namelen, true)
  if (body.byteLength !== layout.size + length + 1) return -EINVAL
  const dir = connection.nodes.get(take64(body, layout.parent))
  if (dir === undefined) return -ENOENT
  if (!dir.isDir) return -ENOTDIR
  dir.invalidate(false)
  dir.invalidateEntries()
  return 0
}
