/**
 * signalfd(2): signals as records to read. It holds a mask and nothing else: what is read are the pending signals of
 * whoever reads, and whoever polls waits for its own.
 */
import { O_NONBLOCK, O_RDWR, POLLIN } from '../../abi/constants.ts'
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import { SIGINFO, SIGNALFD_SIGINFO as SSI } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { takeSignal } from '../../kernel/return-to-guest.ts'
import { layoutOf, type SigInfo, writeSigInfo } from '../../kernel/signal-info.ts'
import { KERNEL_ONLY } from '../../kernel/signal-set.ts'
import type { Task } from '../../kernel/task.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

export class SignalFdFile extends File {
  readonly #kernel: Kernel
  #lo = 0
  #hi = 0

  constructor(path: Path, flags: number, cred: Credentials, kernel: Kernel) {
    super(path, O_RDWR | (flags & O_NONBLOCK), cred)
    this.#kernel = kernel
  }

  /** Which signals it is about; SIGKILL and SIGSTOP never are. */
  setMask(lo: number, hi: number): void {
    this.#lo = lo & ~KERNEL_ONLY
    this.#hi = hi
    this.waitQueue?.wakeAll()
  }

  override get waitQueue(): WaitQueue | undefined {
    return this.#kernel.current?.group.handlers.queue
  }
  override poll(): number {
    const task = this.#kernel.current
    if (task === undefined) return 0
    const own = task.signals.pending.set
    const shared = task.group.pending.set
    const wanted = ((own.lo | shared.lo) & this.#lo) | ((own.hi | shared.hi) & this.#hi)
    return wanted !== 0 ? POLLIN : 0
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  override read(into: IoDst): number {
    if (into.remaining < SSI.size) return -EINVAL
    const task = this.#kernel.current!
    let done = 0
    while (into.remaining >= SSI.size) {
      const info = this.#next(task)
      if (info === undefined) break
      const n = into.put(encode(info))
      if (n < 0) return done > 0 ? done : n
      done += n
    }
    return done > 0 ? done : -EAGAIN
  }

  /** The next pending signal of the mask, own ones before the process's. */
  #next(task: Task): SigInfo | undefined {
    for (;;) {
      let queue = task.signals.pending
      let signo = queue.nextIn(this.#lo, this.#hi)
      if (signo === 0) {
        queue = task.group.pending
        signo = queue.nextIn(this.#lo, this.#hi)
        if (signo === 0) return undefined
      }
      const info = takeSignal(queue, signo)
      if (info !== undefined) return info
    }
  }

  override fdinfo(): string {
    const hex = (word: number) => (word >>> 0).toString(16).padStart(8, '0')
    return `sigmask:\t${hex(this.#hi)}${hex(this.#lo)}\n`
  }
}

/** struct signalfd_siginfo of a signal. */
function encode(info: SigInfo): Uint8Array {
  const raw = new DataView(new ArrayBuffer(SIGINFO.size))
  writeSigInfo(info, raw, 0)
  const out = new DataView(new ArrayBuffer(SSI.size))
  const code = raw.getInt32(SIGINFO.si_code, true)
  const copy32 = (to: number, from: number) => out.setUint32(to, raw.getUint32(from, true), true)
  const copy64 = (to: number, from: number) => {
    copy32(to, from)
    copy32(to + 4, from + 4)
  }
  copy32(SSI.ssi_signo, SIGINFO.si_signo)
  copy32(SSI.ssi_errno, SIGINFO.si_errno)
  copy32(SSI.ssi_code, SIGINFO.si_code)
  switch (layoutOf(info.signo, code)) {
    case 'kill':
      copy32(SSI.ssi_pid, SIGINFO.si_pid)
      copy32(SSI.ssi_uid, SIGINFO.si_uid)
      break
    case 'queue':
      copy32(SSI.ssi_pid, SIGINFO.si_pid)
      copy32(SSI.ssi_uid, SIGINFO.si_uid)
      copy32(SSI.ssi_int, SIGINFO.si_value)
      copy64(SSI.ssi_ptr, SIGINFO.si_value)
      break
    case 'timer':
      copy32(SSI.ssi_tid, SIGINFO.si_timerid)
      copy32(SSI.ssi_overrun, SIGINFO.si_overrun)
      copy32(SSI.ssi_int, SIGINFO.si_value)
      copy64(SSI.ssi_ptr, SIGINFO.si_value)
      break
    case 'poll':
      copy32(SSI.ssi_band, SIGINFO.si_band)
      copy32(SSI.ssi_fd, SIGINFO.si_fd)
      break
    case 'fault':
      copy64(SSI.ssi_addr, SIGINFO.si_addr)
      break
    case 'child':
      copy32(SSI.ssi_pid, SIGINFO.si_pid)
      copy32(SSI.ssi_uid, SIGINFO.si_uid)
      copy32(SSI.ssi_status, SIGINFO.si_status)
      copy64(SSI.ssi_utime, SIGINFO.si_utime)
      copy64(SSI.ssi_stime, SIGINFO.si_stime)
      break
    case 'sys':
      copy64(SSI.ssi_call_addr, SIGINFO.si_call_addr)
      copy32(SSI.ssi_syscall, SIGINFO.si_syscall)
      copy32(SSI.ssi_arch, SIGINFO.si_arch)
  }
  return new Uint8Array(out.buffer)
}
