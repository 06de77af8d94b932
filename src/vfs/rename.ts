/** rename(2), renameat2(2). */
import { IN_ATTRIB, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV } from '../abi/errno.ts'
import { failed, type Status } from '../base/result.ts'
import { addDentry, type Dentry, exchangeDentries, forgetChildren, isBelow, moveDentry } from './dentry.ts'
import type { Inode } from './inode.ts'
import { notifyMove } from './notify.ts'
import { mayCreate } from './open.ts'
import { type Path, whileHeld } from './path.ts'
import { MAY_WRITE, mayDelete, permission, wantWrite } from './permission.ts'
import { restrictionOf } from './restriction.ts'
import { LAST_NORM, Walk, type WalkContext } from './walk.ts'

export function rename(
  ctx: WalkContext,
  oldStart: Path | undefined,
  oldName: string,
  newStart: Path | undefined,
  newName: string,
  flags: number,
): Status {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0) return -EINVAL
  const exchange = (flags & RENAME_EXCHANGE) !== 0
  if (exchange && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) !== 0) return -EINVAL
  if (oldName === '' || newName === '') return -ENOENT
  const from = new Walk(ctx, oldStart)
  const to = new Walk(ctx, newStart)
  let status = from.parent(oldName)
  if (status < 0) return status
  status = whileHeld(from.path, () => to.parent(newName))
  if (status < 0) return status
  if (from.mount !== to.mount) return -EXDEV
  if (from.lastType !== LAST_NORM) return -EBUSY
  if (to.lastType !== LAST_NORM) return (flags & RENAME_NOREPLACE) !== 0 ? -EEXIST : -EBUSY
  status = wantWrite(from.path)
  if (status < 0) return status

  const old = from.child(from.last)
  if (failed(old)) return old
  if (old.inode === undefined) return -ENOENT
  const target = to.child(to.last)
  if (failed(target)) return target
  if ((flags & RENAME_NOREPLACE) !== 0 && target.inode !== undefined) return -EEXIST
  if (exchange) {
    if (target.inode === undefined) return -ENOENT
    if (!target.inode.isDir && to.trailing) return -ENOTDIR
  }
  if (!old.inode.isDir && (from.trailing || (!exchange && to.trailing))) return -ENOTDIR
  // A directory can't go below itself, nor can a name be replaced by what is below it.
  if (from.dentry !== to.dentry) {
    if (isBelow(to.dentry, old)) return -EINVAL
    if (isBelow(from.dentry, target)) return exchange ? -EINVAL : -ENOTEMPTY
  }
  return move(ctx, from, old, to, target, flags)
}

/** vfs_rename. */
function move(ctx: WalkContext, from: Walk, old: Dentry, to: Walk, target: Dentry, flags: number): Status {
  const exchange = (flags & RENAME_EXCHANGE) !== 0
  const source = old.inode!
  const replaced = target.inode
  const restriction = restrictionOf(ctx.cred)
  let status = restriction?.mayRefer(from.path, old, to.path, target, true, exchange) ?? 0
  if (status < 0) return status
  if (source === replaced) return 0
  // Both are seen through one mount.
  const { cred } = from
  status = mayDelete(cred, from.inode, source)
  if (status < 0) return status
  status = replaced === undefined ? mayCreate(cred, to.inode) : mayDelete(cred, to.inode, replaced)
  if (status < 0) return status
  if (replaced !== undefined && !exchange) {
    if (source.isDir && !replaced.isDir) return -ENOTDIR
    if (!source.isDir && replaced.isDir) return -EISDIR
  }
  // '..' of a moved directory changes, so it must be writable itself.
  if (from.dentry !== to.dentry) {
    if (source.isDir) status = permission(cred, source, MAY_WRITE)
    if (status >= 0 && exchange && replaced!.isDir) status = permission(cred, replaced!, MAY_WRITE)
    if (status < 0) return status
  }
  if (old.mounted > 0 || target.mounted > 0) return -EBUSY

  const oldDir = from.inode
  const newDir = to.inode
  const oldName = old.name
  const newName = target.name
  status = oldDir.rename(oldName, source, newDir, newName, replaced, flags)
  if (status < 0) return status
  const cookie = ctx.mountNs.vfs.newCookie()
  if (exchange) exchangeDentries(old, target)
  else {
    if (replaced?.isDir) replaced.nlink = 0
    if (replaced !== undefined) forgetChildren(target)
    moveDentry(old, to.dentry, newName, target)
    if ((flags & RENAME_WHITEOUT) === 0 && from.dentry.sb.cachesMissing)
      addDentry(from.dentry, oldName, undefined)
  }
  notifyMove(oldDir, oldName, newDir, newName, source, cookie)
  if (exchange) notifyMove(newDir, newName, oldDir, oldName, replaced!, ctx.mountNs.vfs.newCookie())
  else if (replaced !== undefined) replacedGone(replaced)
  return 0
}

/** The inode whose name was taken over lost a link; if it was the last, its dentry has told already. */
function replacedGone(inode: Inode): void {
  if (inode.nlink > 0) inode.watches?.event(IN_ATTRIB, 0, undefined, true)
}
