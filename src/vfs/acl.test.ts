/** POSIX access control lists, without a file system: an inode that keeps its extended attributes in a map. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ACL_GROUP,
  ACL_GROUP_OBJ,
  ACL_MASK,
  ACL_OTHER,
  ACL_USER,
  ACL_USER_OBJ,
  S_IFDIR,
  S_IFREG,
} from '../abi/constants.ts'
import { EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { Credentials, UserNamespace } from '../base/credentials.ts'
import {
  ACL_ACCESS,
  ACL_DEFAULT,
  type Acl,
  aclAfterChmod,
  aclOf,
  aclPermission,
  decodeAcl,
  encodeAcl,
  inheritedAcl,
  setAcl,
} from './acl.ts'
import { type AttrChange, Inode } from './inode.ts'
import { MAY_EXEC, MAY_READ, MAY_WRITE } from './permission.ts'
import type { SuperBlock } from './super-block.ts'

class MapInode extends Inode {
  readonly #values = new Map<string, Uint8Array>()

  override get aclHolder(): Inode {
    return this
  }
  override getxattr(name: string): Uint8Array | number {
    return this.#values.get(name) ?? -ENODATA
  }
  override setxattr(name: string, value: Uint8Array): number {
    this.#values.set(name, value)
    return 0
  }
  override removexattr(name: string): number {
    return this.#values.delete(name) ? 0 : -ENODATA
  }
  override setattr(change: AttrChange): number {
    if (change.mode !== undefined) this.mode = this.type | change.mode
    return 0
  }
}

const NO_ID = 0xffffffff
const entry = (tag: number, perm: number, id = NO_ID) => ({ tag, perm, id })
const same = (_tag: number, id: number) => id

function inode(type: number, mode: number, uid = 1, gid = 100): MapInode {
  return new MapInode({ acls: 'ours' } as SuperBlock, 1, type | mode, uid, gid)
}
function person(uid: number, gid: number, groups: number[] = []): Credentials {
  const cred = new Credentials(new UserNamespace(undefined, 0, 0, 1))
  cred.fsuid = cred.uid = cred.euid = uid
  cred.fsgid = cred.gid = gid
  cred.groups = groups
  return cred
}

const LIST: Acl = [
  entry(ACL_USER_OBJ, 7),
  entry(ACL_USER, 7, 10),
  entry(ACL_GROUP_OBJ, 4),
  entry(ACL_GROUP, 2, 200),
  entry(ACL_MASK, 6),
  entry(ACL_OTHER, 1),
]

test('a list is read as it was written', () => {
  assert.deepEqual(decodeAcl(encodeAcl(LIST, same), same), LIST)
  assert.deepEqual(decodeAcl(new Uint8Array(0), same), [])
  assert.equal(decodeAcl(new Uint8Array(3), same), -EINVAL)
  assert.equal(decodeAcl(Uint8Array.of(1, 0, 0, 0), same), -EOPNOTSUPP)
})

test('who is named by a list may do what it says, as far as the mask goes', () => {
  const file = inode(S_IFREG, 0o600)
  assert.equal(setAcl(person(1, 1), file, ACL_ACCESS, LIST), 0)
  assert.equal(file.mode & 0o777, 0o761)
  const asks = (cred: Credentials, want: number) => aclPermission(cred, file, want)
  assert.equal(asks(person(10, 1), MAY_READ | MAY_WRITE), 0)
  assert.equal(asks(person(10, 1), MAY_EXEC), -EACCES)
  assert.equal(asks(person(11, 100), MAY_READ), 0)
  assert.equal(asks(person(11, 100), MAY_WRITE), -EACCES)
  assert.equal(asks(person(11, 1, [200]), MAY_WRITE), 0)
  assert.equal(asks(person(11, 100, [200]), MAY_READ | MAY_WRITE), -EACCES, 'no one entry allows both')
  assert.equal(asks(person(11, 1), MAY_EXEC), 0)
  assert.equal(asks(person(11, 1), MAY_READ), -EACCES)
})

test('a list that names nobody is the mode alone, and goes', () => {
  const file = inode(S_IFREG, 0o600)
  setAcl(person(1, 1), file, ACL_ACCESS, LIST)
  const plain = [entry(ACL_USER_OBJ, 6), entry(ACL_GROUP_OBJ, 4), entry(ACL_OTHER, 0)]
  assert.equal(setAcl(person(1, 1), file, ACL_ACCESS, plain), 0)
  assert.equal(aclOf(file, ACL_ACCESS), undefined)
  assert.equal(file.mode & 0o777, 0o640)
})

test('a list that is out of order, or has no mask, is refused, and so is one by a stranger', () => {
  const file = inode(S_IFREG, 0o600)
  const [user, named, group, , mask, other] = LIST
  assert.equal(setAcl(person(1, 1), file, ACL_ACCESS, [group, user, other]), -EINVAL)
  assert.equal(setAcl(person(1, 1), file, ACL_ACCESS, [user, named, group, other]), -EINVAL)
  assert.equal(setAcl(person(1, 1), file, ACL_ACCESS, [user, group, mask]), -EINVAL)
  assert.equal(setAcl(person(2, 1), file, ACL_ACCESS, [user, group, other]), -EPERM)
  assert.equal(setAcl(person(1, 1), file, ACL_DEFAULT, [user, group, other]), -EACCES)
})

test('a long list is obeyed, and not kept', () => {
  const file = inode(S_IFREG, 0o600)
  const users = Array.from({ length: 100 }, (_, i) => entry(ACL_USER, i % 2 === 0 ? 4 : 0, 10 + i))
  setAcl(person(1, 1), file, ACL_ACCESS, [LIST[0], ...users, ...LIST.slice(2)])
  assert.equal(aclPermission(person(108, 1), file, MAY_READ), 0)
  assert.equal(aclPermission(person(109, 1), file, MAY_READ), -EACCES)
  assert.equal(file.acls?.access, undefined)
  setAcl(person(1, 1), file, ACL_ACCESS, LIST)
  assert.equal(aclPermission(person(10, 1), file, MAY_READ), 0)
  assert.deepEqual(file.acls?.access, LIST)
})

test('chmod changes the mask where there is one', () => {
  const file = inode(S_IFREG, 0o600)
  setAcl(person(1, 1), file, ACL_ACCESS, LIST)
  file.mode = S_IFREG | 0o740
  assert.equal(aclAfterChmod(file), 0)
  const acl = aclOf(file, ACL_ACCESS) as Acl
  assert.equal(acl.find(each => each.tag === ACL_MASK)?.perm, 4)
  assert.equal(acl.find(each => each.tag === ACL_GROUP_OBJ)?.perm, 4)
  assert.equal(acl.find(each => each.tag === ACL_OTHER)?.perm, 0)
})

test('a directory hands its default list down, cut to the mode that was asked for', () => {
  const dir = inode(S_IFDIR, 0o755)
  assert.equal(inheritedAcl(dir, S_IFREG | 0o666), undefined)
  assert.equal(setAcl(person(1, 1), dir, ACL_DEFAULT, LIST), 0)
  assert.equal(dir.mode & 0o777, 0o755)
  const inherited = inheritedAcl(dir, S_IFREG | 0o640)!
  assert.equal(inherited.mode & 0o777, 0o640)
  assert.equal(inherited.access.find(each => each.tag === ACL_MASK)?.perm, 4)
  assert.deepEqual(inherited.default, LIST)
})
