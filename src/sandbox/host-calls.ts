/**
 * The host system calls that the sentry may make once its jail is closed: the whole attack surface that the host's
 * kernel shows to it. Everything else ends the sandbox (SIGSYS). What stub processes may call is another, shorter
 * list: platform/systrap.
 *
 * Not here, on purpose: open and openat (paths go through openat2 below donated descriptors), execve, fork, socket,
 * connect, bind, accept, mount, ptrace, clone3 (its flags can't be looked at), kill. Host has some methods that nothing uses
 * yet; their calls come when something does: flock, fadvise, inotify.
 */
import {
  AF_UNIX,
  CLONE_THREAD,
  CLONE_VM,
  FIONREAD,
  PR_SET_NAME,
  PR_SET_VMA,
  SO_PASSCRED,
  SOL_SOCKET,
  TCFLSH,
  TCGETS,
  TCSBRK,
  TCSETS,
  TCSETSF,
  TCSETSW,
  TCXONC,
  TIOCGWINSZ,
  TIOCSWINSZ,
} from '../abi/constants.ts'
import { ENOENT, ENOSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { CallRule, Condition } from '../platform/seccomp-program.ts'
import { refuseWith } from '../platform/seccomp-program.ts'

interface HostCall extends CallRule {
  readonly why: string
}

/** The most frequent first: the filter tries them in this order. */
export const SENTRY_CALLS: readonly HostCall[] = [
  // Waiting and waking: the doorbell, watched descriptors, V8's and libuv's threads.
  { nr: NR.futex, why: 'locks of V8 and libuv; waking stubs' },
  { nr: NR.epoll_pwait, why: "libuv's loop" },
  {
    nr: NR.epoll_pwait2,
    why: 'the platform waits for stubs and watched descriptors, with deadlines in nanoseconds',
  },
  { nr: NR.epoll_ctl, why: 'Host.watch' },
  { nr: NR.poll, why: 'Host.poll' },
  { nr: NR.eventfd2, why: 'doorbells' },
  { nr: NR.clock_nanosleep, why: "V8's delayed tasks" },
  { nr: NR.sched_yield, why: "V8's spin locks" },
  { nr: NR.restart_syscall, why: 'a wait that was interrupted by a stop' },

  // Guest memory and stub processes.
  { nr: NR.process_vm_readv, why: 'guest memory that no thread of the guest can bring' },
  { nr: NR.process_vm_writev, why: 'the same, writing' },
  { nr: NR.sendmsg, why: 'descriptors for stubs, over sockets that exist' },
  { nr: NR.recvmsg, why: 'control connections and console descriptors from the launcher' },
  { nr: NR.socketpair, why: 'a channel for each new stub', when: [[is(0, AF_UNIX)]] },
  {
    nr: NR.setsockopt,
    why: 'the new stub tells its process id, vouched for by the host',
    when: [[is(1, SOL_SOCKET), is(2, SO_PASSCRED)]],
  },
  { nr: NR.memfd_create, why: "guest files in memory, stubs' slots" },
  { nr: NR.tgkill, why: 'kicks to stub threads' },
  { nr: NR.pidfd_open, why: 'a stub process that must not be mistaken for a later one' },
  { nr: NR.pidfd_send_signal, why: 'the same' },

  // Files below donated descriptors, and memfds.
  { nr: NR.read, why: 'standard input, eventfds, inotify' },
  { nr: NR.write, why: 'standard output, eventfds, log lines' },
  { nr: NR.pread64, why: 'Host.pread' },
  { nr: NR.pwrite64, why: 'Host.pwrite' },
  { nr: NR.writev, why: "V8's and the C library's messages" },
  { nr: NR.openat2, why: 'Host.openat2' },
  { nr: NR.close, why: 'Host.close' },
  { nr: NR.statx, why: 'Host.statx' },
  { nr: NR.fstatfs, why: 'Host.fstatfs' },
  { nr: NR.fstat, why: "node's look at the standard descriptors when it ends" },
  { nr: NR.lseek, why: 'Host.lseek' },
  { nr: NR.getdents64, why: 'Host.getdents' },
  { nr: NR.readlinkat, why: 'Host.readlinkat' },
  { nr: NR.fcntl, why: 'Host.fcntl and dup' },
  { nr: NR.fgetxattr, why: 'Host.fgetxattr' },
  { nr: NR.flistxattr, why: 'Host.flistxattr' },
  { nr: NR.ftruncate, why: 'sizes of memfds' },
  { nr: NR.fallocate, why: 'holes in memfds' },
  { nr: NR.copy_file_range, why: 'Host.copyFileRange' },
  { nr: NR.fsync, why: 'Host.fsync, which a file that is only read allows too' },
  { nr: NR.fdatasync, why: 'the same, fdatasync' },
  {
    nr: NR.ioctl,
    why: 'the terminal that the sandbox was given',
    when: [TCGETS, TCSETS, TCSETSW, TCSETSF, TCSBRK, TCXONC, TCFLSH, FIONREAD, TIOCGWINSZ, TIOCSWINSZ].map(
      request => [is(1, request)],
    ),
  },

  // The runtime's own life.
  { nr: NR.mmap, why: "V8's heap and code, slots" },
  { nr: NR.munmap, why: 'the same' },
  { nr: NR.mprotect, why: "V8's code pages" },
  { nr: NR.madvise, why: "V8's heap gives memory back" },
  { nr: NR.mremap, why: "the C library's realloc" },
  { nr: NR.brk, why: "the C library's malloc" },
  { nr: NR.rt_sigprocmask, why: 'thread start and end' },
  { nr: NR.rt_sigreturn, why: 'end of a signal handler' },
  {
    nr: NR.clone,
    why: 'threads of the runtime, not processes',
    when: [[has(0, CLONE_VM | CLONE_THREAD)]],
  },
  { nr: NR.set_robust_list, why: 'thread start' },
  { nr: NR.rseq, why: 'thread start' },
  { nr: NR.sched_setaffinity, why: 'the sentry leaves a CPU that a guest thread needs', when: [[is(0, 0)]] },
  { nr: NR.sched_getaffinity, why: "the bounds of a thread's stack" },
  { nr: NR.sched_getparam, why: "V8's thread priorities" },
  { nr: NR.sched_getscheduler, why: 'the same' },
  { nr: NR.prctl, why: 'names of threads and memory', when: [[is(0, PR_SET_NAME)], [is(0, PR_SET_VMA)]] },
  { nr: NR.getpid, why: "V8's and libuv's checks" },
  { nr: NR.gettid, why: 'the same' },
  { nr: NR.getrandom, why: 'Host.random, hash seeds' },
  { nr: NR.clock_gettime, why: 'process CPU time, which the vDSO leaves to the kernel' },
  { nr: NR.exit, why: 'end of a thread' },
  { nr: NR.exit_group, why: 'end of the sandbox' },
]

/** Added only where a donated mount may be written. */
export const WRITING_CALLS: readonly HostCall[] = [
  { nr: NR.mkdirat, why: 'Host.mkdirat' },
  { nr: NR.mknodat, why: 'Host.mknodat' },
  { nr: NR.symlinkat, why: 'Host.symlinkat' },
  { nr: NR.linkat, why: 'Host.linkat' },
  { nr: NR.unlinkat, why: 'Host.unlinkat' },
  { nr: NR.renameat2, why: 'Host.renameat2' },
  { nr: NR.fchmod, why: 'Host.fchmod' },
  { nr: NR.fchmodat, why: 'Host.fchmodat' },
  { nr: NR.fchmodat2, why: 'Host.fchmodat with flags' },
  { nr: NR.fchownat, why: 'Host.fchownat' },
  { nr: NR.utimensat, why: 'Host.utimensat' },
  { nr: NR.fsetxattr, why: 'Host.fsetxattr' },
  { nr: NR.fremovexattr, why: 'Host.fremovexattr' },
]

/** The C library tries these and does without: that is no reason to end the sandbox. */
export const REFUSED_CALLS = [
  { nr: NR.clone3, answer: refuseWith(ENOSYS), why: 'thread start; clone follows' },
  { nr: NR.openat, answer: refuseWith(ENOENT), why: "malloc's count of CPUs in /sys" },
]

function is(arg: number, value: number): Condition {
  return { arg, equals: value }
}
function has(arg: number, bits: number): Condition {
  return { arg, mask: bits, equals: bits }
}
