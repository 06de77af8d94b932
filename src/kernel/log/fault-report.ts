/**
 * What the log says of a process that ends by a fault of its own (show_unhandled_signals): which, where, and the code there.
 * Crash collectors and people read these lines.
 */
import { SIG_DFL, SIG_IGN, SIGSEGV } from '../../abi/constants.ts'
import { PAGE_SIZE } from '../../mm/vma.ts'
import { REG_RIP, REG_RSP } from '../../platform/platform.ts'
import type { Task } from '../task.ts'
import { LOGLEVEL_EMERG, LOGLEVEL_INFO } from './kernel-log.ts'

/** How much of the code is shown, and how much of that lies before the instruction. */
const OPCODES = 64
const PROLOGUE = 42

const PAGE_FAULT = 14
const GENERAL_PROTECTION = 13
/** By the number of the trap; those without a name are not reported. */
const TRAP_NAMES: Readonly<Record<number, string>> = {
  0: 'trap divide error',
  3: 'trap int3',
  4: 'trap overflow',
  5: 'trap bounds',
  6: 'trap invalid opcode',
  11: 'trap segment not present',
  12: 'trap stack segment',
  [GENERAL_PROTECTION]: 'general protection fault',
  17: 'trap alignment check',
}

/** A fault is about to become `signo`; nothing is said if the process wants to know of it, or is debugged. */
export function reportFault(task: Task, signo: number, address: number): void {
  const { handler } = task.group.handlers.action(signo)
  if ((handler !== SIG_DFL && handler !== SIG_IGN) || task.ptrace !== undefined) return
  const { messages, pidNs } = task.kernel
  const name = TRAP_NAMES[task.trapNumber]
  const segfault = task.trapNumber === PAGE_FAULT && signo === SIGSEGV
  if ((!segfault && name === undefined) || !messages.tellsFaults || !messages.mayRepeat()) return
  const pid = task.pid.in(pidNs)
  const ip = task.thread.regs.get(REG_RIP)
  const sp = task.thread.regs.get(REG_RSP)
  const who = `${task.comm}[${pid}]`
  const code = hex(task.errorCode)
  if (!segfault) {
    messages.put(
      LOGLEVEL_INFO,
      `traps: ${who} ${name} ip:${hex(ip)} sp:${hex(sp)} error:${code}${place(task, ip)}`,
    )
    return
  }
  const level = pid > 1 ? LOGLEVEL_INFO : LOGLEVEL_EMERG
  const where = `segfault at ${hex(address)} ip ${hex(ip, 16)} sp ${hex(sp, 16)} error ${code}`
  messages.put(level, `${who}: ${where}${place(task, ip)}`)
  messages.put(level, `Code: ${opcodes(task, ip)}`)
}

/** print_vma_addr: the file that the instruction is from. */
function place(task: Task, ip: number): string {
  const vma = task.mm.vmas.at(ip)
  if (vma?.file === undefined) return ''
  const offset = ip - vma.start + vma.offset
  return ` in ${vma.file.path.dentry.name}[${hex(offset)},${hex(vma.start)}+${hex(vma.pages * PAGE_SIZE)}]`
}

function opcodes(task: Task, ip: number): string {
  const bytes = new Uint8Array(OPCODES)
  const start = ip - PROLOGUE
  if (start < 0 || task.mm.space.read(start, bytes) < OPCODES)
    return `Unable to access opcode bytes at 0x${BigInt.asUintN(64, BigInt(start)).toString(16)}.`
  const shown = Array.from(bytes, byte => hex(byte, 2))
  shown[PROLOGUE] = `<${shown[PROLOGUE]}>`
  return shown.join(' ')
}

function hex(value: number, width = 0): string {
  return value.toString(16).padStart(width, '0')
}
