/** The system as a whole: uname(2), sysinfo(2), getrandom(2), membarrier(2), kcmp(2), setns(2) and what is refused. */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_BOOT,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  GRND_INSECURE,
  GRND_NONBLOCK,
  GRND_RANDOM,
  KCMP_EPOLL_TFD,
  KCMP_FILE,
  KCMP_FILES,
  KCMP_FS,
  KCMP_IO,
  KCMP_SIGHAND,
  KCMP_SYSVSEM,
  KCMP_VM,
  LINUX_REBOOT_CMD_HALT,
  LINUX_REBOOT_CMD_POWER_OFF,
  LINUX_REBOOT_CMD_RESTART,
  LINUX_REBOOT_CMD_RESTART2,
  LINUX_REBOOT_MAGIC1,
  LINUX_REBOOT_MAGIC2,
  LINUX_REBOOT_MAGIC2A,
  LINUX_REBOOT_MAGIC2B,
  LINUX_REBOOT_MAGIC2C,
  SIGHUP,
  SIGINT,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, ENOENT, EPERM, ESRCH } from '../abi/errno.ts'
import { KCMP_EPOLL_SLOT, SYSINFO, UTSNAME } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { put64 } from '../base/words.ts'
import { EpollFile } from '../fs/epoll/epoll.ts'
import { PidFdFile } from '../fs/pidfd/pidfd.ts'
import { NsFile } from '../fs/proc/ns-file.ts'
import { NS_KINDS } from '../fs/proc/ns-kinds.ts'
import { mayInspect } from '../kernel/credentials.ts'
import { enterNamespaces, type NamespaceChoice } from '../kernel/namespace-enter.ts'
import { killGroup } from '../kernel/signal.ts'
import type { Task } from '../kernel/task.ts'
import { KERNEL_VERSION, kernelRelease } from '../kernel/version.ts'
import { type GuestAddr, MAX_RW_COUNT } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import {
  addr,
  bufferOut,
  enumOf,
  fd as fdArg,
  flags as flagsArg,
  hex,
  int,
  pid as pidArg,
  type SyscallRows,
  size,
  string,
  structOut,
  uint,
} from './args.ts'
import { fileOf } from './at.ts'

const NEW_UTS_LEN = 64
/** sysinfo's load averages have 16 bits behind the point. */
const LOAD_SHIFT = 65536

export function uname(task: Task, at: GuestAddr): number {
  const { hostname, domainname } = task.ns.uts
  const out = task.mm.out(UTSNAME.size)
  putText(out, UTSNAME.sysname, 'Linux')
  putText(out, UTSNAME.nodename, hostname)
  putText(out, UTSNAME.release, kernelRelease(task.kernel.host))
  putText(out, UTSNAME.version, KERNEL_VERSION)
  putText(out, UTSNAME.machine, 'x86_64')
  putText(out, UTSNAME.domainname, domainname)
  return task.mm.commit(at)
}

function putText(out: DataView, at: number, text: string): void {
  for (let i = 0; i < Math.min(text.length, NEW_UTS_LEN); i++) out.setUint8(at + i, text.charCodeAt(i))
}

export function sethostname(task: Task, at: GuestAddr, length: number): number {
  const name = readName(task, at, length)
  if (typeof name === 'number') return name
  task.ns.uts.hostname = name
  return 0
}

export function setdomainname(task: Task, at: GuestAddr, length: number): number {
  const name = readName(task, at, length)
  if (typeof name === 'number') return name
  task.ns.uts.domainname = name
  return 0
}

function readName(task: Task, at: GuestAddr, length: number): string | number {
  if (!task.cred.capable(CAP_SYS_ADMIN, task.ns.uts.userNs)) return -EPERM
  if (length < 0 || length > NEW_UTS_LEN) return -EINVAL
  const bytes = new Uint8Array(length)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  const end = bytes.indexOf(0)
  return String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)))
}

export function sysinfo(task: Task, at: GuestAddr): number {
  const { kernel } = task
  const memory = memoryOf(kernel.host.fact('proc/meminfo'))
  const out = task.mm.out(SYSINFO.size)
  put64(out, SYSINFO.uptime, Math.ceil((kernel.clock.boottime() + task.ns.time.boottimeOffset) / 1e9))
  const loads = kernel.host.fact('proc/loadavg').split(' ')
  for (let i = 0; i < 3; i++)
    put64(out, SYSINFO.loads + 8 * i, Math.round((Number(loads[i]) || 0) * LOAD_SHIFT))
  put64(out, SYSINFO.totalram, memory('MemTotal'))
  put64(out, SYSINFO.freeram, memory('MemFree'))
  put64(out, SYSINFO.sharedram, memory('Shmem'))
  put64(out, SYSINFO.bufferram, memory('Buffers'))
  put64(out, SYSINFO.totalswap, memory('SwapTotal'))
  put64(out, SYSINFO.freeswap, memory('SwapFree'))
  out.setUint16(SYSINFO.procs, kernel.liveTasks, true)
  out.setUint32(SYSINFO.mem_unit, 1, true)
  return task.mm.commit(at)
}

