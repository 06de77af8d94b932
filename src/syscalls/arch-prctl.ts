/** arch_prctl(2): bases of segments, and what else is x86's own. */
import {
  ARCH_GET_CPUID,
  ARCH_GET_FS,
  ARCH_GET_GS,
  ARCH_GET_XCOMP_GUEST_PERM,
  ARCH_GET_XCOMP_PERM,
  ARCH_GET_XCOMP_SUPP,
  ARCH_REQ_XCOMP_GUEST_PERM,
  ARCH_REQ_XCOMP_PERM,
  ARCH_SET_CPUID,
  ARCH_SET_FS,
  ARCH_SET_GS,
} from '../abi/constants.ts'
import { EAGAIN, EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { REG_RAX, REG_RIP } from '../platform/platform.ts'

export function arch_prctl(task: Task, option: number, address: GuestAddr): number {
  const { thread, mm } = task
  switch (option) {
    case ARCH_SET_FS:
      if (address >= mm.context.addressLimit) return -EPERM
      thread.setFsBase(address)
      return 0
    case ARCH_SET_GS:
      if (address >= mm.context.addressLimit) return -EPERM
      return setGs(task, address)
    case ARCH_GET_FS:
      return mm.putU64(address, thread.getFsBase())
    case ARCH_GET_GS:
      return mm.putU64(address, thread.getGsBase())
    case ARCH_GET_CPUID:
      return 1
    case ARCH_SET_CPUID:
      // The instruction works; that it is trapped the CPU does not offer.
      return -ENODEV
    case ARCH_GET_XCOMP_SUPP:
    case ARCH_GET_XCOMP_PERM:
    case ARCH_GET_XCOMP_GUEST_PERM:
      return mm.putU64(address, thread.stateFeatures)
    case ARCH_REQ_XCOMP_PERM:
    case ARCH_REQ_XCOMP_GUEST_PERM:
      // None of them is granted on demand.
      return address > LAST_STATE_FEATURE ? -EINVAL : -EOPNOTSUPP
  }
  return -EINVAL
}

/** XFEATURE_MAX is one more. */
const LAST_STATE_FEATURE = 19

function setGs(task: Task, address: GuestAddr): number {
  const { thread } = task
  const status = thread.setGsBase(address)
  if (status !== -EAGAIN) return status
  thread.regs.put(REG_RAX, task.callNumber)
  thread.regs.put(REG_RIP, thread.regs.get(REG_RIP) - CALL_LENGTH)
  return NO_RESULT
}
/** Of the syscall instruction. */
const CALL_LENGTH = 2
