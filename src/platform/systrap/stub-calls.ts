/**
 * What guest processes can ask of the host's kernel: this list, and nothing else. It holds for the addresses of the
 * stub; from everywhere else each call traps to the sentry. A guest can jump to any instruction of the stub with any
 * registers, so a check stands here or nowhere.
 */
import {
  CLONE_CHILD_CLEARTID,
  CLONE_CHILD_SETTID,
  CLONE_FILES,
  CLONE_FS,
  CLONE_PARENT,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VM,
  FUTEX_CMP_REQUEUE,
  FUTEX_REQUEUE,
  FUTEX_WAIT,
  FUTEX_WAIT_BITSET,
  FUTEX_WAKE,
  FUTEX_WAKE_BITSET,
  FUTEX_WAKE_OP,
  PR_SET_MM,
  PR_SET_MM_MAP,
  PR_SET_NAME,
  RUSAGE_SELF,
  RUSAGE_THREAD,
  SIGCHLD,
} from '../../abi/constants.ts'
import { PRCTL_MM_MAP } from '../../abi/layout.ts'
import { FD_EVENT, FD_SOCKET, STUB_TEXT, STUB_TEXT_SIZE } from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { assembleFilter, type CallRule, SECCOMP_TRAP } from '../seccomp-program.ts'

const THREAD_FLAGS =
  CLONE_VM |
  CLONE_FS |
  CLONE_FILES |
  CLONE_SIGHAND |
  CLONE_THREAD |
  CLONE_SYSVSEM |
  CLONE_CHILD_CLEARTID |
  CLONE_CHILD_SETTID
const FORK_FLAGS = CLONE_PARENT | SIGCHLD
const FUTEX_COMMANDS = [
  FUTEX_WAIT,
  FUTEX_WAKE,
  FUTEX_REQUEUE,
  FUTEX_CMP_REQUEUE,
  FUTEX_WAKE_OP,
  FUTEX_WAIT_BITSET,
  FUTEX_WAKE_BITSET,
]
const socket = { arg: 0, equals: FD_SOCKET }

interface StubCall extends CallRule {
  readonly name: string
  readonly why: string
}

export const STUB_CALLS: readonly StubCall[] = [
  {
    nr: NR.futex,
    name: 'futex',
    why: 'sleep until the sentry replies; guest futexes without the PI operations',
    when: FUTEX_COMMANDS.map(command => [{ arg: 1, mask: 0x7f, equals: command }]),
  },
  { nr: NR.futex_waitv, name: 'futex_waitv', why: 'waits of the guest’s' },
  { nr: NR.sched_yield, name: 'sched_yield', why: 'while it spins: the sentry may need this CPU' },
  {
    nr: NR.write,
    name: 'write',
    why: 'wake a sleeping sentry: eight bytes to the eventfd; a byte over the socket proves whose a new process is',
    when: [
      [
        { arg: 0, equals: FD_EVENT },
        { arg: 2, equals: 8 },
      ],
      [socket, { arg: 2, equals: 1 }],
    ],
  },
  {
    nr: NR.rt_sigreturn,
    name: 'rt_sigreturn',
    why: 'leave the signal handler that SIGSYS entered; the signal stack and mask of a new thread',
  },
  { nr: NR.mmap, name: 'mmap', why: 'guest memory; files only by descriptors that the sentry passed' },
  { nr: NR.munmap, name: 'munmap', why: 'guest memory' },
  { nr: NR.mprotect, name: 'mprotect', why: 'guest memory' },
  { nr: NR.mremap, name: 'mremap', why: 'guest memory' },
  { nr: NR.madvise, name: 'madvise', why: 'guest memory' },
  { nr: NR.mincore, name: 'mincore', why: 'residency of guest memory' },
  { nr: NR.mlock2, name: 'mlock2', why: 'guest memory, within the host limit' },
  { nr: NR.munlock, name: 'munlock', why: 'undo mlock2' },
  { nr: NR.recvmsg, name: 'recvmsg', why: 'receive descriptors to map', when: [[socket]] },
  { nr: NR.close, name: 'close', why: 'drop a received descriptor' },
  {
    nr: NR.preadv,
    name: 'preadv',
    why: 'large file reads straight into guest memory, on a passed descriptor',
  },
  { nr: NR.pwritev, name: 'pwritev', why: 'large file writes, on a passed descriptor' },
  {
    nr: NR.clone,
    name: 'clone',
    why: 'a guest thread, or a forked guest process; no namespaces, no other flags',
    when: [[{ arg: 0, equals: THREAD_FLAGS }], [{ arg: 0, equals: FORK_FLAGS }]],
  },
  {
    nr: NR.dup3,
    name: 'dup3',
    why: 'a forked child takes its own socket',
    when: [[{ arg: 1, equals: FD_SOCKET }]],
  },
  {
    nr: NR.clock_gettime,
    name: 'clock_gettime',
    why: 'CPU time of the thread for the sentry; the time now for the deadline of a futex wait',
    when: [[{ arg: 0, equals: 3 }], [{ arg: 0, equals: 1 }]],
  },
  {
    nr: NR.getrusage,
    name: 'getrusage',
    why: 'the most memory that the process had, faults and times of it and of the thread, for the sentry',
    when: [[{ arg: 0, equals: RUSAGE_SELF }], [{ arg: 0, equals: RUSAGE_THREAD }]],
  },
  { nr: NR.membarrier, name: 'membarrier', why: 'the guest’s membarrier(2) is about host threads' },
  {
    nr: NR.prctl,
    name: 'prctl',
    why: 'the guest’s name and arguments for the host’s ps: only shown; the map’s exe_fd needs a capability',
    when: [
      [{ arg: 0, equals: PR_SET_NAME }],
      [
        { arg: 0, equals: PR_SET_MM },
        { arg: 1, equals: PR_SET_MM_MAP },
        { arg: 3, equals: PRCTL_MM_MAP.size },
        { arg: 4, equals: 0 },
      ],
    ],
  },
  {
    nr: NR.rseq,
    name: 'rseq',
    why: 'the host keeps the guest’s area right: only it knows which CPU a thread is on',
  },
  { nr: NR.exit, name: 'exit', why: 'end a guest thread' },
]

/** The seccomp program of every stub process. */
export function stubFilter(): Uint8Array {
  return assembleFilter(STUB_CALLS, SECCOMP_TRAP, [], { from: STUB_TEXT, to: STUB_TEXT + STUB_TEXT_SIZE })
}
