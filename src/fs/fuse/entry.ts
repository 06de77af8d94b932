/** The answer that tells of a node, struct fuse_entry_out: to LOOKUP, and to everything that makes a name. */

import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../../abi/constants.ts'
import { EIO } from '../../abi/errno.ts'
import { FUSE_ATTR, FUSE_ENTRY_OUT } from '../../abi/layout.ts'
import { take64 } from '../../base/words.ts'
import type { FuseConnection } from './connection.ts'
import { FuseDir } from './directory.ts'
import { FuseInode, nodeIdOf } from './inode.ts'
import type { AnswerShape } from './request.ts'
import type { FuseSuper } from './super.ts'
import { readU64, SIZE_LIMIT } from './wire.ts'

const { nodeid, generation, entry_valid, entry_valid_nsec, attr_valid, attr_valid_nsec, attr } =
  FUSE_ENTRY_OUT
/** Of nodes: fuse_valid_type. */
export const TYPES = [S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK]

/** The inode that an answer tells of, counted for who asked; none for 'there is no such name'. */
export function entryAnswer(sb: FuseSuper): AnswerShape {
  const take = (connection: FuseConnection, reply: DataView, version: number): FuseInode[] | number => {
    const inode = takeEntry(sb, connection, reply, version)
    return inode === undefined ? [] : typeof inode === 'number' ? inode : [inode]
  }
  return { min: FUSE_ENTRY_OUT.size, max: FUSE_ENTRY_OUT.size, take }
}

/** The inode with one more lookup, and held once for the caller; undefined for node 0. `version`: as of FuseInode.learn. */
export function takeEntry(
  sb: FuseSuper,
  connection: FuseConnection,
  reply: DataView,
  version: number,
): FuseInode | undefined | number {
  const id = nodeIdOf(reply)
  if (id === undefined) return -EIO
  if (id === 0) return undefined
  const node = readU64(reply, nodeid)
  const mode = reply.getUint32(attr + FUSE_ATTR.mode, true)
  const age = take64(reply, generation)
  if (!TYPES.includes(mode & S_IFMT) || take64(reply, attr + FUSE_ATTR.size_) >= SIZE_LIMIT) {
    connection.forget(node, 1)
    return -EIO
  }
  let inode = connection.nodes.get(id)
  // Another file under an old number: who has the old one open keeps it.
  if (inode === undefined || inode.generation !== age || (inode.mode & S_IFMT) !== (mode & S_IFMT)) {
    inode =
      (mode & S_IFMT) === S_IFDIR ? new FuseDir(sb, node, age, mode) : new FuseInode(sb, node, age, mode)
    connection.nodes.set(id, inode)
  }
  inode.get()
  inode.lookups++
  inode.nameValid(take64(reply, entry_valid), reply.getUint32(entry_valid_nsec, true))
  inode.learn(reply, attr, take64(reply, attr_valid), reply.getUint32(attr_valid_nsec, true), version)
  return inode
}
