/**
 * The ELF form of a core dump: file header, program headers (notes, then one for each mapping), the notes, and from the next
 * page on what of the mappings is dumped. Notes are in Linux's order: debuggers take the first thread for the one that
 * got the signal.
 */
import {
  ELFCLASS64,
  ELFDATA2LSB,
  EM_X86_64,
  ET_CORE,
  EV_CURRENT,
  NT_AUXV,
  NT_FILE,
  NT_PRFPREG,
  NT_PRPSINFO,
  NT_PRSTATUS,
  NT_SIGINFO,
  NT_X86_XSTATE,
  PF_R,
  PF_W,
  PF_X,
  PT_LOAD,
  PT_NOTE,
} from '../../abi/constants.ts'
import { ELF64_EHDR, ELF64_PHDR, PRPSINFO, PRSTATUS, SIGINFO } from '../../abi/layout.ts'
import { toBytes } from '../../base/bytes.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { put64 } from '../../base/words.ts'
import { PAGE_SIZE, VM_EXEC, VM_READ, VM_WRITE } from '../../mm/vma.ts'
import { pathToString } from '../../vfs/path-string.ts'
import { readUserRegs, registerSet } from '../arch/x86-64/user-regs.ts'
import { groupTotals, taskTotals } from '../cpu-time.ts'
import { type SigInfo, writeSigInfo } from '../signal-info.ts'
import type { Task } from '../task.ts'
import type { Segment } from './core-segments.ts'

/** Of ps's command line. */
const PSARGS = 80
const COMM = 16

/** Everything in front of the first segment; sets the segments' offsets. `tasks`: the one that got the signal first. */
export function coreHeaders(tasks: readonly Task[], info: SigInfo, segments: readonly Segment[]): Uint8Array {
  const notes = concat(allNotes(tasks, info, segments))
  const notesAt = ELF64_EHDR.size + ELF64_PHDR.size * (segments.length + 1)
  const dataAt = Math.ceil((notesAt + notes.length) / PAGE_SIZE) * PAGE_SIZE
  const bytes = new Uint8Array(dataAt)
  const view = new DataView(bytes.buffer)
  writeFileHeader(view, segments.length + 1)
  writeProgramHeader(view, 0, PT_NOTE, 0, notesAt, 0, notes.length, 0, 4)
  let offset = dataAt
  segments.forEach((segment, i) => {
    segment.offset = offset
    const { start, end, dumped } = segment
    writeProgramHeader(
      view,
      i + 1,
      PT_LOAD,
      permissions(segment.flags),
      offset,
      start,
      dumped,
      end - start,
      PAGE_SIZE,
    )
    offset += dumped
  })
  bytes.set(notes, notesAt)
  return bytes
}

function writeFileHeader(view: DataView, count: number): void {
  const ident = [0x7f, 0x45, 0x4c, 0x46, ELFCLASS64, ELFDATA2LSB, EV_CURRENT]
  ident.forEach((byte, i) => {
    view.setUint8(i, byte)
  })
  view.setUint16(ELF64_EHDR.e_type, ET_CORE, true)
  view.setUint16(ELF64_EHDR.e_machine, EM_X86_64, true)
  view.setUint32(ELF64_EHDR.e_version, EV_CURRENT, true)
  put64(view, ELF64_EHDR.e_phoff, ELF64_EHDR.size)
  view.setUint16(ELF64_EHDR.e_ehsize, ELF64_EHDR.size, true)
  view.setUint16(ELF64_EHDR.e_phentsize, ELF64_PHDR.size, true)
  view.setUint16(ELF64_EHDR.e_phnum, count, true)
}

function writeProgramHeader(
  view: DataView,
  n: number,
  type: number,
  flags: number,
  offset: number,
  address: number,
  fileSize: number,
  memorySize: number,
  align: number,
): void {
  const at = ELF64_EHDR.size + n * ELF64_PHDR.size
  view.setUint32(at + ELF64_PHDR.p_type, type, true)
  view.setUint32(at + ELF64_PHDR.p_flags, flags, true)
  put64(view, at + ELF64_PHDR.p_offset, offset)
  put64(view, at + ELF64_PHDR.p_vaddr, address)
  put64(view, at + ELF64_PHDR.p_filesz, fileSize)
  put64(view, at + ELF64_PHDR.p_memsz, memorySize)
  put64(view, at + ELF64_PHDR.p_align, align)
}

function permissions(flags: number): number {
  const has = (vm: number, pf: number): number => ((flags & vm) !== 0 ? pf : 0)
  return has(VM_READ, PF_R) | has(VM_WRITE, PF_W) | has(VM_EXEC, PF_X)
}

function allNotes(tasks: readonly Task[], info: SigInfo, segments: readonly Segment[]): Uint8Array[] {
  const [first, ...others] = tasks
  const notes = [
    note('CORE', NT_PRSTATUS, prstatus(first, info.signo)),
    note('CORE', NT_PRPSINFO, prpsinfo(first)),
    note('CORE', NT_SIGINFO, siginfo(info)),
    note('CORE', NT_AUXV, first.mm.auxv),
    note('CORE', NT_FILE, files(first, segments)),
    ...floatNotes(first),
  ]
  for (const task of others) {
    notes.push(note('CORE', NT_PRSTATUS, prstatus(task, info.signo)), ...floatNotes(task))
  }
  return notes
}