/** Bytes by the name of a line of meminfo. */
function memoryOf(text: string): (name: string) => number {
  return name => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)
    return found === null ? 0 : Number(found[1]) * 1024
  }
}

/** Some milliseconds. */
const RANDOM_SHARE = 256 << 10

export function getrandom(task: Task, at: GuestAddr, length: number, flags: number): number {
  if ((flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) !== 0) return -EINVAL
  if ((flags & (GRND_INSECURE | GRND_RANDOM)) === (GRND_INSECURE | GRND_RANDOM)) return -EINVAL
  const wanted = Math.min(length, MAX_RW_COUNT)
  const dst = task.mm.dst(at, wanted)
  let done = task.progress instanceof RandomProgress ? task.progress.done : 0
  if (done > 0) dst.skip(done)
  const share = Math.min(wanted, done + RANDOM_SHARE)
  while (done < share) {
    const window = dst.window(share - done)
    task.kernel.host.random(window)
    const status = dst.commit(window.length)
    if (status < 0) return done > 0 ? done : status
    done += window.length
  }
  if (done === wanted) return done
  task.progress = new RandomProgress(done)
  return task.yieldCall(done)
}

/** How far a getrandom that is not over has come. */
class RandomProgress {
  readonly done: number
  constructor(done: number) {
    this.done = done
  }
}

/** The guest's threads are the host's, in a process of their own: the host knows whom to interrupt. */
export function membarrier(task: Task, command: number, flags: number, cpu: number): number {
  return task.thread.hostCall(NR.membarrier, command, flags, cpu, 0, 0, 0)
}

/** A pid namespace below the first one ends, as if its machine did; the machine itself is not the guest's: EPERM. */
export function reboot(task: Task, magic1: number, magic2: number, command: number, _arg: GuestAddr): number {
  if (!task.cred.capable(CAP_SYS_BOOT, task.pidNs.userNs)) return -EPERM
  const second = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C]
  if (magic1 !== LINUX_REBOOT_MAGIC1 || !second.includes(magic2)) return -EINVAL
  const { init, level } = task.pidNs
  if (level === 0 || init === undefined) return -EPERM
  const restart = command === LINUX_REBOOT_CMD_RESTART || command === LINUX_REBOOT_CMD_RESTART2
  if (!restart && command !== LINUX_REBOOT_CMD_POWER_OFF && command !== LINUX_REBOOT_CMD_HALT) return -EINVAL
  // The parent outside learns by the signal which it was: pid_namespaces(7).
  killGroup(init, restart ? SIGHUP : SIGINT)
  return 0
}

/** 0 equal, 1 less, 2 greater, 3 unordered: the order is that of first comparison, kept for as long as both live. */
export function kcmp(
  task: Task,
  pid1: number,
  pid2: number,
  type: number,
  index1: number,
  index2: number,
): number {
  const a = task.pidNs.task(pid1)
  const b = task.pidNs.task(pid2)
  if (a === undefined || b === undefined) return -ESRCH
  if (!mayInspect(task, a, false) || !mayInspect(task, b, false)) return -EPERM
  switch (type) {
    case KCMP_FILE: {
      const file1 = a.fds.get(index1)
      const file2 = b.fds.get(index2)
      return file1 === undefined || file2 === undefined ? -EBADF : compare(task, file1, file2)
    }
    case KCMP_EPOLL_TFD:
      return compareWatched(task, a.fds.get(index1), b, index2)
    case KCMP_VM:
      return compare(task, a.mm, b.mm)
    case KCMP_FILES:
      return compare(task, a.fds, b.fds)
    case KCMP_FS:
      return compare(task, a.fs, b.fs)
    case KCMP_SIGHAND:
      return compare(task, a.group.handlers, b.group.handlers)
    case KCMP_IO:
      return compare(task, a, b)
    case KCMP_SYSVSEM:
      // Two tasks that have no list yet are equal.
      return a.semUndo === b.semUndo ? 0 : compare(task, a.semUndo ?? a, b.semUndo ?? b)
  }
  return -EINVAL
}

