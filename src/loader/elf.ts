/** ELF headers: reading and checking them. Nothing of a file is believed beyond what is checked here. */
import {
  EM_X86_64,
  ET_DYN,
  ET_EXEC,
  PATH_MAX,
  PF_R,
  PF_W,
  PF_X,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  PT_GNU_STACK,
  PT_INTERP,
  PT_LOAD,
} from '../abi/constants.ts'
import { EIO, ENOEXEC } from '../abi/errno.ts'
import { ELF64_EHDR, ELF64_PHDR } from '../abi/layout.ts'
import { fromBytes } from '../base/bytes.ts'
import type { OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import type { File } from '../vfs/file.ts'
import { readFully } from './read.ts'

const MAX_HEADERS_SIZE = 65536
/** Sums of two fields stay exact: nothing above can be mapped anyway. */
const MAX_FIELD = 2 ** 52

/** One PT_LOAD, with its addresses as the file has them. */
export interface Segment {
  readonly offset: number
  readonly address: number
  readonly fileSize: number
  readonly memorySize: number
  readonly prot: number
}

export interface ElfImage {
  /** ET_DYN: goes anywhere. */
  readonly relocatable: boolean
  readonly entry: number
  /** In the file's order. */
  readonly segments: readonly Segment[]
  /** PT_INTERP. */
  readonly interpreter: string | undefined
  /** PT_GNU_STACK says so: the stack can be executed. */
  readonly execStack: boolean
  /** The largest p_align of a segment, a power of two. */
  readonly alignment: number
  /** Where the program headers are in memory, relative to the addresses of the file. */
  readonly headersAddress: number
  readonly headerCount: number
}

export function isElf(start: Uint8Array): boolean {
  return start[0] === 0x7f && start[1] === 0x45 && start[2] === 0x4c && start[3] === 0x46
}

/** Reads what describes an ELF file. -ENOEXEC where it is not for this machine, -EIO where it ends early. */
export function readElf(file: File): OrErrno<ElfImage> {
  const header = new Uint8Array(ELF64_EHDR.size)
  const got = readFully(file, header, 0)
  if (got < 0) return got
  if (got < header.length || !isElf(header)) return -ENOEXEC
  const view = new DataView(header.buffer)
  const type = view.getUint16(ELF64_EHDR.e_type, true)
  if (type !== ET_EXEC && type !== ET_DYN) return -ENOEXEC
  if (view.getUint16(ELF64_EHDR.e_machine, true) !== EM_X86_64) return -ENOEXEC
  if (view.getUint16(ELF64_EHDR.e_phentsize, true) !== ELF64_PHDR.size) return -ENOEXEC
  const headerCount = view.getUint16(ELF64_EHDR.e_phnum, true)
  const headersOffset = take64(view, ELF64_EHDR.e_phoff)
  const raw = new Uint8Array(headerCount * ELF64_PHDR.size)
  if (raw.length === 0 || raw.length > MAX_HEADERS_SIZE || headersOffset > MAX_FIELD) return -ENOEXEC
  if (readFully(file, raw, headersOffset) !== raw.length) return -ENOEXEC

  const headers = new DataView(raw.buffer)
  const segments: Segment[] = []
  let interpreter: string | undefined
  let execStack = false
  let alignment = 4096
  let headersAddress = 0
  for (let at = 0; at < raw.length; at += ELF64_PHDR.size) {
    const kind = headers.getUint32(at + ELF64_PHDR.p_type, true)
    if (kind === PT_INTERP && interpreter === undefined) {
      const name = readInterpreter(file, headers, at)
      if (typeof name === 'number') return name
      interpreter = name
    } else if (kind === PT_GNU_STACK) {
      execStack = (headers.getUint32(at + ELF64_PHDR.p_flags, true) & PF_X) !== 0
    } else if (kind === PT_LOAD) {
      const segment = readSegment(headers, at)
      segments.push(segment)
      const align = take64(headers, at + ELF64_PHDR.p_align)
      if (Number.isInteger(Math.log2(align)) && align <= 2 ** 32) alignment = Math.max(alignment, align)
      if (segment.offset <= headersOffset && headersOffset < segment.offset + segment.fileSize) {
        headersAddress = headersOffset - segment.offset + segment.address
      }
    }
  }
  return {
    relocatable: type === ET_DYN,
    entry: take64(view, ELF64_EHDR.e_entry),
    segments,
    interpreter,
    execStack,
    alignment,
    headersAddress,
    headerCount,
  }
}

function readSegment(headers: DataView, at: number): Segment {
  const flags = headers.getUint32(at + ELF64_PHDR.p_flags, true)
  return {
    offset: take64(headers, at + ELF64_PHDR.p_offset),
    address: take64(headers, at + ELF64_PHDR.p_vaddr),
    fileSize: take64(headers, at + ELF64_PHDR.p_filesz),
    memorySize: take64(headers, at + ELF64_PHDR.p_memsz),
    prot:
      ((flags & PF_R) !== 0 ? PROT_READ : 0) |
      ((flags & PF_W) !== 0 ? PROT_WRITE : 0) |
      ((flags & PF_X) !== 0 ? PROT_EXEC : 0),
  }
}

/** What Linux finds out only when it maps the segment. */
export function isSound(segment: Segment): boolean {
  if (segment.address > MAX_FIELD || segment.memorySize > MAX_FIELD || segment.offset > MAX_FIELD)
    return false
  return segment.fileSize <= segment.memorySize
}

function readInterpreter(file: File, headers: DataView, at: number): string | number {
  const length = take64(headers, at + ELF64_PHDR.p_filesz)
  if (length > PATH_MAX || length < 2) return -ENOEXEC
  const name = new Uint8Array(length)
  const offset = take64(headers, at + ELF64_PHDR.p_offset)
  if (offset > MAX_FIELD) return -EIO
  const got = readFully(file, name, offset)
  if (got !== length) return got < 0 ? got : -EIO
  if (name[length - 1] !== 0) return -ENOEXEC
  return fromBytes(name, 0, name.indexOf(0))
}