function floatNotes(task: Task): Uint8Array[] {
  const floats = registerSet(NT_PRFPREG)!.read(task)
  const state = registerSet(NT_X86_XSTATE)!.read(task)
  if (floats === undefined || state === undefined) return []
  return [note('CORE', NT_PRFPREG, floats), note('LINUX', NT_X86_XSTATE, state)]
}

/** Lengths and type, the name with its NUL and the contents, each padded to words. */
function note(name: string, type: number, contents: Uint8Array): Uint8Array {
  const nameLength = name.length + 1
  const contentsAt = 12 + align4(nameLength)
  const bytes = new Uint8Array(contentsAt + align4(contents.length))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, nameLength, true)
  view.setUint32(4, contents.length, true)
  view.setUint32(8, type, true)
  bytes.set(toBytes(name), 12)
  bytes.set(contents, contentsAt)
  return bytes
}

function prstatus(task: Task, signo: number): Uint8Array {
  const bytes = new Uint8Array(PRSTATUS.size)
  const view = new DataView(bytes.buffer)
  const { group, signals } = task
  view.setInt32(PRSTATUS.si_signo, signo, true)
  view.setInt16(PRSTATUS.pr_cursig, signo, true)
  view.setInt32(PRSTATUS.pr_sigpend, signals.pending.set.lo, true)
  view.setInt32(PRSTATUS.pr_sigpend + 4, signals.pending.set.hi, true)
  view.setInt32(PRSTATUS.pr_sighold, signals.blocked.lo, true)
  view.setInt32(PRSTATUS.pr_sighold + 4, signals.blocked.hi, true)
  writeIds(view, PRSTATUS.pr_pid, task, task.tid)
  const own = task === group.leader ? groupTotals(group) : taskTotals(task)
  putTime(view, PRSTATUS.pr_utime, own.user)
  putTime(view, PRSTATUS.pr_stime, own.system)
  putTime(view, PRSTATUS.pr_cutime, group.waited.user)
  putTime(view, PRSTATUS.pr_cstime, group.waited.system)
  bytes.set(readUserRegs(task), PRSTATUS.pr_reg)
  view.setInt32(PRSTATUS.pr_fpvalid, 1, true)
  return bytes
}

function prpsinfo(task: Task): Uint8Array {
  const bytes = new Uint8Array(PRPSINFO.size)
  const view = new DataView(bytes.buffer)
  const { cred, mm } = task
  view.setUint8(PRPSINFO.pr_sname, 'R'.charCodeAt(0))
  view.setInt8(PRPSINFO.pr_nice, task.scheduling.nice)
  view.setUint32(PRPSINFO.pr_uid, fromKernelId(cred.userNs.uidMap, cred.uid), true)
  view.setUint32(PRPSINFO.pr_gid, fromKernelId(cred.userNs.gidMap, cred.gid), true)
  writeIds(view, PRPSINFO.pr_pid, task, task.group.tgid)
  bytes.set(toBytes(task.comm).subarray(0, COMM), PRPSINFO.pr_fname)
  const line = new Uint8Array(Math.max(0, Math.min(PSARGS - 1, mm.argEnd - mm.argStart)))
  mm.space.read(mm.argStart, line)
  for (let i = 0; i < line.length; i++) if (line[i] === 0) line[i] = 0x20
  bytes.set(line, PRPSINFO.pr_psargs)
  return bytes
}

/** pid, parent, process group and session, one after the other. */
function writeIds(view: DataView, at: number, task: Task, pid: number): void {
  const { group, pidNs } = task
  view.setInt32(at, pid, true)
  view.setInt32(at + 4, group.parent?.pid.in(pidNs) ?? 0, true)
  view.setInt32(at + 8, group.processGroup.pid.in(pidNs), true)
  view.setInt32(at + 12, group.session.pid.in(pidNs), true)
}

function siginfo(info: SigInfo): Uint8Array {
  const bytes = new Uint8Array(SIGINFO.size)
  writeSigInfo(info, new DataView(bytes.buffer), 0)
  return bytes
}

/** Count and page size; start, end and offset in pages of each mapped file; their names. */
function files(task: Task, segments: readonly Segment[]): Uint8Array {
  const mapped = segments.filter(segment => segment.vma.file !== undefined)
  const names = mapped.map(({ vma }) => toBytes(`${pathToString(vma.file!.path, task.fs.root)}\0`))
  const table = new Uint8Array(16 + mapped.length * 24)
  const view = new DataView(table.buffer)
  put64(view, 0, mapped.length)
  put64(view, 8, PAGE_SIZE)
  mapped.forEach(({ start, end, vma }, i) => {
    put64(view, 16 + i * 24, start)
    put64(view, 24 + i * 24, end)
    put64(view, 32 + i * 24, Math.floor(vma.offset / PAGE_SIZE))
  })
  return concat([table, ...names])
}

function putTime(view: DataView, at: number, ns: number): void {
  put64(view, at, Math.floor(ns / 1e9))
  put64(view, at + 8, Math.floor((ns % 1e9) / 1e3))
}

function align4(length: number): number {
  return (length + 3) & ~3
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
