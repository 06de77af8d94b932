/**
 * Programs: from an opened file to an address space that is ready to run, in two steps.
 *
 *   1. `prepareProgram` follows `#!` lines, reads and checks the ELF headers, opens the interpreter, and checks the
 *      size of the arguments. It touches no address space: its errors are execve's results and the caller lives on.
 *      The prepared program knows the final file, whose set-id bits decide the new credentials.
 *   2. `loadProgram` fills an empty mm: segments, vDSO, stack with argv, envp and auxv, brk. Linux does this after
 *      the point of no return, so its errors mean SIGSEGV for the caller (unless the caller still has the old mm).
 *
 * References: `prepareProgram` takes over the caller's reference to `request.file`; a failed one has dropped it.
 * `loadProgram` takes over those of the prepared program (the mm keeps the executable's for /proc/PID/exe, mappings
 * hold their own); `dropProgram` gives up a prepared program that is not going to be loaded.
 */
import { ADDR_NO_RANDOMIZE } from '../abi/constants.ts'
import { E2BIG, EIO, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ETXTBSY } from '../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { pickMmapLayout } from '../mm/layout.ts'
import type { Mm } from '../mm/mm.ts'
import {
  PAGE_SIZE,
  pageCeil,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_IO,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYWRITE,
  VM_READ,
  Vma,
} from '../mm/vma.ts'
import type { File } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { argumentLimit, argumentSize, MAX_ARG_STRLEN } from './arguments.ts'
import { type ElfImage, isElf, readElf } from './elf.ts'
import { type LoadedImage, loadElf, programBase } from './elf-load.ts'
import { readFully } from './read.ts'
import { isScript, readScriptLine, START_SIZE } from './script.ts'
import { placeStack, writeStack } from './stack-image.ts'

/** How many `#!` lines may follow one another. */
const MAX_SCRIPTS = 5
/** How far behind the program the heap may start. */
const BRK_RANDOM = 0x02000000

export interface ProgramRequest {
  /** The executable, opened for reading after exec permission was checked. */
  readonly file: File
  /** As the caller named it (AT_EXECFN; what a script's interpreter gets as the script's name); '/dev/fd/N' for fexecve. */
  readonly path: string
  readonly argv: readonly string[]
  readonly envp: readonly string[]
  /** RLIMIT_STACK's soft limit: a quarter of it is the room for argv and envp. */
  readonly stackLimit: number
  /** A script's name leads nowhere once close-on-exec descriptors are closed (fexecve of an O_CLOEXEC descriptor). */
  readonly pathInaccessible?: boolean
  /** open_exec(): an interpreter by name from the caller's root and cwd, with exec permission; a reference of its own. */
  readonly open: (path: string) => OrErrno<File>
}

/** What step 2 needs: nothing of the file system any more. */
export interface Program {
  /** The final executable: of a script, its interpreter. */
  readonly file: File
  readonly image: ElfImage
  /** PT_INTERP's file. */
  readonly interpreter: File | undefined
  readonly interpreterImage: ElfImage | undefined
  /** With what scripts put in front. */
  readonly argv: readonly string[]
  readonly envp: readonly string[]
  readonly path: string
  readonly stackLimit: number
}

/** What the new process is, for the auxiliary vector and the layout. */
export interface LoadFacts {
  readonly uid: number
  readonly euid: number
  readonly gid: number
  readonly egid: number
  /** AT_SECURE: set-id or file capabilities were gained. */
  readonly secure: boolean
  /** personality(2): ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, ADDR_COMPAT_LAYOUT are honoured. */
  readonly personality: number
  readonly hwcap: number
  readonly hwcap2: number
  /** Whether the program may find the vDSO, by which it reads the host's clocks. */
  readonly vdso: boolean
  /** AT_MINSIGSTKSZ. */
  readonly minSignalStack: number
  /** AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN; 0: left out. */
  readonly rseqFeatureSize: number
  readonly rseqAlign: number
}

export interface LoadedProgram {
  /** Where the first instruction is: the interpreter's entry, if there is one. */
  readonly entry: number
  readonly stackPointer: number
}

/** Step 1. */
export function prepareProgram(request: ProgramRequest): OrErrno<Program> {
  const argv = request.argv.length > 0 ? [...request.argv] : ['']
  let file = request.file
  let path = request.path
  for (let scripts = 0; ; scripts++) {
    const status = checkArguments(argv, request)
    const start = new Uint8Array(START_SIZE)
    const got = status < 0 ? status : file.inode.writers > 0 ? -ETXTBSY : readFully(file, start, 0)
    if (got < 0 || scripts > MAX_SCRIPTS) return fail(got < 0 ? got : -ELOOP, file)
    if (!isScript(start)) return isElf(start) ? prepareElf(file, argv, request) : fail(-ENOEXEC, file)

    const line = readScriptLine(start)
    filePut(file)
    if (failed(line)) return line
    if (request.pathInaccessible === true && scripts === 0) return -ENOENT
    argv[0] = path
    if (line.argument !== undefined) argv.unshift(line.argument)
    argv.unshift(line.interpreter)
    path = line.interpreter
    // A walk from an empty name, which only the kernel can ask for, ends where it began.
    const interpreter = request.open(path === '' ? '.' : path)
    if (failed(interpreter)) return interpreter
    file = interpreter
  }
}

