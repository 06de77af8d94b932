/**
 * File handles: name_to_handle_at(2), open_by_handle_at(2).
 *
 * An inode gets its handle, a number of its super block's, when somebody asks for one. From then on the dentry cache keeps it
 * as long as it has a name, so that the handle leads back to it; it ends with the inode's last name. Since anybody may ask for
 * any number of handles, each super block remembers a limited number: the handle that was asked for first is then stale.
 */
import { Dentry } from './dentry.ts'
import type { Inode } from './inode.ts'

const MAX_HANDLES = 16384
/** FILEID_INO32_GEN: an inode number and its generation, of 32 bits each. */
export const HANDLE_TYPE = 1
export const HANDLE_BYTES = 8

interface Exported {
  readonly inode: Inode
  /** By which it was found last. */
  dentry: Dentry | undefined
}

export class HandleTable {
  readonly #byNumber = new Map<number, Exported>()
  #last = 0

  /** `dentry`: a name of it, if one is known. */
  numberOf(inode: Inode, dentry: Dentry | undefined): number {
    const known = this.#byNumber.get(inode.handle)
    if (known !== undefined) {
      known.dentry = dentry ?? known.dentry
      return inode.handle
    }
    if (this.#byNumber.size >= MAX_HANDLES) {
      for (const oldest of this.#byNumber.values()) {
        this.forget(oldest.inode)
        break
      }
    }
    inode.handle = ++this.#last
    this.#byNumber.set(inode.handle, { inode, dentry })
    return inode.handle
  }

  /** A dentry of the inode, not held; undefined when the handle is stale. */
  find(handle: number): Dentry | undefined {
    const exported = this.#byNumber.get(handle)
    if (exported === undefined || exported.inode.getattr() < 0 || exported.inode.nlink === 0) return undefined
    const { dentry, inode } = exported
    if (dentry?.inode === inode && !dentry.unhashed) return dentry
    // Another name of it is left, nobody knows where: it stands for itself.
    const alone = new Dentry('/', undefined, inode, inode.sb)
    alone.unhashed = true
    return alone
  }

  forget(inode: Inode): void {
    this.#byNumber.delete(inode.handle)
    inode.handle = 0
  }
}

/** The number of its handle, a new one if it has none. */
export function handleOf(inode: Inode, dentry?: Dentry): number {
  const { sb } = inode
  sb.handles ??= new HandleTable()
  return sb.handles.numberOf(inode, dentry)
}

/** f_handle: the number, and how often numbers came round, which is never. */
export function encodeHandle(out: DataView, at: number, handle: number): void {
  out.setUint32(at, handle, true)
  out.setUint32(at + 4, 0, true)
}
