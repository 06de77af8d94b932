/**
 * The host system calls that the sentry may make once its jail is closed: the whole attack surface that the host's
 * kernel shows to it. Everything else ends the sandbox, with a line that names the call. What stub processes may call is
 * another, shorter list: platform/systrap; the internet sockets of --network=host are a third: network-calls.ts.
 *
 * Not here, on purpose: open and openat (paths go through openat2 below donated descriptors), execve, fork, clone (the
 * runtime has started its threads by then), socket, connect, bind, accept, mount, ptrace, kill, rt_sigaction.
 */
import {
  AF_UNIX,
  F_ADD_SEALS,
  F_DUPFD_CLOEXEC,
  F_GETFL,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_SETFL,
  FIONREAD,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SIGKILL,
  SO_PASSCRED,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
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
import { EBADF, EINTR, EINVAL, ENOENT, ENOMEM, ENOSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { ChmodWay } from '../platform/linux-host.ts'
import type { CallRule, Condition } from '../platform/seccomp-program.ts'
import { refuseWith } from '../platform/seccomp-program.ts'

export interface HostCall extends CallRule {
  readonly why: string
}

/** What the list depends on. */
export interface HostCallNeeds {
  /** Files of the host may be changed. */
  readonly writable: boolean
  readonly chmod: ChmodWay
  /** The sentry's inotify instance, -1 without one. */
  readonly inotify: number
}

export function hostCalls(needs: HostCallNeeds): readonly HostCall[] {
  const calls = [...SENTRY_CALLS]
  if (needs.inotify >= 0) calls.push(...inotifyCalls(needs.inotify))
  if (needs.writable) calls.push(...WRITING_CALLS, CHMOD_CALLS[needs.chmod])
  return calls
}

/** The most frequent first: the filter tries them in this order. */
const SENTRY_CALLS: readonly HostCall[] = [
  // Waiting and waking: the doorbell, watched descriptors, V8's and libuv's threads.
  { nr: NR.futex, why: 'locks of V8 and libuv; waking stubs; the thread that reads ahead of a link' },
  { nr: NR.epoll_pwait, why: "libuv's loop; the platform waits for stubs and watched descriptors" },
  { nr: NR.ppoll, why: 'the same for less than a millisecond, or for one stub; Host.poll' },
  { nr: NR.epoll_ctl, why: 'Host.watch' },
  { nr: NR.sched_yield, why: 'the platform waits where there is one CPU' },

  // Guest memory and stub processes.
  { nr: NR.process_vm_readv, why: 'guest memory that no thread of the guest can bring' },
  { nr: NR.process_vm_writev, why: 'the same, writing' },
  {
    nr: NR.sendmsg,
    why: 'descriptors for stubs, over sockets that exist; no flag that connects one (MSG_FASTOPEN)',
    when: [[onlyBits(2, MSG_DONTWAIT | MSG_NOSIGNAL)]],
  },
  { nr: NR.recvmsg, why: 'control connections and console descriptors from the launcher' },
  {
    nr: NR.socketpair,
    why: 'a channel for each new stub, of a type that can be connected to nobody else',
    when: [[is(0, AF_UNIX), is(1, SOCK_SEQPACKET | SOCK_CLOEXEC)]],
  },
  {
    nr: NR.setsockopt,
    why: 'the new stub tells its process id, vouched for by the host',
    when: [[is(1, SOL_SOCKET), is(2, SO_PASSCRED)]],
  },
  {
    nr: NR.memfd_create,
    why: "guest files in memory, stubs' slots",
    when: [[onlyBits(1, MFD_CLOEXEC | MFD_ALLOW_SEALING)]],
  },
  { nr: NR.tgkill, why: 'kicks to stub threads; whether a thread is one, before its affinity is set' },
  { nr: NR.pidfd_open, why: 'a stub process that must not be mistaken for a later one' },
  { nr: NR.pidfd_send_signal, why: 'its end', when: [[is(1, SIGKILL)]] },

  // Files below donated descriptors, and memfds.
  { nr: NR.pread64, why: 'Host.pread' },
  { nr: NR.pwrite64, why: 'Host.pwrite' },
  { nr: NR.read, why: 'standard input, eventfds, inotify' },
  { nr: NR.write, why: 'standard output, eventfds, log lines' },
  { nr: NR.openat2, why: 'Host.openat2' },
  { nr: NR.close, why: 'Host.close' },
  { nr: NR.statx, why: 'Host.statx' },
  { nr: NR.fstatfs, why: 'Host.fstatfs' },
  { nr: NR.lseek, why: 'Host.lseek: holes, the start of a directory' },
  { nr: NR.getdents64, why: 'Host.getdents' },
  { nr: NR.readlinkat, why: 'Host.readlinkat' },
  {
    nr: NR.fcntl,
    why: 'Host.dup, flags and locks of open files, seals of memfds',
    when: [[{ arg: 1, equals: [F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, F_OFD_SETLK, F_OFD_GETLK, F_ADD_SEALS] }]],
  },
  { nr: NR.flock, why: 'Host.flock: locks of volumes hold between sandboxes, and with the host' },
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
    when: [
      [
        {
          arg: 1,
          equals: [
            TCGETS,
            TCSETS,
            TCSETSW,
            TCSETSF,
            TCSBRK,
            TCXONC,
            TCFLSH,
            FIONREAD,
            TIOCGWINSZ,
            TIOCSWINSZ,
          ],
        },
      ],
    ],
  },

  // The runtime's own life.
  { nr: NR.mmap, why: "V8's heap and code, slots" },
  { nr: NR.munmap, why: 'the same' },
  { nr: NR.mprotect, why: "V8's code pages" },
  { nr: NR.madvise, why: "V8's heap gives memory back" },
  { nr: NR.brk, why: "the C library's malloc" },
  { nr: NR.rt_sigreturn, why: 'end of a signal handler' },
  { nr: NR.sched_setaffinity, why: 'affinities of guest threads; the sentry leaves a CPU that one needs' },
  { nr: NR.gettid, why: "owners of V8's locks" },
  { nr: NR.getrandom, why: 'Host.random, hash seeds' },
  { nr: NR.clock_gettime, why: 'process CPU time, which the vDSO leaves to the kernel' },
  { nr: NR.exit_group, why: 'end of the sandbox' },
]

function inotifyCalls(fd: number): HostCall[] {
  return [
    { nr: NR.inotify_add_watch, why: 'HostChanges: what others do to shared trees', when: [[is(0, fd)]] },
    { nr: NR.inotify_rm_watch, why: 'the same', when: [[is(0, fd)]] },
  ]
}

/** Added only where a donated mount may be written. */
const WRITING_CALLS: readonly HostCall[] = [
  { nr: NR.mkdirat, why: 'Host.mkdirat' },
  { nr: NR.mknodat, why: 'Host.mknodat' },
  { nr: NR.symlinkat, why: 'Host.symlinkat' },
  { nr: NR.linkat, why: 'Host.linkat' },
  { nr: NR.unlinkat, why: 'Host.unlinkat' },
  { nr: NR.renameat2, why: 'Host.renameat2' },
  { nr: NR.fchownat, why: 'Host.fchownat' },
  { nr: NR.utimensat, why: 'Host.utimensat' },
  { nr: NR.fsetxattr, why: 'Host.fsetxattr' },
  { nr: NR.fremovexattr, why: 'Host.fremovexattr' },
]
/** One of them, by what the host has. */
const CHMOD_CALLS: Readonly<Record<ChmodWay, HostCall>> = {
  fchmodat2: { nr: NR.fchmodat2, why: 'Host.fchmod, Host.fchmodat' },
  fchmodat: { nr: NR.fchmodat, why: 'the same, by the name that /proc gives a descriptor' },
  fchmod: { nr: NR.fchmod, why: 'Host.fchmod' },
}

/**
 * Node.js, V8 and the C library try these and do well without: with an errno, or with what the call would have told them
 * (0: an ordinary scheduling policy, a sleep that is over).
 */
export const REFUSED_CALLS: readonly {
  readonly nr: number
  readonly answer: number
  readonly why: string
}[] = [
  { nr: NR.getpid, answer: refuseWith(0), why: "V8's notes of its collections" },
  { nr: NR.sched_getparam, answer: refuseWith(0), why: "how long V8's locks spin" },
  { nr: NR.sched_getscheduler, answer: refuseWith(0), why: 'the same' },
  { nr: NR.clock_nanosleep, answer: refuseWith(0), why: 'the same: they wait by futex afterwards' },
  { nr: NR.sched_getaffinity, answer: refuseWith(ENOSYS), why: "the bounds of a thread's stack" },
  { nr: NR.rt_sigprocmask, answer: refuseWith(ENOSYS), why: 'end of a thread' },
  { nr: NR.openat, answer: refuseWith(ENOENT), why: "malloc's count of CPUs in /sys" },
  { nr: NR.mremap, answer: refuseWith(ENOMEM), why: 'realloc, which then copies' },
  { nr: NR.fstat, answer: refuseWith(EBADF), why: 'buffers of the standard output' },
  { nr: NR.writev, answer: refuseWith(EBADF), why: "the C library's last words" },
  { nr: NR.restart_syscall, answer: refuseWith(EINTR), why: 'a wait that was interrupted by a stop' },
  { nr: NR.prctl, answer: refuseWith(EINVAL), why: 'names of threads and memory' },
]

function is(arg: number, value: number): Condition {
  return { arg, equals: value }
}
function onlyBits(arg: number, bits: number): Condition {
  return { arg, mask: ~bits >>> 0, equals: 0 }
}
