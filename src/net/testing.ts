/** A kernel's worth of objects for unit tests of Files and sockets, without platform or guest. Not used elsewhere. */
import { EFAULT } from '../abi/errno.ts'
import { Timespec } from '../base/clock.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { NetNamespace } from '../kernel/namespaces.ts'
import { PidNamespace } from '../kernel/pid.ts'
import { defaultRlimits } from '../kernel/rlimits.ts'
import type { Task } from '../kernel/task.ts'
import { Timers } from '../kernel/timers.ts'
import { UserAccounts } from '../kernel/user-account.ts'
import { AnonFs } from '../vfs/anon.ts'
import { FdTable } from '../vfs/fd-table.ts'
import { Vfs } from '../vfs/vfs.ts'

export class TestWorld {
  /** Monotonic ns; moved by tests. */
  time = 1e9
  readonly clock = {
    monotonic: () => this.time,
    boottime: () => this.time,
    realtime: () => new Timespec(1_700_000_000 + Math.floor(this.time / 1e9), this.time % 1e9),
  }
  readonly timers = new Timers()
  readonly vfs = new Vfs(this.clock)
  readonly anonFs = new AnonFs(this.vfs)
  readonly userNs = new UserNamespace(undefined, 0, 0, 1)
  readonly pidNs = new PidNamespace(undefined, this.userNs, 2)
  readonly net = new NetNamespace(this.userNs, 3)
  readonly users = new UserAccounts()
  readonly cred = new Credentials(this.userNs)
  readonly kernel = {
    clock: this.clock,
    timers: this.timers,
    vfs: this.vfs,
    anonFs: this.anonFs,
    users: this.users,
    pidNs: this.pidNs,
    current: undefined as Task | undefined,
    now: () => this.time,
  }

  /** A task as far as Files and sockets look at one: the caller of what follows. */
  task(uid = 0): Task {
    const cred = this.cred.clone()
    cred.uid = cred.euid = cred.suid = cred.fsuid = uid
    if (uid === 0) cred.effective = CapabilitySet.ALL
    const pid = this.pidNs.allocate()
    if (typeof pid === 'number') throw new Error('no pid')
    const group = { pid, tgid: pid.numbers[0], rlimits: defaultRlimits() }
    const task = {
      kernel: this.kernel,
      group,
      pid,
      pidNs: this.pidNs,
      cred,
      ns: { net: this.net },
      fds: new FdTable(),
      // There is no memory.
      mm: { copyIn: () => -EFAULT, copyOut: () => -EFAULT, u32: () => undefined },
    } as unknown as Task
    this.kernel.current = task
    return task
  }
}
