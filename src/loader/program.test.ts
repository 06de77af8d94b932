import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ADDR_NO_RANDOMIZE,
  AT_BASE,
  AT_ENTRY,
  AT_EXECFN,
  AT_NULL,
  AT_PHDR,
  AT_PHNUM,
  AT_RANDOM,
  O_RDONLY,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../abi/constants.ts'
import { E2BIG, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ETXTBSY } from '../abi/errno.ts'
import { ELF64_EHDR, ELF64_PHDR } from '../abi/layout.ts'
import { toBytes } from '../base/bytes.ts'
import type { IoDst } from '../base/io.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { MmContext } from '../mm/context.ts'
import { FakeSpace } from '../mm/fake-space.ts'
import { Mm } from '../mm/mm.ts'
import { StringReader } from '../mm/string-reader.ts'
import { File, type MapSource } from '../vfs/file.ts'
import { readStringArray } from './arguments.ts'
import { type LoadFacts, loadProgram, type Program, prepareProgram } from './program.ts'
import { readScriptLine } from './script.ts'

const LIMIT = 0x7fffc0000000

/** A file of bytes, held for ever. */
class BytesFile extends File {
  readonly bytes: Uint8Array
  readonly number: number

  constructor(bytes: Uint8Array, number = 0) {
    const path = { mount: { flags: 0 }, dentry: { name: 'x', inode: { writers: 0 } } }
    super(path as never, O_RDONLY, undefined as never)
    this.refs = 1e9
    this.bytes = bytes
    this.number = number
  }
  override get seekable(): boolean {
    return true
  }
  override readAt(into: IoDst, offset: number): number {
    return into.put(this.bytes.subarray(offset))
  }
  override mapping(): MapSource {
    return { hostFd: this.number, offset: 0 }
  }
}

interface Piece {
  type: number
  flags?: number
  offset: number
  address: number
  fileSize: number
  memorySize?: number
}

/** An ELF file of 0x3000 bytes with the given program headers; byte i of the body is i % 251. */
function elf(type: number, entry: number, pieces: readonly Piece[], interpreter = ''): Uint8Array {
  const bytes = new Uint8Array(0x3000)
  for (let i = 0x800; i < bytes.length; i++) bytes[i] = i % 251
  const view = new DataView(bytes.buffer)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(ELF64_EHDR.e_type, type, true)
  view.setUint16(ELF64_EHDR.e_machine, 62, true)
  view.setUint16(ELF64_EHDR.e_phentsize, 56, true)
  view.setUint16(ELF64_EHDR.e_phnum, pieces.length, true)
  view.setUint32(ELF64_EHDR.e_phoff, 64, true)
  view.setUint32(ELF64_EHDR.e_entry, entry, true)
  pieces.forEach((piece, i) => {
    const at = 64 + i * ELF64_PHDR.size
    view.setUint32(at + ELF64_PHDR.p_type, piece.type, true)
    view.setUint32(at + ELF64_PHDR.p_flags, piece.flags ?? 4, true)
    view.setUint32(at + ELF64_PHDR.p_offset, piece.offset, true)
    view.setUint32(at + ELF64_PHDR.p_vaddr, piece.address, true)
    view.setUint32(at + ELF64_PHDR.p_filesz, piece.fileSize, true)
    view.setUint32(at + ELF64_PHDR.p_memsz, piece.memorySize ?? piece.fileSize, true)
    view.setUint32(at + ELF64_PHDR.p_align, 4096, true)
  })
  bytes.set(toBytes(`${interpreter}\0`), 0x700)
  return bytes
}

const TEXT: Piece = { type: 1, flags: 5, offset: 0, address: 0, fileSize: 0x1000 }
const DATA: Piece = {
  type: 1,
  flags: 6,
  offset: 0x1100,
  address: 0x2100,
  fileSize: 0x200,
  memorySize: 0x2500,
}
const staticPie = elf(3, 0x900, [TEXT, DATA])
const dynamic = elf(3, 0x900, [TEXT, DATA, { type: 3, offset: 0x700, address: 0x700, fileSize: 7 }], '/ld.so')

const facts: LoadFacts = {
  uid: 1,
  euid: 2,
  gid: 3,
  egid: 4,
  secure: true,
  personality: 0,
  hwcap: 5,
  hwcap2: 6,
  vdso: true,
  minSignalStack: 2048,
  rseqFeatureSize: 28,
  rseqAlign: 32,
}

