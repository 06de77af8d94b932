/** A kernel on the fake platform, for unit tests: one process that runs a program and what it makes. */
import { Credentials } from '../base/credentials.ts'
import { failed } from '../base/result.ts'
import { Mm } from '../mm/mm.ts'
import { FakePlatform, fakeHost, type Program } from '../platform/fake.ts'
import { FdTable } from '../vfs/fd-table.ts'
import { Mount, MountNamespace } from '../vfs/mount.ts'
import { FsState } from '../vfs/path.ts'
import { adopt } from './init.ts'
import { Kernel, type SyscallTable } from './kernel.ts'
import { INIT_INUM } from './namespaces.ts'
import { returnToGuest } from './return-to-guest.ts'
import { defaultRlimits } from './rlimits.ts'
import { NO_RESULT, type Task } from './task.ts'

export interface TestKernel {
  readonly kernel: Kernel
  readonly platform: FakePlatform
  /** What the kernel logged. */
  readonly log: string[]
  /** Starts a process without a parent; the first one is process 1. */
  start(program: Program): Task
  /** Runs until all processes have ended: the first one's wait status. */
  run(): number
}

export function testKernel(syscalls: SyscallTable, protectInit = false): TestKernel {
  const platform = new FakePlatform()
  const log: string[] = []
  const put = (text: string): void => {
    log.push(text)
  }
  const kernel = new Kernel(platform, fakeHost(platform), {
    syscalls,
    log: { debug: put, info: put, warn: put, error: put },
  })
  const mount = new Mount(kernel.vfs, kernel.anonFs)
  const mounts = new MountNamespace(kernel.vfs, INIT_INUM.mnt, kernel.userNs, mount)
  const root = mounts.rootPath

  return {
    kernel,
    platform,
    log,
    start(program) {
      const thread = platform.newProcess()
      thread.start(program)
      const cred = new Credentials(kernel.userNs)
      cred.permitted = cred.effective = cred.bounding
      const request = {
        path: '/init',
        argv: [],
        envp: [],
        cred,
        protectInit,
        fs: new FsState(root, root, 0o022),
        fds: new FdTable(),
        ns: kernel.initialNamespaces(mounts.get()),
      }
      const mm = new Mm(thread.space, kernel.mmContext)
      const task = adopt(kernel, request, defaultRlimits(), { thread, mm, cred, comm: 'init' })
      if (failed(task)) throw new Error(`no process: ${task}`)
      kernel.init ??= task.group
      returnToGuest(task, NO_RESULT)
      return task
    },
    run: () => kernel.run(),
  }
}
