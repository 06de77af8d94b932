/** lsm_list_modules(2) and the attributes of security modules, of which those that there are have none. */
import {
  LSM_ATTR_UNDEF,
  LSM_FLAG_SINGLE,
  LSM_ID_CAPABILITY,
  LSM_ID_LANDLOCK,
  LSM_ID_UNDEF,
} from '../abi/constants.ts'
import { E2BIG, EFAULT, EINVAL, EOPNOTSUPP } from '../abi/errno.ts'
import { LSM_CTX } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { put64, take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, flags as flagsArg, hex, type SyscallRows, uint } from './args.ts'

const PAGE_SIZE = 4096
/** In the order in which they are asked. */
const MODULES = [LSM_ID_CAPABILITY, LSM_ID_LANDLOCK]

export function lsm_list_modules(task: Task, idsAt: GuestAddr, sizeAt: GuestAddr, flags: number): number {
  if (flags !== 0) return -EINVAL
  const room = task.mm.u32(sizeAt)
  if (room === undefined) return -EFAULT
  const bytes = new Uint8Array(MODULES.length * 8)
  if (task.mm.putU32(sizeAt, bytes.length) < 0) return -EFAULT
  if (room < bytes.length) return -E2BIG
  const out = new DataView(bytes.buffer)
  MODULES.forEach((id, i) => {
    put64(out, i * 8, id)
  })
  const status = task.mm.copyOut(idsAt, bytes)
  return status < 0 ? status : MODULES.length
}

/** security_getselfattr. */
export function lsm_get_self_attr(
  task: Task,
  attribute: number,
  contextAt: GuestAddr,
  sizeAt: GuestAddr,
  flags: number,
): number {
  if (attribute === LSM_ATTR_UNDEF || sizeAt === 0) return -EINVAL
  if (task.mm.u32(sizeAt) === undefined) return -EFAULT
  if (flags !== 0) {
    if (flags !== LSM_FLAG_SINGLE || contextAt === 0) return -EINVAL
    const context = task.mm.view(contextAt, LSM_CTX.size)
    if (context === undefined) return -EFAULT
    if (take64(context, LSM_CTX.id) === LSM_ID_UNDEF) return -EINVAL
  }
  return task.mm.putU32(sizeAt, 0) < 0 ? -EFAULT : -EOPNOTSUPP
}

/** security_setselfattr. */
export function lsm_set_self_attr(
  task: Task,
  _attribute: number,
  contextAt: GuestAddr,
  size: number,
  flags: number,
): number {
  if (flags !== 0 || size < LSM_CTX.size) return -EINVAL
  if (size > PAGE_SIZE) return -E2BIG
  const context = task.mm.view(contextAt, size)
  if (context === undefined) return -EFAULT
  const needed = LSM_CTX.size + take64(context, LSM_CTX.ctx_len)
  const length = take64(context, LSM_CTX.len)
  return size < length || length < needed ? -EINVAL : -EOPNOTSUPP
}

export const lsmCalls = {
  lsm_get_self_attr: {
    nr: NR.lsm_get_self_attr,
    run: lsm_get_self_attr,
    args: [uint, addr, addr, flagsArg({ LSM_FLAG_SINGLE })],
  },
  lsm_set_self_attr: { nr: NR.lsm_set_self_attr, run: lsm_set_self_attr, args: [uint, addr, uint, hex] },
  lsm_list_modules: { nr: NR.lsm_list_modules, run: lsm_list_modules, args: [addr, addr, hex] },
} satisfies SyscallRows