/** Gives up a prepared program. */
export function dropProgram(program: Program): void {
  filePut(program.file)
  if (program.interpreter !== undefined) filePut(program.interpreter)
}

/**
 * Step 2: fills `mm`, which has nothing mapped yet and whose `limits` are the caller's. On failure the mm is of no
 * further use.
 */
export function loadProgram(mm: Mm, program: Program, facts: LoadFacts): OrErrno<LoadedProgram> {
  const result = load(mm, program, facts)
  dropProgram(program)
  return result
}

function prepareElf(file: File, argv: string[], request: ProgramRequest): OrErrno<Program> {
  const image = readElf(file)
  if (failed(image)) return fail(image, file)
  let interpreter: File | undefined
  let interpreterImage: ElfImage | undefined
  if (image.interpreter !== undefined) {
    const opened = request.open(image.interpreter)
    if (failed(opened)) return fail(opened, file)
    const read = readElf(opened)
    if (failed(read)) {
      filePut(opened)
      return fail(read === -EIO ? read : -ELIBBAD, file)
    }
    interpreter = opened
    interpreterImage = read
  }
  const { envp, path, stackLimit } = request
  return { file, image, interpreter, interpreterImage, argv, envp, path, stackLimit }
}

function checkArguments(argv: readonly string[], request: ProgramRequest): Status {
  for (const text of argv) if (text.length >= MAX_ARG_STRLEN) return -E2BIG
  for (const text of request.envp) if (text.length >= MAX_ARG_STRLEN) return -E2BIG
  return argumentSize(argv, request.envp, request.path) > argumentLimit(request.stackLimit) ? -E2BIG : 0
}

function fail(errno: number, file: File): number {
  filePut(file)
  return errno
}

function load(mm: Mm, program: Program, facts: LoadFacts): OrErrno<LoadedProgram> {
  mm.personality = facts.personality
  const status = mm.setExeFile(program.file)
  if (status < 0) return status
  pickMmapLayout(mm, program.stackLimit, facts.personality)
  addVdso(mm)
  const plan = placeStack(mm, program, facts.personality)
  if (failed(plan)) return plan

  const { image, interpreter, interpreterImage } = program
  const loaded = loadElf(mm, program.file, image, interpreter === undefined ? 'library' : 'program')
  if (failed(loaded)) return loaded
  let base = 0
  let entry = loaded.entry
  if (interpreter !== undefined && interpreterImage !== undefined) {
    const linker = loadElf(mm, interpreter, interpreterImage, 'library')
    if (failed(linker)) return linker
    base = linker.bias
    entry = linker.entry
  }
  mm.startCode = loaded.startCode
  mm.endCode = loaded.endCode
  mm.startData = loaded.startData
  mm.endData = loaded.endData
  placeBrk(mm, program, loaded, facts.personality)

  const stackPointer = writeStack(mm, plan, program, facts, {
    headers: image.headersAddress + loaded.bias,
    headerCount: image.headerCount,
    entry: loaded.entry,
    base,
  })
  if (stackPointer < 0) return stackPointer
  mm.space.showArguments?.(mm)
  return { entry, stackPointer }
}

/** The heap starts behind the program; of a program that lies among the mappings, where programs usually lie. */
function placeBrk(mm: Mm, program: Program, loaded: LoadedImage, personality: number): void {
  const moved = program.image.relocatable && program.interpreter === undefined
  const random = (personality & ADDR_NO_RANDOMIZE) === 0
  const end = moved && random ? programBase(mm.context.addressLimit) : pageCeil(loaded.end)
  const shift = random ? mm.context.randomBelow(BRK_RANDOM / PAGE_SIZE) * PAGE_SIZE : 0
  mm.startBrk = mm.brk = end + shift
}

/** The platform has mapped the vDSO already; if it lies among the guest's addresses, it is one of the mappings. */
function addVdso(mm: Mm): void {
  const { vdso, vdsoSize, vvar, addressLimit } = mm.context
  if (vdso === 0 || vdso + vdsoSize > addressLimit) return
  const data = VM_READ | VM_MAYREAD | VM_DONTEXPAND | VM_IO | VM_DONTDUMP
  const text = VM_READ | VM_MAYREAD | VM_MAYWRITE | VM_DONTEXPAND | VM_EXEC | VM_MAYEXEC
  if (vvar < vdso) mm.vmas.insert(new Vma(vvar, vdso, data, undefined, 0, undefined, '[vvar]'))
  mm.vmas.insert(new Vma(vdso, vdso + pageCeil(vdsoSize), text, undefined, 0, undefined, '[vdso]'))
}
