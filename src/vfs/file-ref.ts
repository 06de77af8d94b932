/** The life of open file descriptions: who keeps a File beyond a call holds it by `fileGet` and ends with `filePut`. */

import { O_PATH } from '../abi/constants.ts'
import { ETXTBSY } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { File } from './file.ts'
import type { Inode } from './inode.ts'
import { dropFileLocks } from './locks.ts'
import { notifyClose } from './notify.ts'
import { dropPath } from './path.ts'

export function fileGet(file: File): File {
  file.refs++
  return file
}

/** Drops one reference; the last one closes the File: locks, release, and its hold on the path go. */
export function filePut(file: File): void {
  if (--file.refs > 0) return
  if (file.refs < 0) throw new Error(`file ${file.path.dentry.name} was put more often than got`)
  if (file.releaseHooks !== undefined) for (const hook of [...file.releaseHooks]) hook.fileReleased(file)
  if ((file.flags & O_PATH) === 0) {
    notifyClose(file)
    dropFileLocks(file)
    file.path.dentry.inode?.leases?.drop(file)
  }
  if (file.releaseHooks !== undefined) for (const hook of [...file.releaseHooks]) hook.fileReleased(file)
  file.release()
  if (file.countsAsWriter) {
    file.inode.writers--
    file.path.mount.writers--
  } else if (file.countsAsReader) file.inode.readers--
  dropPath(file.path)
}

/** execve: while a program runs nobody may write its file. -ETXTBSY when somebody has it open for that. */
export function denyWrite(inode: Inode): Status {
  if (inode.writers > 0) return -ETXTBSY
  inode.writers--
  return 0
}
export function allowWrite(inode: Inode): void {
  inode.writers++
}
