/** /proc/PID/map_files: a link for each mapping of a file, named after its range. */
import { CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN } from '../../abi/constants.ts'
import { EACCES, ENOENT, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { VM_READ, VM_WRITE, type Vma } from '../../mm/vma.ts'
import type { Path } from '../../vfs/path.ts'
import { pathToString } from '../../vfs/path-string.ts'
import { type DirNode, dynamic, magic } from '../pseudo/node.ts'
import { caller, mayTrace } from './access.ts'
import { hex } from './text.ts'

interface MappedFile {
  readonly task: Task
  readonly vma: Vma
  readonly name: string
}

const linkNode = magic<MappedFile>(
  mapped => {
    const path = pathOf(mapped)
    return typeof path === 'number' ? path : pathToString(path, caller(mapped.task.kernel).fs.root)
  },
  (mapped, cred) => follow(mapped, cred),
  ({ vma }) => ((vma.flags & VM_READ) !== 0 ? 0o400 : 0) | ((vma.flags & VM_WRITE) !== 0 ? 0o200 : 0),
  64,
)

function pathOf({ task, vma, name }: MappedFile): OrErrno<Path> {
  if (!mayTrace(task)) return -EACCES
  const there = !task.ended && task.mm.find(vma.start) === vma && nameOf(vma) === name
  return there && vma.file !== undefined ? vma.file.path : -ENOENT
}

/** The file itself, though its name may be out of the follower's reach. */
function follow(mapped: MappedFile, cred: Credentials): OrErrno<Path> {
  const { userNs } = mapped.task.kernel
  if (!cred.capable(CAP_SYS_ADMIN, userNs) && !cred.capable(CAP_CHECKPOINT_RESTORE, userNs)) return -EPERM
  return pathOf(mapped)
}

export function mapFilesDirectory(): DirNode<Task> {
  const known = new WeakMap<Vma, MappedFile>()
  return dynamic(
    {
      find(task, name) {
        const start = Number.parseInt(name, 16)
        const vma = task.ended || Number.isNaN(start) ? undefined : task.mm.find(start)
        if (vma?.file === undefined || nameOf(vma) !== name) return undefined
        let mapped = known.get(vma)
        if (mapped === undefined || mapped.name !== name || mapped.task !== task) {
          mapped = { task, vma, name }
          known.set(vma, mapped)
        }
        return { subject: mapped, node: linkNode }
      },
      list(task) {
        const found: [number, string][] = []
        if (task.ended) return found
        for (let vma = task.mm.vmas.first; vma !== undefined; vma = vma.next) {
          if (vma.file !== undefined) found.push([vma.start, nameOf(vma)])
        }
        return found
      },
    },
    { mode: 0o500, permission: task => (mayTrace(task) ? undefined : -EACCES) },
  )
}

function nameOf(vma: Vma): string {
  return `${hex(vma.start)}-${hex(vma.end)}`
}
