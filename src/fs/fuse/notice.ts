/** What a server tells, or wants to know, by itself: fuse_notify_code. */

import {
  FUSE_NOTIFY_DELETE,
  FUSE_NOTIFY_INVAL_ENTRY,
  FUSE_NOTIFY_INVAL_INODE,
  FUSE_NOTIFY_POLL,
  FUSE_NOTIFY_RETRIEVE,
  FUSE_NOTIFY_STORE,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOMEM, ENOTDIR } from '../../abi/errno.ts'
import {
  FUSE_NOTIFY_DELETE_OUT,
  FUSE_NOTIFY_INVAL_ENTRY_OUT,
  FUSE_NOTIFY_INVAL_INODE_OUT,
  FUSE_NOTIFY_POLL_WAKEUP_OUT,
  FUSE_NOTIFY_RETRIEVE_IN,
  FUSE_NOTIFY_RETRIEVE_OUT,
  FUSE_NOTIFY_STORE_OUT,
} from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { FuseConnection } from './connection.ts'
import { Message, readU64 } from './wire.ts'

/** No file has bytes beyond. */
const MAX_FILE_SIZE = 2 ** 53 - 1

export function takeNotice(connection: FuseConnection, code: number, body: DataView): Status {
  switch (code) {
    case FUSE_NOTIFY_POLL:
      return wakePoll(connection, body)
    case FUSE_NOTIFY_INVAL_INODE:
      return invalidateInode(connection, body)
    case FUSE_NOTIFY_INVAL_ENTRY:
      return invalidateEntry(connection, body, FUSE_NOTIFY_INVAL_ENTRY_OUT)
    case FUSE_NOTIFY_DELETE:
      return invalidateEntry(connection, body, FUSE_NOTIFY_DELETE_OUT)
    case FUSE_NOTIFY_STORE:
      return store(connection, body)
    case FUSE_NOTIFY_RETRIEVE:
      return retrieve(connection, body)
  }
  return -EINVAL
}

/** Of a file that nobody has open any more is nothing to tell. */
function wakePoll(connection: FuseConnection, body: DataView): Status {
  if (body.byteLength !== FUSE_NOTIFY_POLL_WAKEUP_OUT.size) return -EINVAL
  const poll = connection.polled.get(take64(body, FUSE_NOTIFY_POLL_WAKEUP_OUT.kh))
  poll?.changed()
  poll?.queue.wakeAll()
  return 0
}

/** Bytes of a file, for who will read them. */
function store(connection: FuseConnection, body: DataView): Status {
  const { size, nodeid, offset } = FUSE_NOTIFY_STORE_OUT
  if (body.byteLength < size) return -EINVAL
  const length = body.getUint32(FUSE_NOTIFY_STORE_OUT.size_, true)
  if (body.byteLength - size !== length) return -EINVAL
  const inode = connection.nodes.get(take64(body, nodeid))
  if (inode === undefined) return -ENOENT
  if (!inode.isRegular) return -EINVAL
  const at = take64(body, offset)
  if (at + length > MAX_FILE_SIZE) return -EINVAL
  const bytes = new Uint8Array(body.buffer, body.byteOffset + size, length)
  const { cred } = connection.kernel.current!
  inode.grown(at + length)
  return inode.pages.stored(bytes, at, cred)
}

/** The server is sent what is known of a file from some place on, which may be less than it asks for. */
function retrieve(connection: FuseConnection, body: DataView): Status {
  const layout = FUSE_NOTIFY_RETRIEVE_OUT
  if (body.byteLength !== layout.size) return -EINVAL
  const inode = connection.nodes.get(take64(body, layout.nodeid))
  if (inode === undefined) return -ENOENT
  if (connection.tooManyReplies) return -ENOMEM
  const offset = take64(body, layout.offset)
  const wanted = Math.min(body.getUint32(layout.size_, true), connection.writeSize)
  const end = Math.min(offset + wanted, inode.size)
  const length = Math.max(0, (inode.cache?.presentUntil(offset, end) ?? 0) - offset)
  const bytes = new Uint8Array(length)
  if (length > 0) inode.cache!.copy(bytes, offset)
  const head = FUSE_NOTIFY_RETRIEVE_IN.size
  const message = new Message(head, length)
    .number(FUSE_NOTIFY_RETRIEVE_IN.offset, offset)
    .u32(FUSE_NOTIFY_RETRIEVE_IN.size_, length)
    .data(head, bytes)
  connection.reply(inode.node, readU64(body, layout.notify_unique), message)
  return 0
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