/** A file, and the one that an epoll of the other task watches: struct kcmp_epoll_slot. */
function compareWatched(task: Task, file: File | undefined, other: Task, slotAt: GuestAddr): number {
  const slot = task.mm.view(slotAt, KCMP_EPOLL_SLOT.size)
  if (slot === undefined) return -EFAULT
  const epollFd = slot.getUint32(KCMP_EPOLL_SLOT.efd, true)
  const fd = slot.getUint32(KCMP_EPOLL_SLOT.tfd, true)
  const nth = slot.getUint32(KCMP_EPOLL_SLOT.toff, true)
  const epoll = other.fds.get(epollFd)
  if (file === undefined || epoll === undefined) return -EBADF
  if (!(epoll instanceof EpollFile)) return -EINVAL
  const watched = epoll.watched(fd, nth)
  return watched === undefined ? -ENOENT : compare(task, file, watched)
}

function compare(task: Task, a: object, b: object): number {
  if (a === b) return 0
  const { kernel } = task
  return kernel.orderOf(a) < kernel.orderOf(b) ? 1 : 2
}

const NS_FLAGS =
  CLONE_NEWNS |
  CLONE_NEWUTS |
  CLONE_NEWIPC |
  CLONE_NEWNET |
  CLONE_NEWUSER |
  CLONE_NEWPID |
  CLONE_NEWCGROUP |
  CLONE_NEWTIME

/** setns(2): one namespace by its file, or several of a process by its pidfd. */
export function setns(task: Task, fd: number, type: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (file instanceof NsFile) {
    if (type !== 0 && NS_KINDS[file.kind] !== type) return -EINVAL
    return enterNamespaces(task, [{ kind: file.kind, ns: file.ns } as NamespaceChoice])
  }
  if (!(file instanceof PidFdFile)) return -EINVAL
  if (type === 0 || (type & ~NS_FLAGS) !== 0) return -EINVAL
  const target = file.task
  if (target === undefined || target.ended) return -ESRCH
  if (!mayInspect(task, target, false)) return -EPERM
  const { ns } = target
  const choices: NamespaceChoice[] = []
  if ((type & CLONE_NEWUSER) !== 0) choices.push({ kind: 'user', ns: target.cred.userNs })
  if ((type & CLONE_NEWNS) !== 0) choices.push({ kind: 'mnt', ns: ns.mnt })
  if ((type & CLONE_NEWUTS) !== 0) choices.push({ kind: 'uts', ns: ns.uts })
  if ((type & CLONE_NEWIPC) !== 0) choices.push({ kind: 'ipc', ns: ns.ipc })
  if ((type & CLONE_NEWPID) !== 0) choices.push({ kind: 'pid', ns: target.pidNs })
  if ((type & CLONE_NEWCGROUP) !== 0) choices.push({ kind: 'cgroup', ns: ns.cgroup })
  if ((type & CLONE_NEWNET) !== 0) choices.push({ kind: 'net', ns: ns.net })
  if ((type & CLONE_NEWTIME) !== 0) choices.push({ kind: 'time', ns: ns.time })
  return enterNamespaces(task, choices)
}

const randomFlags = flagsArg({ GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE })
const nsFlags = flagsArg({
  CLONE_NEWNS,
  CLONE_NEWUTS,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWUSER,
  CLONE_NEWPID,
  CLONE_NEWCGROUP,
  CLONE_NEWTIME,
})
const kcmpType = enumOf({
  KCMP_FILE,
  KCMP_VM,
  KCMP_FILES,
  KCMP_FS,
  KCMP_SIGHAND,
  KCMP_IO,
  KCMP_SYSVSEM,
  KCMP_EPOLL_TFD,
})

export const systemCalls = {
  uname: { nr: NR.uname, run: uname, args: [structOut(UTSNAME)] },
  sethostname: { nr: NR.sethostname, run: sethostname, args: [string, int] },
  setdomainname: { nr: NR.setdomainname, run: setdomainname, args: [string, int] },
  sysinfo: { nr: NR.sysinfo, run: sysinfo, args: [structOut(SYSINFO)] },
  getrandom: { nr: NR.getrandom, run: getrandom, args: [bufferOut(1), size, randomFlags] },
  membarrier: { nr: NR.membarrier, run: membarrier, args: [hex, hex, int] },
  reboot: {
    nr: NR.reboot,
    run: reboot,
    args: [hex, hex, hex, addr],
    partial: 'the machine itself: always refused',
  },
  kcmp: {
    nr: NR.kcmp,
    run: kcmp,
    args: [pidArg, pidArg, kcmpType, uint, addr],
  },
  setns: { nr: NR.setns, run: setns, args: [fdArg, nsFlags] },
} satisfies SyscallRows
