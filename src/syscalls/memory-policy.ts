/** NUMA: mbind(2), set_mempolicy(2), move_pages(2) and kin, as a kernel with one node, number 0. */
import {
  CAP_SYS_NICE,
  MPOL_BIND,
  MPOL_DEFAULT,
  MPOL_F_ADDR,
  MPOL_F_MEMS_ALLOWED,
  MPOL_F_NODE,
  MPOL_F_RELATIVE_NODES,
  MPOL_F_STATIC_NODES,
  MPOL_INTERLEAVE,
  MPOL_LOCAL,
  MPOL_MF_MOVE,
  MPOL_MF_MOVE_ALL,
  MPOL_MF_VALID,
  MPOL_MODE_FLAGS,
  MPOL_PREFERRED,
  MPOL_WEIGHTED_INTERLEAVE,
} from '../abi/constants.ts'
import { EACCES, EFAULT, EINVAL, ENODEV, ENOENT, EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { OrErrno } from '../base/result.ts'
import { mayInspect } from '../kernel/credentials.ts'
import { ENDED, type Task } from '../kernel/task.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import { PAGE_SIZE, pageCeil, pageFloor } from '../mm/vma.ts'
import { mappedUntil } from '../mm/vma-edit.ts'
import { addr, hex, int, pid, type SyscallRows, size } from './args.ts'

const NODE_ZERO = 1
const MAX_MASK_BITS = PAGE_SIZE * 8

/** A policy that was asked for: its mode with flags, and its nodes as bits. */
interface Policy {
  readonly mode: number
  readonly nodes: number
}

export function set_mempolicy(task: Task, mode: number, mask: GuestAddr, maxNode: number): number {
  const policy = readPolicy(task.mm, mode, mask, maxNode)
  if (typeof policy === 'number') return policy
  task.memoryPolicy = policy
  return 0
}

export function get_mempolicy(
  task: Task,
  modeAt: GuestAddr,
  mask: GuestAddr,
  maxNode: number,
  address: GuestAddr,
  how: number,
): number {
  if (mask !== 0 && maxNode < 1) return -EINVAL
  if ((how & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED)) !== 0) return -EINVAL
  let { mode, nodes } = task.memoryPolicy
  if ((how & MPOL_F_MEMS_ALLOWED) !== 0) {
    if ((how & (MPOL_F_NODE | MPOL_F_ADDR)) !== 0) return -EINVAL
    mode = 0
    nodes = NODE_ZERO
  } else if ((how & MPOL_F_ADDR) !== 0) {
    if (task.mm.find(address) === undefined) return -EFAULT
  } else if (address !== 0) return -EINVAL
  if ((how & MPOL_F_NODE) !== 0) {
    const interleaved =
      (mode & ~MPOL_MODE_FLAGS) === MPOL_INTERLEAVE || (mode & ~MPOL_MODE_FLAGS) === MPOL_WEIGHTED_INTERLEAVE
    if ((how & MPOL_F_ADDR) === 0 && !interleaved) return -EINVAL
    mode = 0
  }
  if (modeAt !== 0 && task.mm.putU32(modeAt, mode) < 0) return -EFAULT
  return mask === 0 ? 0 : writeNodes(task.mm, mask, maxNode, nodes)
}

export function mbind(
  task: Task,
  start: GuestAddr,
  length: number,
  mode: number,
  mask: GuestAddr,
  maxNode: number,
  how: number,
): number {
  const policy = readPolicy(task.mm, mode, mask, maxNode)
  if (typeof policy === 'number') return policy
  if ((how & ~MPOL_MF_VALID) !== 0) return -EINVAL
  if ((how & MPOL_MF_MOVE_ALL) !== 0 && !task.cred.capable(CAP_SYS_NICE)) return -EPERM
  if (start % PAGE_SIZE !== 0) return -EINVAL
  const end = start + pageCeil(length)
  return mappedUntil(task.mm.vmas, start, end) < end ? -EFAULT : 0
}

export function set_mempolicy_home_node(
  _task: Task,
  start: GuestAddr,
  _length: number,
  node: number,
  how: number,
): number {
  if (start % PAGE_SIZE !== 0 || how !== 0 || node !== 0) return -EINVAL
  // Only ranges that mbind gave a policy have a home; none keeps one.
  return -ENOENT
}

export function migrate_pages(
  task: Task,
  pidNumber: number,
  maxNode: number,
  from: GuestAddr,
  to: GuestAddr,
): number {
  const source = readNodes(task.mm, from, maxNode)
  if (source < 0) return source
  const target = readNodes(task.mm, to, maxNode)
  if (target < 0) return target
  const mm = memoryOf(task, pidNumber)
  if (typeof mm === 'number') return mm
  return target === 0 ? -EINVAL : 0
}

