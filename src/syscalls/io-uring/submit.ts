/** From the submission queue to requests: io_submit_sqes. */
import {
  IORING_OP_LINK_TIMEOUT,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_SUBMIT_ALL,
  IOSQE_ASYNC,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
} from '../../abi/constants.ts'
import { EACCES, EAGAIN, EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import type { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import { startOrDefer, type UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { operationOf } from './operations.ts'

const KNOWN_FLAGS =
  IOSQE_FIXED_FILE |
  IOSQE_IO_DRAIN |
  IOSQE_IO_LINK |
  IOSQE_IO_HARDLINK |
  IOSQE_ASYNC |
  IOSQE_BUFFER_SELECT |
  IOSQE_CQE_SKIP_SUCCESS

/** Stands for opcodes that are not there. */
const unknown: UringOperation = { prepare: () => -EINVAL, issue: () => -EINVAL }

/** The chain that is being put together. */
interface Chain {
  head: UringRequest | undefined
  last: UringRequest | undefined
}

/** More requests than this don't wait in all rings together: their memory is the kernel's. */
const MAX_REQUESTS = 1 << 18

/** Takes up to `count` entries: how many were taken; -EAGAIN when too many wait already. */
export function submit(task: Task, ring: IoUringFile, count: number): number {
  const { rings } = ring
  const total = Math.min(count, rings.submitted)
  if (ring.held.requests > MAX_REQUESTS) return -EAGAIN
  const chain: Chain = { head: undefined, last: undefined }
  let done = 0
  while (done < total) {
    const entry = rings.takeEntry()
    if (entry === undefined) break
    done++
    const refused = submitEntry(task, ring, entry, chain)
    if (refused && (ring.setupFlags & IORING_SETUP_SUBMIT_ALL) === 0) break
  }
  // A chain ends with the submission.
  if (chain.head !== undefined) launch(chain.head)
  if (total > 0) rings.commitHead()
  return done
}

/** True when it ends with a refusal. */
function submitEntry(task: Task, ring: IoUringFile, entry: DataView, chain: Chain): boolean {
  const opcode = entry.getUint8(IO_URING_SQE.opcode)
  const request = new UringRequest(task, ring, entry, operationOf(opcode) ?? unknown)
  request.refused = prepare(task, request, chain)
  if (chain.head === undefined) chain.head = request
  else chain.last!.link = request
  chain.last = request
  if (request.linked) return false
  const { head } = chain
  chain.head = chain.last = undefined
  launch(head)
  return request.refused < 0
}

function launch(head: UringRequest): void {
  for (let at: UringRequest | undefined = head; at !== undefined; at = at.link) {
    if (at.refused < 0) {
      head.refuse()
      return
    }
  }
  startOrDefer(head)
}

/** io_init_req: 0, or why the entry is refused. */
function prepare(task: Task, request: UringRequest, chain: Chain): number {
  const { ring, operation, flags } = request
  if (operation === unknown) return -EINVAL
  if ((flags & ~KNOWN_FLAGS) !== 0) return -EINVAL
  if ((flags & IOSQE_BUFFER_SELECT) !== 0 && operation.bufferSelect !== true) return -EOPNOTSUPP
  if ((flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) {
    if ((flags & IOSQE_IO_DRAIN) !== 0) return -EOPNOTSUPP
    ring.drainDisabled = true
  }
  if ((flags & IOSQE_IO_DRAIN) !== 0 && ring.drainDisabled) return -EOPNOTSUPP
  if (!permitted(request)) return -EACCES
  if (request.ioprio !== 0 && operation.ioprio !== true) return -EINVAL
  if ((ring.setupFlags & IORING_SETUP_IOPOLL) !== 0 && operation.polled !== true) return -EINVAL
  const personality = request.entry.getUint16(IO_URING_SQE.personality, true)
  if (personality !== 0) {
    const cred = ring.personalities.get(personality)
    if (cred === undefined) return -EINVAL
    request.cred = cred
  }
  if (request.opcode === IORING_OP_LINK_TIMEOUT) {
    if (chain.last === undefined || chain.last.opcode === IORING_OP_LINK_TIMEOUT) return -EINVAL
  }
  return operation.prepare(task, request)
}

/** IORING_REGISTER_RESTRICTIONS. */
function permitted({ ring, opcode, flags }: UringRequest): boolean {
  const { restrictions } = ring
  if (restrictions === undefined) return true
  if (!restrictions.operations.has(opcode)) return false
  if ((flags & restrictions.requiredFlags) !== restrictions.requiredFlags) return false
  return (flags & ~(restrictions.allowedFlags | restrictions.requiredFlags)) === 0
}