function prepare(
  bytes: Uint8Array,
  options: { argv?: string[]; files?: Record<string, Uint8Array> } = {},
): OrErrno<Program> {
  return prepareProgram({
    file: new BytesFile(bytes, 1),
    path: './prog',
    argv: options.argv ?? ['prog', 'one'],
    envp: ['A=1', 'B=2'],
    stackLimit: 8 << 20,
    open: path => {
      const found = options.files?.[path]
      return found === undefined ? -ENOENT : new BytesFile(found, 2)
    },
  })
}

function newMm(): { mm: Mm; space: FakeSpace } {
  const space = new FakeSpace()
  const random = (into: Uint8Array): void => {
    for (let i = 0; i < into.length; i++) into[i] = (i * 37 + 11) & 0xff
  }
  return {
    mm: new Mm(space, new MmContext({ addressLimit: LIMIT, vdso: 0, vdsoSize: 0 }, { random })),
    space,
  }
}

function load(bytes: Uint8Array, options: Parameters<typeof prepare>[1] = {}, personality = 0) {
  const program = prepare(bytes, options)
  assert.ok(!failed(program), `prepare: ${program}`)
  const { mm, space } = newMm()
  space.files.set(1, bytes)
  space.files.set(2, options.files?.['/ld.so'] ?? new Uint8Array(0))
  const loaded = loadProgram(mm, program, { ...facts, personality })
  assert.ok(!failed(loaded), `load: ${loaded}`)
  return { mm, space, loaded }
}

/** The stack as the program's first instruction finds it. */
function readStack(mm: Mm, pointer: number) {
  const word = (at: number): number => mm.u64(at)!
  const argc = word(pointer)
  const argv = readStringArray(mm, new StringReader(mm), pointer + 8, { left: 1e6 }) as string[]
  const envAt = pointer + 8 * (argc + 2)
  const envp = readStringArray(mm, new StringReader(mm), envAt, { left: 1e6 }) as string[]
  const auxv = new Map<number, number>()
  for (let at = envAt + 8 * (envp.length + 1); word(at) !== AT_NULL; at += 16)
    auxv.set(word(at), word(at + 8))
  return { argc, argv, envp, auxv }
}

test('load: a program that is its own linker lies among the mappings, with zeroed bss and a heap far below', () => {
  const { mm, loaded } = load(staticPie)
  const text = mm.find(loaded.entry)!
  assert.equal(text.prot, PROT_READ | PROT_EXEC)
  const base = loaded.entry - 0x900
  assert.equal(mm.u32(base + 0x2100), new DataView(staticPie.buffer).getUint32(0x1100, true))
  assert.equal(mm.u32(base + 0x2300), 0)
  assert.equal(mm.u32(base + 0x4500), 0)
  assert.equal(mm.find(base + 0x3000)!.prot, PROT_READ | PROT_WRITE)
  assert.ok(base > 0x7f0000000000 - 2 ** 41)
  assert.ok(mm.startBrk < base && mm.startBrk % 4096 === 0)
  assert.equal(mm.startCode, base)
  assert.equal(mm.endData, base + 0x2300)
})

test('load: argv, envp and the auxiliary vector are where the program looks for them', () => {
  const { mm, loaded } = load(dynamic, { files: { '/ld.so': staticPie } })
  assert.equal(loaded.stackPointer % 16, 0)
  const { argc, argv, envp, auxv } = readStack(mm, loaded.stackPointer)
  assert.equal(argc, 2)
  assert.deepEqual(argv, ['prog', 'one'])
  assert.deepEqual(envp, ['A=1', 'B=2'])
  assert.equal(mm.readString(auxv.get(AT_EXECFN)!, 100), './prog')
  assert.equal(auxv.get(AT_BASE)! + 0x900, loaded.entry)
  assert.equal(auxv.get(AT_PHNUM), 3)
  assert.equal(auxv.get(AT_PHDR)! - 64, auxv.get(AT_ENTRY)! - 0x900)
  assert.equal(mm.u32(auxv.get(AT_RANDOM)!) !== undefined, true)
  assert.equal(mm.readString(mm.argStart, 100), 'prog')
  assert.equal(mm.envEnd - mm.argStart, 'prog\0one\0A=1\0B=2\0'.length)
  assert.equal(mm.vmaLabel(mm.find(loaded.stackPointer)!), '[stack]')
})

