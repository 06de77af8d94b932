/**
 * Pseudo files as data. A tree of generated files (proc, sysfs) is written down as objects whose keys are the names:
 *
 *     export const pidFiles: PseudoDir<Task> = {
 *       comm: rw(t => `${t.comm}\n`, (t, text) => t.setComm(text)),
 *       limits: ro(formatLimits),
 *       task: dir(dynamic(threads)),
 *       exe: magic(exeTarget),
 *     }
 *
 * The subject (here the Task) is what a directory is about; it is handed down to the files in it, and a dynamic
 * directory gives each entry a subject of its own. inode.ts makes inodes of it, file.ts the open files.
 */
import type { Changes } from '../../base/changes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

/** A text that may be long, piece by piece: what it tells of may change while it is being read. */
export type PseudoText = Generator<string, void, void>

/** A file whose text is made at the first read; reading from offset 0 again makes it anew. */
export interface FileNode<T> {
  readonly kind: 'file'
  readonly mode: number
  readonly read?: (subject: T, cred: Credentials) => OrErrno<string | PseudoText>
  /** One write(2), whole: 0 means that all was taken. `cred`: of who writes. */
  readonly write?: (subject: T, text: string, cred: Credentials) => Status
  /** The owner's mode bits bind root too (sysctls). */
  readonly strict?: boolean
  /** Who besides root has the owner's mode bits then. */
  readonly managedBy?: (cred: Credentials) => boolean
  /** Asked at open(2), where Linux looks at permissions of its own. */
  readonly mayOpen?: (subject: T, cred: Credentials, flags: number) => Status
  /** Of a file whose changes are told: poll(2) gives POLLPRI, inotify(7) IN_MODIFY (kernfs_notify). */
  readonly changes?: (subject: T) => Changes
  /** Poll(2) tells of each change once, of those since the file was opened; otherwise until the file is read. */
  readonly tellsOnce?: boolean
}

/** Opened by a function of its own (/proc/PID/mem). */
export interface CustomNode<T> {
  readonly kind: 'custom'
  /** With the type bits; a regular file without. */
  readonly mode: number
  readonly rdev?: (subject: T) => number
  readonly open: (subject: T, path: Path, flags: number, cred: Credentials) => OrErrno<File>
}

export interface DirNode<T> {
  readonly kind: 'dir'
  /** Undefined: as the file system's directories are. */
  readonly mode: number | undefined
  readonly fixed: PseudoDir<T>
  readonly dynamic: DynamicEntries<T> | undefined
  /** What stat(2) shows; 0 if absent. */
  readonly size?: (subject: T) => number
  /** As Inode.permission: undefined leaves it to the mode bits. */
  readonly permission?: (subject: T, cred: Credentials, mask: number) => Status | undefined
  /** Which of the fixed entries there are now; all if absent. */
  readonly visible?: (subject: T, name: string) => boolean
  /** mkdir(2) and rmdir(2) in it, where they work; and how many directories are among its dynamic entries. */
  readonly mkdir?: (subject: T, name: string, cred: Credentials) => OrErrno<Found>
  readonly rmdir?: (subject: T, name: string) => Status
  readonly directories?: (subject: T) => number
}

/** A symbolic link with a text. */
export interface LinkNode<T> {
  readonly kind: 'link'
  readonly mode: number
  readonly target: (subject: T) => OrErrno<string>
}

/** A link that leads to an object, not to a name. */
export interface MagicNode<T> {
  readonly kind: 'magic'
  readonly mode: (subject: T) => number
  /** What readlink(2) shows. */
  readonly text: (subject: T) => OrErrno<string>
  readonly follow: (subject: T, cred: Credentials) => OrErrno<Path>
  readonly size: number
}

export type PseudoNode<T> = FileNode<T> | CustomNode<T> | DirNode<T> | LinkNode<T> | MagicNode<T>
export type PseudoDir<T> = { readonly [name: string]: PseudoNode<T> }

/** What a dynamic directory found: the entry's node and what it is about. */
export interface Found {
  /** Entries with the same subject below one directory share an inode; it lives as long as the subject. */
  readonly subject: object
  // biome-ignore lint/suspicious/noExplicitAny: the node's type is that of `subject`
  readonly node: PseudoNode<any>
}

/** Entries that come and go. */
export interface DynamicEntries<T> {
  find(subject: T, name: string): Found | undefined
  /**
   * Names and their keys: whole numbers that ascend and stay the same while the entry exists. Nobody asks for those below
   * `from`, which may be left out.
   */
  list(subject: T, from: number): Iterable<[key: number, name: string]>
}

/** Read only. */
export function ro<T>(
  read: FileNode<T>['read'],
  mode = 0o444,
  mayOpen?: FileNode<T>['mayOpen'],
): FileNode<T> {
  return { kind: 'file', mode, read, mayOpen }
}
export function rw<T>(
  read: FileNode<T>['read'],
  write: FileNode<T>['write'],
  mode = 0o644,
  mayOpen?: FileNode<T>['mayOpen'],
): FileNode<T> {
  return { kind: 'file', mode, read, write, mayOpen }
}
/** Write only. */
export function wo<T>(write: FileNode<T>['write'], mode = 0o200): FileNode<T> {
  return { kind: 'file', mode, write }
}
/** A file that always has the same text; a newline is added. */
export function fixed<T>(text: string, mode = 0o444): FileNode<T> {
  return { kind: 'file', mode, read: () => `${text}\n` }
}
export function custom<T>(open: CustomNode<T>['open'], mode: number): CustomNode<T> {
  return { kind: 'custom', mode, open }
}
export function dir<T>(entries: PseudoDir<T>, options: Partial<DirNode<T>> = {}): DirNode<T> {
  return { kind: 'dir', mode: undefined, fixed: entries, dynamic: undefined, ...options }
}
/** A directory of entries that come and go, and perhaps some that stay. */
export function dynamic<T>(entries: DynamicEntries<T>, options: Partial<DirNode<T>> = {}): DirNode<T> {
  return { kind: 'dir', mode: undefined, fixed: {}, dynamic: entries, ...options }
}
export function link<T>(target: string | ((subject: T) => OrErrno<string>)): LinkNode<T> {
  return { kind: 'link', mode: 0o777, target: typeof target === 'string' ? () => target : target }
}
export function magic<T>(
  text: MagicNode<T>['text'],
  follow: MagicNode<T>['follow'],
  mode: (subject: T) => number = () => 0o777,
  size = 0,
): MagicNode<T> {
  return { kind: 'magic', mode, text, follow, size }
}

/** The same tree with the owner's mode bits binding everybody, root too. */
export function strict<T>(entries: PseudoDir<T>): PseudoDir<T> {
  const out: Record<string, PseudoNode<T>> = {}
  for (const [name, node] of Object.entries(entries)) {
    if (node.kind === 'dir') out[name] = { ...node, fixed: strict(node.fixed) }
    else out[name] = node.kind === 'file' ? { ...node, strict: true } : node
  }
  return out
}
