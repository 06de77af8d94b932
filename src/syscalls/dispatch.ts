/**
 * From a trapped call to its handler: the rows of the table, compiled to a dense array. Arguments are decoded once, into
 * task.args; each try calls the handler with them by its arity, without allocation.
 */
import { ENOSYS } from '../abi/errno.ts'
import { SYSCALL_NAMES } from '../abi/syscall-numbers.ts'
import type { MemoryLook, SyscallTable } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import { MAX_RW_COUNT } from '../mm/mm.ts'
import { REG_R8, REG_R9, REG_R10, REG_RDI, REG_RDX, REG_RSI, type Registers } from '../platform/platform.ts'
import type { ArgKind, SyscallRow, SyscallRows } from './args.ts'

/** Numbers above are answered with ENOSYS without a look at the table. */
const MAX_NUMBER = 1024

/** Where the arguments are. */
const ARGUMENT_REGISTERS = [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9] as const

const DECODE_I32 = 0
const DECODE_U32 = 1
const DECODE_U64 = 2
const DECODE_S64 = 3
const DECODERS = { i32: DECODE_I32, u32: DECODE_U32, u64: DECODE_U64, s64: DECODE_S64 } as const

interface Compiled {
  readonly run: SyscallRow['run']
  /** DECODE_* of each argument. */
  readonly decoders: readonly number[]
  readonly args: readonly ArgKind[]
}

/** What the kernel needs of the table. Throws for rows that can't be right: two with one number, a wrong arity. */
export function compileRows(rows: SyscallRows): SyscallTable {
  const compiled: (Compiled | undefined)[] = new Array(MAX_NUMBER).fill(undefined)
  for (const [name, row] of Object.entries(rows)) {
    if (compiled[row.nr] !== undefined) throw new Error(`two rows for call number ${row.nr}: ${name}`)
    if (row.run.length !== row.args.length + 1) {
      throw new Error(`${name} takes ${row.run.length - 1} arguments, its row names ${row.args.length}`)
    }
    compiled[row.nr] = { run: row.run, decoders: row.args.map(kind => DECODERS[kind.decode]), args: row.args }
  }
  return new Dispatch(compiled)
}

class Dispatch implements SyscallTable {
  readonly #compiled: readonly (Compiled | undefined)[]
  readonly #reported = new Set<number>()

  constructor(compiled: readonly (Compiled | undefined)[]) {
    this.#compiled = compiled
  }

  decode(task: Task, nr: number): void {
    const call = nr < MAX_NUMBER ? this.#compiled[nr] : undefined
    if (call === undefined) return
    const { regs } = task.thread
    const { decoders } = call
    for (let i = 0; i < decoders.length; i++) {
      task.args[i] = decode(regs, ARGUMENT_REGISTERS[i], decoders[i])
    }
  }

  run(task: Task, nr: number): number {
    const call = nr < MAX_NUMBER ? this.#compiled[nr] : undefined
    if (call === undefined) return this.#unknown(task, nr)
    const { args } = task
    const { run } = call
    switch (call.decoders.length) {
      case 0:
        return run(task)
      case 1:
        return run(task, args[0])
      case 2:
        return run(task, args[0], args[1])
      case 3:
        return run(task, args[0], args[1], args[2])
      case 4:
        return run(task, args[0], args[1], args[2], args[3])
      case 5:
        return run(task, args[0], args[1], args[2], args[3], args[4])
      default:
        return run(task, args[0], args[1], args[2], args[3], args[4], args[5])
    }
  }

  touches(task: Task, nr: number, look: MemoryLook): boolean {
    const { args } = (nr < MAX_NUMBER ? this.#compiled[nr] : undefined) ?? NOTHING
    return args.some((kind, i) => {
      const at = task.args[i]
      if (at === 0) return false
      // No call goes further, whatever its argument says.
      const length = kind.direction === undefined ? 0 : Math.min(lengthOf(kind, task.args), MAX_RW_COUNT)
      if (length > 0 && look(at, length, kind.direction !== 'in')) return true
      const count = kind.lengthArg === undefined ? 1 : task.args[kind.lengthArg]
      return kind.inner?.(task, at, count, look) ?? false
    })
  }

  name(nr: number): string {
    return SYSCALL_NAMES[nr] ?? `call ${nr}`
  }

  #unknown(task: Task, nr: number): number {
    if (!this.#reported.has(nr) && this.#reported.size < MAX_NUMBER) {
      this.#reported.add(nr)
      task.kernel.log.debug(`${this.name(nr)} is not implemented (first used by ${task.comm})`)
    }
    return -ENOSYS
  }
}

const NOTHING = { args: [] }

/** How much an argument points to; of a string that it begins. */
function lengthOf(kind: ArgKind, args: readonly number[]): number {
  const count = kind.lengthArg === undefined ? 1 : args[kind.lengthArg]
  if (kind.show === 'bytes') return count
  if (kind.show === 'bits') return Math.ceil(count / 64) * 8
  return kind.layout === undefined ? 1 : count * kind.layout.size
}

/** Each half of the register is read once: the guest can change it meanwhile. */
function decode(regs: Registers, reg: number, how: number): number {
  const lo = regs.lo(reg)
  if (how === DECODE_I32) return lo | 0
  if (how === DECODE_U32) return lo >>> 0
  const hi = regs.hi(reg)
  return (how === DECODE_U64 ? hi >>> 0 : hi | 0) * 0x100000000 + (lo >>> 0)
}
