/** prctl(2) of the address space: where its parts are (PR_SET_MM), names of mappings, what may become executable. */
import {
  CAP_CHECKPOINT_RESTORE,
  CAP_SYS_ADMIN,
  CAP_SYS_RESOURCE,
  MS_NOEXEC,
  PR_GET_AUXV,
  PR_GET_MDWE,
  PR_GET_THP_DISABLE,
  PR_MDWE_NO_INHERIT,
  PR_MDWE_REFUSE_EXEC_GAIN,
  PR_SET_MDWE,
  PR_SET_MM,
  PR_SET_MM_ARG_END,
  PR_SET_MM_ARG_START,
  PR_SET_MM_AUXV,
  PR_SET_MM_BRK,
  PR_SET_MM_END_CODE,
  PR_SET_MM_END_DATA,
  PR_SET_MM_ENV_END,
  PR_SET_MM_ENV_START,
  PR_SET_MM_EXE_FILE,
  PR_SET_MM_MAP,
  PR_SET_MM_MAP_SIZE,
  PR_SET_MM_START_BRK,
  PR_SET_MM_START_CODE,
  PR_SET_MM_START_DATA,
  PR_SET_MM_START_STACK,
  PR_SET_THP_DISABLE,
  PR_SET_VMA,
  PR_SET_VMA_ANON_NAME,
  RLIMIT_DATA,
  S_IFREG,
} from '../abi/constants.ts'
import { EACCES, EBADF, EBUSY, EFAULT, EINVAL, ENAMETOOLONG, EPERM } from '../abi/errno.ts'
import { PRCTL_MM_MAP } from '../abi/layout.ts'
import { failed, type Status } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import { ANON_NAME_SIZE, setAnonName } from '../mm/anon-name.ts'
import { MMAP_MIN_ADDR } from '../mm/layout.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import { MAY_EXEC, permissionAt } from '../vfs/permission.ts'
import { fileOf } from './at.ts'

/** The result, or undefined for an option that is about something else. */
export function memoryOption(
  task: Task,
  option: number,
  a2: number,
  a3: number,
  a4: number,
  a5: number,
): number | undefined {
  const { mm } = task
  switch (option) {
    case PR_SET_MM:
      return setMm(task, a2, a3, a4, a5)
    case PR_GET_AUXV:
      return a4 !== 0 || a5 !== 0 ? -EINVAL : getAuxv(mm, a2, a3)
    case PR_SET_VMA:
      return a2 === PR_SET_VMA_ANON_NAME ? nameMemory(mm, a3, a4, a5) : -EINVAL
    case PR_SET_THP_DISABLE:
      if (a3 !== 0 || a4 !== 0 || a5 !== 0) return -EINVAL
      mm.thpDisabled = a2 !== 0
      return 0
    case PR_GET_THP_DISABLE:
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : Number(mm.thpDisabled)
    case PR_SET_MDWE:
      return a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : denyWriteExec(mm, a2)
    case PR_GET_MDWE:
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : mm.denyWriteExec
  }
  return undefined
}

/** What was chosen once stays. */
function denyWriteExec(mm: Mm, bits: number): Status {
  if ((bits & ~(PR_MDWE_REFUSE_EXEC_GAIN | PR_MDWE_NO_INHERIT)) !== 0 || bits > 0xffffffff) return -EINVAL
  if (bits === PR_MDWE_NO_INHERIT) return -EINVAL
  if (mm.denyWriteExec !== 0 && mm.denyWriteExec !== bits) return -EPERM
  mm.denyWriteExec = bits
  return 0
}

function nameMemory(mm: Mm, start: number, length: number, nameAt: GuestAddr): number {
  if (nameAt === 0) return setAnonName(mm, start, length, undefined)
  const name = mm.readString(nameAt, ANON_NAME_SIZE)
  if (failed(name)) return name === -ENAMETOOLONG ? -EINVAL : name
  return setAnonName(mm, start, length, name)
}

// The auxiliary vector.

/** AT_VECTOR_SIZE words of mm_struct. */
const MAX_AUXV = 368

function getAuxv(mm: Mm, at: GuestAddr, length: number): number {
  const { auxv } = mm
  const status = mm.copyOut(at, auxv.subarray(0, Math.min(length, auxv.length)))
  return status < 0 ? status : auxv.length
}

/** It ends with AT_NULL, whatever was given. */
function readAuxv(mm: Mm, at: GuestAddr, length: number): Uint8Array | number {
  const bytes = new Uint8Array(MAX_AUXV)
  if (mm.copyIn(at, bytes.subarray(0, length)) < 0) return -EFAULT
  return bytes.fill(0, MAX_AUXV - 16)
}

// PR_SET_MM.

