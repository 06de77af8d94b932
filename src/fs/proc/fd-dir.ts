/** /proc/PID/fd and fdinfo: proc_pid_fd(5), proc_pid_fdinfo(5). */
import { O_CLOEXEC } from '../../abi/constants.ts'
import { EACCES, ENOENT } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { pathToString } from '../../vfs/path-string.ts'
import { type DirNode, type DynamicEntries, dynamic, magic, type PseudoNode, ro } from '../pseudo/node.ts'
import { caller, mayTrace, mayTraceAtOpen } from './access.ts'

/** What an entry is about: a descriptor, as long as it refers to the same file. */
export class Descriptor {
  readonly task: Task
  readonly fd: number
  readonly file: File

  constructor(task: Task, fd: number, file: File) {
    this.task = task
    this.fd = fd
    this.file = file
  }

  get valid(): boolean {
    return !this.task.ended && this.task.fds.get(this.fd) === this.file
  }

  get info(): OrErrno<string> {
    const { task, fd, file } = this
    if (!this.valid) return -ENOENT
    const flags = file.flags | (task.fds.cloexec(fd) ? O_CLOEXEC : 0)
    return (
      `pos:\t${file.pos}\nflags:\t0${flags.toString(8)}\nmnt_id:\t${file.path.mount.id}\nino:\t${file.inode.ino}\n` +
      file.fdinfo()
    )
  }
}

/** Those of one file that were looked at. */
class KnownDescriptors {
  readonly #file: File
  readonly #byFd = new Map<number, Descriptor[]>()
  /** So many are looked through for those that are not there any more. */
  #sweepAt = 16

  constructor(file: File) {
    this.#file = file
  }

  get(task: Task, fd: number): Descriptor {
    const of = this.#byFd.get(fd) ?? []
    const known = of.find(each => each.task === task)
    if (known !== undefined) return known
    const descriptor = new Descriptor(task, fd, this.#file)
    this.#byFd.set(fd, [...of.filter(each => each.valid), descriptor])
    if (this.#byFd.size > this.#sweepAt) this.#sweep()
    return descriptor
  }

  #sweep(): void {
    for (const [fd, of] of this.#byFd) if (!of.some(each => each.valid)) this.#byFd.delete(fd)
    this.#sweepAt = Math.max(16, this.#byFd.size * 2)
  }
}

/** Leads to the file itself: to open it opens what it refers to anew, whatever became of the name. */
const linkNode = magic<Descriptor>(
  ({ task, file }) => pathToString(file.path, caller(task.kernel).fs.root),
  ({ task, file }) => (mayTrace(task) ? file.path : -EACCES),
  ({ file }) => (file.readable ? 0o500 : 0) | (file.writable ? 0o300 : 0),
  64,
)
const infoNode = ro<Descriptor>(
  descriptor => descriptor.info,
  0o400,
  descriptor => mayTraceAtOpen(descriptor.task),
)

/** Own threads may look in any case. */
export function fdDirectory(): DirNode<Task> {
  return dynamic(descriptors(linkNode), {
    mode: 0o500,
    permission: task => (caller(task.kernel).group === task.group ? 0 : undefined),
    size: task => (task.ended ? 0 : task.fds.count),
  })
}

export function fdInfoDirectory(): DirNode<Task> {
  return dynamic(descriptors(infoNode), { permission: task => (mayTrace(task) ? undefined : -EACCES) })
}

function descriptors(node: PseudoNode<Descriptor>): DynamicEntries<Task> {
  // A File may stand at several descriptors, in several processes.
  const known = new WeakMap<File, KnownDescriptors>()
  return {
    find(task, name) {
      const fd = parseNumber(name)
      const file = task.ended ? undefined : task.fds.get(fd)
      if (file === undefined) return undefined
      let of = known.get(file)
      if (of === undefined) {
        of = new KnownDescriptors(file)
        known.set(file, of)
      }
      return { subject: of.get(task, fd), node }
    },
    list: numbers,
  }
}

function* numbers(task: Task, from: number): Generator<[number, string], void, void> {
  const { fds } = task
  if (task.ended) return
  for (let fd = fds.next(Math.max(from, 0)); fd >= 0; fd = fds.next(fd + 1)) yield [fd, `${fd}`]
}

/** A descriptor number in canonical decimal, or -1. */
function parseNumber(name: string): number {
  return /^(0|[1-9][0-9]{0,9})$/.test(name) ? Number(name) : -1
}