export function move_pages(
  task: Task,
  pidNumber: number,
  count: number,
  pages: GuestAddr,
  nodes: GuestAddr,
  status: GuestAddr,
  how: number,
): number {
  if ((how & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) !== 0) return -EINVAL
  if ((how & MPOL_MF_MOVE_ALL) !== 0 && !task.cred.capable(CAP_SYS_NICE)) return -EPERM
  const mm = memoryOf(task, pidNumber)
  if (typeof mm === 'number') return mm
  for (let i = 0; i < count; i++) {
    const address = task.mm.u64(pages + i * 8)
    if (address === undefined) return -EFAULT
    if (nodes !== 0) {
      const node = task.mm.u32(nodes + i * 4)
      if (node === undefined) return -EFAULT
      if (node !== 0)
        return node < 0x80000000 && node >= 1024 ? -ENODEV : node < 0x80000000 ? -EACCES : -ENODEV
    }
    if (task.mm.putU32(status + i * 4, nodeOf(mm, pageFloor(address))) < 0) return -EFAULT
  }
  return 0
}

/** Where a page is: node 0, or a negative errno. */
function nodeOf(mm: Mm, page: number): number {
  if (mm.find(page) === undefined) return -EFAULT
  const resident = new Uint8Array(1)
  if (mm.space.incore(page, PAGE_SIZE, resident) < 0) return -EFAULT
  return (resident[0]! & 1) !== 0 ? 0 : -ENOENT
}

/** What mpol_new accepts. */
function readPolicy(mm: Mm, word: number, mask: GuestAddr, maxNode: number): OrErrno<Policy> {
  const mode = word & ~MPOL_MODE_FLAGS
  const modeFlags = word & MPOL_MODE_FLAGS
  const special = modeFlags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)
  if (mode < 0 || mode > MPOL_WEIGHTED_INTERLEAVE) return -EINVAL
  if (special === (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) return -EINVAL
  if ((modeFlags & ~special) !== 0 && mode !== MPOL_BIND) return -EINVAL
  const nodes = readNodes(mm, mask, maxNode)
  if (nodes < 0) return nodes
  if (mode === MPOL_DEFAULT || mode === MPOL_LOCAL) {
    if (nodes !== 0 || (mode === MPOL_LOCAL && special !== 0)) return -EINVAL
    return { mode, nodes: 0 }
  }
  if (nodes === 0) return mode === MPOL_PREFERRED && special === 0 ? { mode: MPOL_LOCAL, nodes: 0 } : -EINVAL
  return { mode: word, nodes }
}

/** A node mask from the guest (get_nodes): its bits, or a negative errno; nodes that don't exist are -EINVAL. */
function readNodes(mm: Mm, mask: GuestAddr, maxNode: number): number {
  const bits = maxNode - 1
  if (bits <= 0 || mask === 0) return 0
  if (bits > MAX_MASK_BITS) return -EINVAL
  const bytes = new Uint8Array(Math.ceil(bits / 64) * 8)
  if (mm.copyIn(mask, bytes) < 0) return -EFAULT
  for (let bit = 1; bit < bits; bit++) if (((bytes[bit >> 3]! >> (bit & 7)) & 1) !== 0) return -EINVAL
  return bytes[0]! & NODE_ZERO
}

/** copy_nodes_to_user. */
function writeNodes(mm: Mm, mask: GuestAddr, maxNode: number, nodes: number): number {
  const length = Math.ceil((maxNode - 1) / 64) * 8
  if (length > PAGE_SIZE) return -EINVAL
  const bytes = new Uint8Array(length)
  if (length > 0) bytes[0] = nodes
  return mm.copyOut(mask, bytes)
}

function memoryOf(task: Task, pidNumber: number): OrErrno<Mm> {
  if (pidNumber === 0) return task.mm
  const target = task.pidNs.task(pidNumber)
  if (target === undefined || target.state === ENDED) return -ESRCH
  return mayInspect(task, target, false) ? target.mm : -EPERM
}

export const memoryPolicyCalls = {
  set_mempolicy: { nr: NR.set_mempolicy, run: set_mempolicy, args: [int, addr, size] },
  get_mempolicy: { nr: NR.get_mempolicy, run: get_mempolicy, args: [addr, addr, size, addr, hex] },
  mbind: {
    nr: NR.mbind,
    run: mbind,
    args: [addr, size, int, addr, size, hex],
    partial: "with one node a range's policy decides nothing; get_mempolicy(MPOL_F_ADDR) shows the task's",
  },
  set_mempolicy_home_node: {
    nr: NR.set_mempolicy_home_node,
    run: set_mempolicy_home_node,
    args: [addr, size, size, size],
  },
  migrate_pages: { nr: NR.migrate_pages, run: migrate_pages, args: [pid, size, addr, addr] },
  move_pages: { nr: NR.move_pages, run: move_pages, args: [pid, size, addr, addr, addr, hex] },
} satisfies SyscallRows