/** Where the parts are: the fields of Mm, by option and by their place in struct prctl_mm_map. */
const PARTS = [
  ['startCode', PR_SET_MM_START_CODE, PRCTL_MM_MAP.start_code],
  ['endCode', PR_SET_MM_END_CODE, PRCTL_MM_MAP.end_code],
  ['startData', PR_SET_MM_START_DATA, PRCTL_MM_MAP.start_data],
  ['endData', PR_SET_MM_END_DATA, PRCTL_MM_MAP.end_data],
  ['startBrk', PR_SET_MM_START_BRK, PRCTL_MM_MAP.start_brk],
  ['brk', PR_SET_MM_BRK, PRCTL_MM_MAP.brk],
  ['startStack', PR_SET_MM_START_STACK, PRCTL_MM_MAP.start_stack],
  ['argStart', PR_SET_MM_ARG_START, PRCTL_MM_MAP.arg_start],
  ['argEnd', PR_SET_MM_ARG_END, PRCTL_MM_MAP.arg_end],
  ['envStart', PR_SET_MM_ENV_START, PRCTL_MM_MAP.env_start],
  ['envEnd', PR_SET_MM_ENV_END, PRCTL_MM_MAP.env_end],
] as const

type Layout = Record<(typeof PARTS)[number][0], number>

function setMm(task: Task, option: number, address: GuestAddr, a4: number, a5: number): number {
  const { mm } = task
  const sized = option === PR_SET_MM_AUXV || option === PR_SET_MM_MAP || option === PR_SET_MM_MAP_SIZE
  if (a5 !== 0 || (a4 !== 0 && !sized)) return -EINVAL
  if (option === PR_SET_MM_MAP_SIZE) return mm.putU32(address, PRCTL_MM_MAP.size)
  if (option === PR_SET_MM_MAP) return setAll(task, address, a4)
  if (!task.cred.capable(CAP_SYS_RESOURCE, task.kernel.userNs)) return -EPERM
  if (option === PR_SET_MM_EXE_FILE) return setExeFile(task, address)
  if (option === PR_SET_MM_AUXV) {
    if (a4 > MAX_AUXV) return -EINVAL
    const auxv = readAuxv(mm, address, a4)
    if (typeof auxv === 'number') return auxv
    mm.auxv = auxv
    return 0
  }
  if (address >= mm.context.addressLimit || address < MMAP_MIN_ADDR) return -EINVAL
  const part = PARTS.find(([, choice]) => choice === option)
  if (part === undefined) return -EINVAL
  const layout: Layout = { ...layoutOf(mm), [part[0]]: address }
  const status = check(task, layout)
  if (status < 0) return status
  const onStack = option === PR_SET_MM_START_STACK || option >= PR_SET_MM_ARG_START
  if (onStack && mm.vmas.find(address) === undefined) return -EFAULT
  apply(mm, layout)
  return 0
}

/** PR_SET_MM_MAP: everything at once; needs no capability but for the program's file. */
function setAll(task: Task, at: GuestAddr, size: number): number {
  const { mm } = task
  if (size !== PRCTL_MM_MAP.size) return -EINVAL
  const view = mm.view(at, size)
  if (view === undefined) return -EFAULT
  const layout = layoutOf(mm)
  for (const [name, , offset] of PARTS) layout[name] = take64(view, offset)
  const auxvAt = take64(view, PRCTL_MM_MAP.auxv)
  const auxvSize = view.getUint32(PRCTL_MM_MAP.auxv_size, true)
  const exeFd = view.getInt32(PRCTL_MM_MAP.exe_fd, true)
  let status = check(task, layout)
  if (status < 0) return status
  let { auxv } = mm
  if (auxvSize > 0) {
    if (auxvAt === 0 || auxvSize > MAX_AUXV) return -EINVAL
    const given = readAuxv(mm, auxvAt, auxvSize)
    if (typeof given === 'number') return given
    auxv = given
  }
  if (exeFd !== -1) {
    const { cred } = task
    if (!cred.capable(CAP_CHECKPOINT_RESTORE) && !cred.capable(CAP_SYS_ADMIN)) return -EPERM
    status = setExeFile(task, exeFd)
    if (status < 0) return status
  }
  mm.auxv = auxv
  apply(mm, layout)
  return 0
}

function layoutOf(mm: Mm): Layout {
  return Object.fromEntries(PARTS.map(([name]) => [name, mm[name]])) as Layout
}

/** validate_prctl_map_addr. */
function check({ mm, group }: Task, layout: Layout): Status {
  for (const [name] of PARTS) {
    if (layout[name] >= mm.context.addressLimit || layout[name] < MMAP_MIN_ADDR) return -EINVAL
  }
  const { startCode, endCode, startData, endData, startBrk, brk } = layout
  if (startCode >= endCode || startData > endData || startBrk > brk) return -EINVAL
  if (layout.argStart > layout.argEnd || layout.envStart > layout.envEnd) return -EINVAL
  return brk - startBrk + (endData - startData) > group.rlimits.soft(RLIMIT_DATA) ? -EINVAL : 0
}

function apply(mm: Mm, layout: Layout): void {
  Object.assign(mm, layout)
  mm.space.showArguments?.(mm)
}

/** What /proc/PID/exe leads to: a program whose predecessor is mapped nowhere any more. */
function setExeFile(task: Task, fd: number): Status {
  const { mm, cred } = task
  const file = fileOf(task, fd | 0)
  if (file === undefined) return -EBADF
  if (file.inode.type !== S_IFREG || (file.path.mount.flags & MS_NOEXEC) !== 0) return -EACCES
  const status = permissionAt(cred, file.path, MAY_EXEC)
  if (status < 0) return status
  const { exeFile } = mm
  if (exeFile !== undefined) {
    for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
      if (vma.file?.path.dentry === exeFile.path.dentry) return -EBUSY
    }
  }
  return mm.setExeFile(file)
}
