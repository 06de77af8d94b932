/**
 * The first stack of a program, from the top down: a word of zeros, the file's name, envp's strings, argv's strings,
 * (a random gap), the platform's name, 16 random bytes; then, at a 16-byte border, what the program starts
 * with: argc, argv pointers, NULL, envp pointers, NULL, auxiliary vector.
 */
import {
  ADDR_NO_RANDOMIZE,
  AT_BASE,
  AT_CLKTCK,
  AT_EGID,
  AT_ENTRY,
  AT_EUID,
  AT_EXECFN,
  AT_FLAGS,
  AT_GID,
  AT_HWCAP,
  AT_HWCAP2,
  AT_MINSIGSTKSZ,
  AT_NULL,
  AT_PAGESZ,
  AT_PHDR,
  AT_PHENT,
  AT_PHNUM,
  AT_PLATFORM,
  AT_RANDOM,
  AT_RSEQ_ALIGN,
  AT_RSEQ_FEATURE_SIZE,
  AT_SECURE,
  AT_SYSINFO_EHDR,
  AT_UID,
} from '../abi/constants.ts'
import { EFAULT } from '../abi/errno.ts'
import { ELF64_PHDR } from '../abi/layout.ts'
import type { OrErrno } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import { randomStackTop } from '../mm/layout.ts'
import type { Mm } from '../mm/mm.ts'
import { mapStack, stackRoom } from '../mm/stack.ts'
import { PAGE_SIZE, pageCeil, pageFloor, VM_EXEC, VM_MAYALL, VM_READ, VM_WRITE } from '../mm/vma.ts'
import { argumentSize } from './arguments.ts'
import type { LoadFacts, Program } from './program.ts'

const PLATFORM = 'x86_64'
const CLOCK_TICKS = 100
/** What is shown as used below the image. */
const STACK_EXPAND = 131072
/** Of the gap between the strings and the rest. */
const ALIGN_RANDOM = 8192
/** More than all that is on a first stack besides the strings and pointers, with what is shown as used below. */
const STACK_MARGIN = STACK_EXPAND + 65536
const WORD = 8

/** Where the image's addresses in the auxiliary vector come from. */
export interface ImageAddresses {
  readonly headers: number
  readonly headerCount: number
  readonly entry: number
  /** Of the interpreter; 0 without one. */
  readonly base: number
}

/** Addresses of what is on the stack. */
export interface StackPlan {
  top: number
  execfn: number
  env: number[]
  argv: number[]
  platform: number
  random: number
  pointer: number
}

/** The empty stack of a program, before anything else is mapped: its plan, or a negative errno. */
export function placeStack(mm: Mm, program: Program, personality: number): OrErrno<StackPlan> {
  const strings = argumentSize(program.argv, program.envp, program.path)
  const top = randomStackTop(mm, stackRoom(program.stackLimit, pageCeil(strings) + STACK_MARGIN), personality)
  const plan: StackPlan = { top, execfn: 0, env: [], argv: [], platform: 0, random: 0, pointer: 0 }
  let at = top - WORD
  at = plan.execfn = at - (program.path.length + 1)
  // Strings lie in order with the last one highest.
  for (let i = program.envp.length - 1; i >= 0; i--) plan.env[i] = at -= program.envp[i]!.length + 1
  for (let i = program.argv.length - 1; i >= 0; i--) plan.argv[i] = at -= program.argv[i]!.length + 1
  if ((personality & ADDR_NO_RANDOMIZE) === 0) at -= mm.context.randomBelow(ALIGN_RANDOM)
  at = floor16(at)
  at = plan.platform = at - (PLATFORM.length + 1)
  at = plan.random = at - 16
  const words = 1 + program.argv.length + 1 + program.envp.length + 1 + AUXV_WORDS
  plan.pointer = floor16(at - words * WORD)

  const used = pageCeil(top - plan.pointer) + STACK_EXPAND
  const limit = program.stackLimit
  const size = Math.max(Math.min(used, pageFloor(limit)), pageCeil(top - plan.pointer) + PAGE_SIZE)
  const flags = VM_READ | VM_WRITE | VM_MAYALL | (program.image.execStack ? VM_EXEC : 0)
  const status = mapStack(mm, top, size, limit, flags)
  return status < 0 ? status : plan
}

