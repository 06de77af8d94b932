import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import * as constants from './constants.ts'
import * as errno from './errno.ts'
import * as layout from './layout.ts'
import { NR, SYSCALL_NAMES } from './syscall-numbers.ts'

const GENERATOR = join(import.meta.dirname, '../../scripts/generate-abi.ts')
const noCompiler =
  process.arch === 'x64' && spawnSync('cc', ['--version']).status === 0
    ? false
    : 'there is no cc for x86-64 on this machine'

/** Runs the generator in a scratch directory, which `check` then looks at. */
function generate(args: string[], check: (directory: string) => void, protocol = ''): void {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-abi-test-'))
  try {
    writeFileSync(join(directory, 'protocol.h'), protocol)
    const command = [GENERATOR, '--out', directory, '--protocol', join(directory, 'protocol.h'), ...args]
    execFileSync(process.execPath, ['--experimental-strip-types', ...command])
    check(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('abi: constants have the values of x86-64 Linux', () => {
  const known: [keyof typeof constants, number][] = [
    ['O_LARGEFILE', 0x8000],
    ['O_CLOEXEC', 0o2000000],
    ['O_TMPFILE', 0o20200000],
    ['AT_FDCWD', -100],
    ['AT_SYSINFO_EHDR', 33],
    ['S_IFMT', 0o170000],
    ['MAP_FIXED_NOREPLACE', 0x100000],
    ['SA_RESTORER', 0x04000000],
    ['SA_RESETHAND', 0x80000000],
    ['SIGRTMIN', 32],
    ['SIGRTMAX', 64],
    ['FUTEX_WAITERS', 0x80000000],
    ['EPOLLET', 0x80000000],
    ['TIOCGPTN', 0x80045430],
    ['NCCS', 19],
    ['VMIN', 6],
    ['SOL_SOCKET', 1],
    ['SO_PEERCRED', 17],
    ['TMPFS_MAGIC', 0x01021994],
    ['EM_X86_64', 62],
    ['PR_SET_NAME', 15],
    ['CAP_SYS_ADMIN', 21],
    ['__WALL', 0x40000000],
    ['RLIM_INFINITY', Number.POSITIVE_INFINITY],
  ]
  const values: Readonly<Record<string, number>> = { ...constants }
  for (const [name, value] of known) assert.equal(values[name], value, name)
})

test('abi: every constant is a number, and the only one that is not a safe integer is RLIM_INFINITY', () => {
  const odd = Object.entries(constants).filter(([, value]) => !Number.isInteger(value))
  assert.deepEqual(odd, [['RLIM_INFINITY', Number.POSITIVE_INFINITY]])
})

test('abi: errno numbers and their names', () => {
  assert.equal(errno.ENOSYS, 38)
  assert.equal(errno.EWOULDBLOCK, errno.EAGAIN)
  assert.equal(errno.ENOTSUP, errno.EOPNOTSUPP)
  assert.equal(errno.ERESTART_RESTARTBLOCK, 516)
  assert.equal(errno.errnoName(11), 'EAGAIN')
  assert.equal(errno.errnoName(95), 'EOPNOTSUPP')
  assert.equal(errno.errnoName(9999), 'ERRNO_9999')
})

test('abi: system call numbers run to 470 with one gap', () => {
  assert.deepEqual([NR.read, NR.openat, NR.rseq, NR.clone3, NR.mseal], [0, 257, 334, 435, 462])
  assert.equal(SYSCALL_NAMES.length, 471)
  for (const [nr, name] of SYSCALL_NAMES.entries()) {
    assert.equal(name === undefined, nr >= 336 && nr <= 423, `${nr}`)
    if (name !== undefined) assert.equal(NR[name as keyof typeof NR], nr)
  }
})

test('abi: struct layouts are the kernel ones', () => {
  const sizes: [keyof typeof layout, number][] = [
    ['STAT', 144],
    ['STATX', 256],
    ['STATFS', 120],
    ['TERMIOS', 36],
    ['SIGACTION', 32],
    ['SIGINFO', 128],
    ['EPOLL_EVENT', 12],
    ['MSGHDR', 56],
    ['CMSGHDR', 16],
    ['CLONE_ARGS', 88],
    ['RSEQ', 32],
    ['TCP_INFO', 248],
  ]
  const structs: Readonly<Record<string, { size: number }>> = { ...layout }
  for (const [name, size] of sizes) assert.equal(structs[name]?.size, size, name)
  assert.equal(layout.DIRENT64.d_name, 19)
  assert.equal(layout.UCONTEXT.rip, 168)
  assert.equal(layout.UCONTEXT.uc_sigmask, 296)
  assert.equal(layout.SIGINFO.si_addr, 16)
})

test('abi: the generator reproduces the committed errno and system call files', { skip: noCompiler }, () => {
  generate(['--only', 'errno,syscall-numbers'], directory => {
    for (const name of ['errno.ts', 'syscall-numbers.ts']) {
      const committed = readFileSync(join(import.meta.dirname, name), 'utf8')
      assert.equal(readFileSync(join(directory, name), 'utf8'), committed, name)
    }
  })
})

test('abi: the generator reads defines and structs out of a protocol header', { skip: noCompiler }, () => {
  const header = `
    #ifndef CAISSON_PROTOCOL_H
    #define CAISSON_PROTOCOL_H
    #include <stdatomic.h>
    #include <stdint.h>
    #define CAISSON_SLOTS 64 /* of a queue */
    #define CAISSON_BYTES (CAISSON_SLOTS * sizeof(struct caisson_slot))
    #define CAISSON_TITLE "not a number"
    #define CAISSON_MASK (1u << 31)
    struct caisson_slot {
      _Atomic uint32_t state; // who owns it
      uint32_t kind, flags;
      struct { uint64_t args[6]; };
      _Alignas(64) uint64_t size;
    };
    struct caisson_queue { uint16_t head; struct caisson_slot slots[CAISSON_SLOTS]; } __attribute__((aligned(64)));
    #endif
  `
  const check = (directory: string): void => {
    const body = readFileSync(join(directory, 'protocol.ts'), 'utf8').replace(/^\/\/.*\n/gm, '')
    assert.equal(
      body,
      `
export const SLOTS = 64
export const BYTES = 0x2000
export const MASK = 0x80000000

export const SLOT = { size: 128, state: 0, kind: 4, flags: 8, args: 16, size_: 64 } as const

export const QUEUE = { size: 8256, head: 0, slots: 64 } as const
`,
    )
  }
  generate(['--only', 'protocol'], check, header)
})