test('load: without randomization a program with a linker starts at 2/3 of the address space', () => {
  const { mm } = load(dynamic, { files: { '/ld.so': staticPie } }, ADDR_NO_RANDOMIZE)
  assert.equal(mm.startCode, Math.floor(((LIMIT / 3) * 2) / 4096) * 4096)
  assert.equal(mm.startBrk, mm.startCode + 0x5000)
})

test('prepare: what is no program is refused as Linux refuses it', () => {
  assert.equal(prepare(new Uint8Array(0)), -ENOEXEC)
  assert.equal(prepare(toBytes('echo hello\n')), -ENOEXEC)
  const foreign = staticPie.slice()
  foreign[18] = 3
  assert.equal(prepare(foreign), -ENOEXEC)
  assert.equal(prepare(dynamic), -ENOENT)
  assert.equal(prepare(dynamic, { files: { '/ld.so': toBytes('no elf at all') } }), -ELIBBAD)
  assert.equal(prepare(staticPie, { argv: ['x'.repeat(131072)] }), -E2BIG)
  assert.equal(prepare(staticPie, { argv: new Array(30).fill('x'.repeat(100000)) }), -E2BIG)
  const busy = new BytesFile(staticPie)
  busy.path.dentry.inode!.writers = 1
  const request = { file: busy, path: 'p', argv: [], envp: [], stackLimit: Infinity, open: () => -ENOENT }
  assert.equal(prepareProgram(request), -ETXTBSY)
})

test('prepare: scripts put their interpreter in front, five deep at most', () => {
  const script = toBytes('#! /bin/sh  -e -x \nrest')
  const program = prepare(script, { argv: ['zero', 'one'], files: { '/bin/sh': staticPie } })
  assert.ok(!failed(program))
  assert.deepEqual(program.argv, ['/bin/sh', '-e -x', './prog', 'one'])
  assert.equal(program.path, './prog')
  const files: Record<string, Uint8Array> = { '/5': staticPie }
  for (let i = 0; i < 5; i++) files[`/${i}`] = toBytes(`#!/${i + 1}\n`)
  assert.ok(!failed(prepare(toBytes('#!/1\n'), { files })))
  assert.equal(prepare(toBytes('#!/0\n'), { files }), -ELOOP)
})

test('script line: the interpreter and its one argument', () => {
  const cases: [string, string | undefined, string | undefined][] = [
    ['#!/bin/sh\n', '/bin/sh', undefined],
    ['#!/bin/sh', '/bin/sh', undefined],
    ['#!\t /bin/sh\t\n', '/bin/sh', undefined],
    ['#!/usr/bin/env python3 -u\nx', '/usr/bin/env', 'python3 -u'],
    ['#!\n', undefined, undefined],
    ['#!   ', '', undefined],
    [`#!/${'x'.repeat(300)}`, undefined, undefined],
    [`#!/x ${'y'.repeat(300)}`, '/x', 'y'.repeat(250)],
  ]
  for (const [text, interpreter, argument] of cases) {
    const start = new Uint8Array(256)
    start.set(toBytes(text).subarray(0, 256))
    const line = readScriptLine(start)
    if (interpreter === undefined) assert.equal(line, -ENOEXEC, text)
    else assert.deepEqual(line, { interpreter, argument }, text)
  }
})

test('load: damaged headers are refused or loaded, never thrown at', () => {
  let seed = 99
  const below = (n: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return Math.floor((seed / 2147483648) * n)
  }
  for (let round = 0; round < 300; round++) {
    const bytes = dynamic.slice()
    for (let i = 1 + below(4); i > 0; i--) bytes[below(64 + 3 * 56)] = [0, 255, below(256), 0x7f][below(4)]!
    const program = prepare(bytes, { files: { '/ld.so': staticPie } })
    if (failed(program)) {
      assert.ok(program < 0)
      continue
    }
    // The fake keeps a page in memory for each page that is mapped.
    if (program.image.segments.some(segment => segment.memorySize > 1 << 22 || segment.fileSize > 1 << 22))
      continue
    const { mm, space } = newMm()
    space.files.set(1, bytes)
    space.files.set(2, staticPie)
    const loaded = loadProgram(mm, program, facts)
    assert.ok(!failed(loaded) || loaded < 0)
  }
})
