/** The events of containers, as containerd names them. */
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import type { Container } from './container.ts'
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from './generated/containerd/events/task_pb.ts'
import type { Publisher } from './publisher.ts'
import type { RootfsMount } from './rootfs.ts'
import type { TaskProcess } from './task-process.ts'

export class ContainerEvents {
  readonly #publisher: Pick<Publisher, 'publish'>

  constructor(publisher: Pick<Publisher, 'publish'>) {
    this.#publisher = publisher
  }

  created({ id, bundle, init }: Container, rootfs: readonly RootfsMount[]): void {
    this.#publisher.publish('/tasks/create', TaskCreateSchema, {
      containerId: id,
      bundle,
      rootfs: rootfs.map(mount => ({ ...mount, options: [...mount.options] })),
      io: init.paths,
      pid: init.pid,
    })
  }

  started({ id, init }: Container): void {
    this.#publisher.publish('/tasks/start', TaskStartSchema, { containerId: id, pid: init.pid })
  }

  execAdded({ id }: Container, { execId }: TaskProcess): void {
    this.#publisher.publish('/tasks/exec-added', TaskExecAddedSchema, { containerId: id, execId })
  }

  execStarted({ id }: Container, { execId, pid }: TaskProcess): void {
    this.#publisher.publish('/tasks/exec-started', TaskExecStartedSchema, { containerId: id, execId, pid })
  }

  exited({ id }: Container, process: TaskProcess): void {
    const { execId, pid, exitStatus } = process
    this.#publisher.publish('/tasks/exit', TaskExitSchema, {
      containerId: id,
      id: execId === '' ? id : execId,
      pid,
      exitStatus,
      exitedAt: exitTime(process),
    })
  }

  deleted({ id, init }: Container): void {
    const { pid, exitStatus } = init
    this.#publisher.publish('/tasks/delete', TaskDeleteSchema, {
      containerId: id,
      pid,
      exitStatus,
      exitedAt: exitTime(init),
    })
  }

  outOfMemory({ id }: Container): void {
    this.#publisher.publish('/tasks/oom', TaskOOMSchema, { containerId: id })
  }

  paused({ id }: Container): void {
    this.#publisher.publish('/tasks/paused', TaskPausedSchema, { containerId: id })
  }

  resumed({ id }: Container): void {
    this.#publisher.publish('/tasks/resumed', TaskResumedSchema, { containerId: id })
  }
}

/** Undefined before it. */
export function exitTime({ exitedAt }: TaskProcess) {
  return exitedAt === undefined ? undefined : timestampFromDate(exitedAt)
}