/** Writes the image; notes in the mm where argv, envp and auxv are. The stack pointer, or a negative errno. */
export function writeStack(
  mm: Mm,
  plan: StackPlan,
  program: Program,
  facts: LoadFacts,
  addresses: ImageAddresses,
): number {
  const bytes = new Uint8Array(plan.top - plan.pointer)
  const view = new DataView(bytes.buffer)
  putString(bytes, plan.execfn - plan.pointer, program.path)
  for (let i = 0; i < plan.env.length; i++) putString(bytes, plan.env[i]! - plan.pointer, program.envp[i]!)
  for (let i = 0; i < plan.argv.length; i++) putString(bytes, plan.argv[i]! - plan.pointer, program.argv[i]!)
  putString(bytes, plan.platform - plan.pointer, PLATFORM)
  mm.context.random(bytes.subarray(plan.random - plan.pointer, plan.random - plan.pointer + 16))

  let at = 0
  const word = (value: number): void => {
    put64(view, at, value)
    at += WORD
  }
  word(plan.argv.length)
  for (const address of plan.argv) word(address)
  word(0)
  for (const address of plan.env) word(address)
  word(0)
  const auxvStart = at
  const auxv = auxiliaryVector(mm, plan, facts, addresses)
  for (const value of auxv) word(value)
  mm.auxv = bytes.slice(auxvStart, at)

  mm.startStack = plan.pointer
  // The strings of argv end where those of envp begin.
  mm.envEnd = plan.execfn
  mm.envStart = mm.argEnd = plan.env.length > 0 ? plan.env[0]! : plan.execfn
  mm.argStart = plan.argv.length > 0 ? plan.argv[0]! : mm.argEnd
  return mm.copyOut(plan.pointer, bytes) < 0 ? -EFAULT : plan.pointer
}

/** Room for the entries of `auxiliaryVector`, two words each. */
const AUXV_WORDS = 2 * 23

function auxiliaryVector(mm: Mm, plan: StackPlan, facts: LoadFacts, addresses: ImageAddresses): number[] {
  const auxv: number[] = []
  if (mm.context.vdso !== 0 && facts.vdso) auxv.push(AT_SYSINFO_EHDR, mm.context.vdso)
  auxv.push(
    AT_MINSIGSTKSZ,
    facts.minSignalStack,
    AT_HWCAP,
    facts.hwcap,
    AT_PAGESZ,
    PAGE_SIZE,
    AT_CLKTCK,
    CLOCK_TICKS,
    AT_PHDR,
    addresses.headers,
    AT_PHENT,
    ELF64_PHDR.size,
    AT_PHNUM,
    addresses.headerCount,
    AT_BASE,
    addresses.base,
    AT_FLAGS,
    0,
    AT_ENTRY,
    addresses.entry,
    AT_UID,
    facts.uid,
    AT_EUID,
    facts.euid,
    AT_GID,
    facts.gid,
    AT_EGID,
    facts.egid,
    AT_SECURE,
    facts.secure ? 1 : 0,
    AT_RANDOM,
    plan.random,
    AT_HWCAP2,
    facts.hwcap2,
    AT_EXECFN,
    plan.execfn,
    AT_PLATFORM,
    plan.platform,
  )
  if (facts.rseqFeatureSize !== 0) {
    auxv.push(AT_RSEQ_FEATURE_SIZE, facts.rseqFeatureSize, AT_RSEQ_ALIGN, facts.rseqAlign)
  }
  auxv.push(AT_NULL, 0)
  return auxv
}

function putString(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i)
}

function floor16(address: number): number {
  return Math.floor(address / 16) * 16
}
