/** /proc/PID/fd and fdinfo: proc_pid_fd(5), proc_pid_fdinfo(5). */
import { O_CLOEXEC } from '../../abi/constants.ts'
import { EACCES, ENOENT } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { pathToString } from '../../vfs/path-string.ts'
import { type DirNode, type DynamicEntries, dynamic, type Found, magic, ro } from '../pseudo/node.ts'
import { caller, mayTrace, mayTraceAtOpen } from './access.ts'

/** A descriptor number in canonical decimal, or -1. */
function parseNumber(name: string): number {
  return /^(0|[1-9][0-9]{0,9})$/.test(name) ? Number(name) : -1
}

function numbers(task: Task): [number, string][] {
  if (task.ended) return []
  return [...task.fds.entries()].map(([fd]) => [fd, `${fd}`])
}

/** Leads to the file itself: to open it opens what it refers to anew, whatever became of the name. */
function descriptorLink(task: Task): ReturnType<typeof magic<File>> {
  return magic<File>(
    file => pathToString(file.path, caller(task.kernel).fs.root),
    file => (mayTrace(task) ? file.path : -EACCES),
    file => (file.readable ? 0o500 : 0) | (file.writable ? 0o300 : 0),
  )
}

/** Own threads may look; others need the right to trace. */
function permission(task: Task, _cred: Credentials): Status | undefined {
  return caller(task.kernel).group === task.group ? 0 : undefined
}

export function fdDirectory(): DirNode<Task> {
  const links = new WeakMap<Task, ReturnType<typeof descriptorLink>>()
  const linkOf = (task: Task) => {
    let node = links.get(task)
    if (node === undefined) {
      node = descriptorLink(task)
      links.set(task, node)
    }
    return node
  }
  const entries: DynamicEntries<Task> = {
    find(task, name) {
      const file = task.ended ? undefined : task.fds.get(parseNumber(name))
      return file === undefined ? undefined : { subject: file, node: linkOf(task) }
    },
    list: numbers,
  }
  return dynamic(entries, { mode: 0o500, permission })
}

/** What an fdinfo file is about: a descriptor, as long as it refers to the same file. */
class Descriptor {
  readonly task: Task
  readonly fd: number
  readonly file: File

  constructor(task: Task, fd: number, file: File) {
    this.task = task
    this.fd = fd
    this.file = file
  }

  get info(): string | number {
    const { task, fd, file } = this
    if (task.ended || task.fds.get(fd) !== file) return -ENOENT
    const flags = file.flags | (task.fds.cloexec(fd) ? O_CLOEXEC : 0)
    return (
      `pos:\t${file.pos}\nflags:\t0${flags.toString(8)}\nmnt_id:\t${file.path.mount.id}\nino:\t${file.inode.ino}\n` +
      file.fdinfo()
    )
  }
}

const infoNode = ro<Descriptor>(
  descriptor => descriptor.info,
  0o400,
  descriptor => mayTraceAtOpen(descriptor.task),
)

export function fdInfoDirectory(): DirNode<Task> {
  const known = new WeakMap<File, Descriptor[]>()
  const entries: DynamicEntries<Task> = {
    find(task, name): Found | undefined {
      const fd = parseNumber(name)
      const file = task.ended ? undefined : task.fds.get(fd)
      if (file === undefined) return undefined
      let descriptors = known.get(file)
      if (descriptors === undefined) {
        descriptors = []
        known.set(file, descriptors)
      }
      let descriptor = descriptors.find(each => each.task === task && each.fd === fd)
      if (descriptor === undefined) {
        descriptor = new Descriptor(task, fd, file)
        descriptors.push(descriptor)
      }
      return { subject: descriptor, node: infoNode }
    },
    list: numbers,
  }
  return dynamic(entries, { mode: 0o555, permission })
}
