/** Extended attributes of FUSE nodes: all names are the server's to know. */
import {
  FUSE_COMPAT_SETXATTR_IN_SIZE,
  FUSE_GETXATTR,
  FUSE_LISTXATTR,
  FUSE_REMOVEXATTR,
  FUSE_SETXATTR,
  XATTR_LIST_MAX,
  XATTR_SIZE_MAX,
} from '../../abi/constants.ts'
import { ENOSYS, EOPNOTSUPP } from '../../abi/errno.ts'
import { FUSE_GETXATTR_IN } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { FuseInode } from './inode.ts'
import { type AnswerShape, type FuseRequest, NO_ANSWER } from './request.ts'
import { Message, withNames } from './wire.ts'

/** The old form of struct fuse_setxattr_in, which a server gets that has not asked for the other. */
const SETXATTR_IN = { length: 0, flags: 4 } as const

export function get(inode: FuseInode, name: string): OrErrno<Uint8Array> {
  const answer = ask(inode, FUSE_GETXATTR, name, { min: 0, max: XATTR_SIZE_MAX }, () =>
    withNames(FUSE_GETXATTR_IN.size, name).u32(FUSE_GETXATTR_IN.length, XATTR_SIZE_MAX),
  )
  return failed(answer) ? answer : bytesOf(answer)
}

export function set(inode: FuseInode, name: string, value: Uint8Array, flags: number): Status {
  const locked = FuseInode.lock(inode)
  if (locked < 0) return locked
  const head = FUSE_COMPAT_SETXATTR_IN_SIZE
  const answer = ask(inode, FUSE_SETXATTR, `${name} ${flags}`, NO_ANSWER, () =>
    new Message(head, name.length + 1 + value.length)
      .u32(SETXATTR_IN.length, value.length)
      .u32(SETXATTR_IN.flags, flags)
      .text(head, name)
      .data(head + name.length + 1, value),
  )
  if (failed(answer)) return answer
  inode.invalidate(false)
  return 0
}

export function list(inode: FuseInode): string[] | number {
  const answer = ask(inode, FUSE_LISTXATTR, 0, { min: 0, max: XATTR_LIST_MAX }, () =>
    new Message(FUSE_GETXATTR_IN.size).u32(FUSE_GETXATTR_IN.length, XATTR_LIST_MAX),
  )
  if (failed(answer)) return answer
  const names = fromBytes(bytesOf(answer)).split('\0')
  return names.filter(name => name !== '')
}

export function remove(inode: FuseInode, name: string): Status {
  const locked = FuseInode.lock(inode)
  if (locked < 0) return locked
  const answer = ask(inode, FUSE_REMOVEXATTR, name, NO_ANSWER, () => withNames(0, name))
  if (failed(answer)) return answer
  inode.invalidate(false)
  return 0
}

function ask(
  { connection, node }: FuseInode,
  opcode: number,
  key: string | number,
  shape: AnswerShape,
  make: () => Message,
): OrErrno<FuseRequest> {
  if (connection.missing.has(opcode)) return -EOPNOTSUPP
  const answer = connection.call(opcode, node, key, shape, make)
  if (answer !== -ENOSYS) return answer
  connection.missing.add(opcode)
  return -EOPNOTSUPP
}

function bytesOf({ reply }: FuseRequest): Uint8Array {
  return new Uint8Array(reply.buffer, reply.byteOffset, reply.byteLength)
}
