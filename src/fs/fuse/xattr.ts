/**
 * Extended attributes of FUSE nodes: all names are the server's to know. Access control lists go with the ids of who mounted it.
 */
import {
  ACL_USER,
  CAP_FSETID,
  FUSE_COMPAT_SETXATTR_IN_SIZE,
  FUSE_GETXATTR,
  FUSE_LISTXATTR,
  FUSE_REMOVEXATTR,
  FUSE_SETXATTR,
  FUSE_SETXATTR_ACL_KILL_SGID,
  XATTR_LIST_MAX,
  XATTR_SIZE_MAX,
} from '../../abi/constants.ts'
import { ENOSYS, EOPNOTSUPP } from '../../abi/errno.ts'
import { FUSE_GETXATTR_IN, FUSE_SETXATTR_IN } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import { fromKernelId, toKernelId } from '../../base/id-map.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { ACL_ACCESS, decodeAcl, encodeAcl, isAclName } from '../../vfs/acl.ts'
import { capableOver } from '../../vfs/permission.ts'
import { FuseInode } from './inode.ts'
import { type AnswerShape, type FuseRequest, NO_ANSWER } from './request.ts'
import { Message, withNames } from './wire.ts'

export function get(inode: FuseInode, name: string): OrErrno<Uint8Array> {
  if (isAclName(name) && inode.sb.acls === 'none') return -EOPNOTSUPP
  const answer = ask(inode, FUSE_GETXATTR, name, { min: 0, max: XATTR_SIZE_MAX }, () =>
    withNames(FUSE_GETXATTR_IN.size, name).u32(FUSE_GETXATTR_IN.length, XATTR_SIZE_MAX),
  )
  if (failed(answer)) return answer
  const value = bytesOf(answer)
  return isAclName(name) ? translated(inode, value, toKernelId) : value
}

export function set(inode: FuseInode, name: string, value: Uint8Array, flags: number): Status {
  const locked = FuseInode.lock(inode)
  if (locked < 0) return locked
  const list = isAclName(name)
  if (list && inode.sb.acls === 'none') return -EOPNOTSUPP
  const sent = list ? translated(inode, value, fromKernelId) : value
  if (failed(sent)) return sent
  const { setxattrFlags } = inode.connection
  const head = setxattrFlags ? FUSE_SETXATTR_IN.size : FUSE_COMPAT_SETXATTR_IN_SIZE
  const answer = ask(inode, FUSE_SETXATTR, `${name} ${flags}`, NO_ANSWER, () => {
    const message = new Message(head, name.length + 1 + sent.length)
      .u32(FUSE_SETXATTR_IN.length, sent.length)
      .u32(FUSE_SETXATTR_IN.flags, flags)
    if (setxattrFlags && name === ACL_ACCESS && losesSetgid(inode))
      message.u32(FUSE_SETXATTR_IN.setxattr_flags, FUSE_SETXATTR_ACL_KILL_SGID)
    return message.text(head, name).data(head + name.length + 1, sent)
  })
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

/** A list with ids as the other side has them. */
function translated(
  { connection: { userNs } }: FuseInode,
  value: Uint8Array,
  translate: typeof toKernelId,
): OrErrno<Uint8Array> {
  if (userNs.level === 0) return value
  const acl = decodeAcl(value, (_tag, id) => id)
  if (failed(acl)) return acl
  return encodeAcl(acl, (tag, id) => translate(tag === ACL_USER ? userNs.uidMap : userNs.gidMap, id))
}

/** Whether who sets a list may not keep the setgid bit, which the server then has to take away. */
function losesSetgid(inode: FuseInode): boolean {
  const { obeysAcls, kernel } = inode.connection
  const { cred } = kernel.current!
  return obeysAcls && !cred.inGroup(inode.gid) && !capableOver(cred, inode, CAP_FSETID)
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
