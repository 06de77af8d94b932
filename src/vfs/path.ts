/** A place in the tree: a dentry seen through a mount. */
import { type Dentry, dropDentry, holdDentry } from './dentry.ts'
import type { Mount } from './mount.ts'

export interface Path {
  readonly mount: Mount
  readonly dentry: Dentry
}

/** What path walks of a process start from: fs_struct. Shared with CLONE_FS. */
export interface FsContext {
  root: Path
  cwd: Path
  umask: number
}

export function samePath(a: Path, b: Path): boolean {
  return a.dentry === b.dentry && a.mount === b.mount
}

/** path_get: whoever keeps a Path beyond the call that found it holds it. */
export function holdPath(path: Path): Path {
  holdDentry(path.dentry)
  path.mount.refs++
  return path
}

/** path_put. */
export function dropPath(path: Path): void {
  dropDentry(path.dentry)
  path.mount.drop()
}

/** The place stays while `use` walks elsewhere: the cache may forget what nobody holds. */
export function whileHeld<T>(path: Path, use: () => T): T {
  holdPath(path)
  const result = use()
  dropPath(path)
  return result
}

/** fs_struct of a task: the FsContext that holds its two places. Made by `copyFs`, shared by counting `users`. */
export class FsState implements FsContext {
  #root: Path
  #cwd: Path
  umask: number
  /** Tasks that share it. */
  users = 1

  constructor(root: Path, cwd: Path, umask: number) {
    this.#root = holdPath(root)
    this.#cwd = holdPath(cwd)
    this.umask = umask
  }

  get root(): Path {
    return this.#root
  }
  set root(path: Path) {
    const old = this.#root
    this.#root = holdPath(path)
    dropPath(old)
  }
  get cwd(): Path {
    return this.#cwd
  }
  set cwd(path: Path) {
    const old = this.#cwd
    this.#cwd = holdPath(path)
    dropPath(old)
  }

  /** clone without CLONE_FS. */
  clone(): FsState {
    return new FsState(this.#root, this.#cwd, this.umask)
  }
  /** clone with CLONE_FS. */
  share(): FsState {
    this.users++
    return this
  }
  /** A task that used it is gone. */
  put(): void {
    if (--this.users > 0) return
    dropPath(this.#root)
    dropPath(this.#cwd)
  }
}
