/**
 * Events that ask for permission: FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM. The call that is judged notes a request in
 * its task's log and ends its try; the listener reads the event, and writes the answer, by the descriptor in it; then the call
 * is tried again, finds its answer, and goes on or fails with EPERM.
 */
import { FAN_ALLOW, FAN_AUDIT, FAN_DENY } from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENOENT, EPERM } from '../../abi/errno.ts'
import { FANOTIFY_RESPONSE } from '../../abi/layout.ts'
import type { IoSrc } from '../../base/io.ts'
import { PENDING, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { type LoggedRequest, RequestLog } from '../../kernel/request-log.ts'
import type { Task } from '../../kernel/task.ts'
import { type Path, samePath } from '../../vfs/path.ts'

export class PermissionRequest implements LoggedRequest {
  readonly owner: PermissionRequests
  readonly path: Path
  readonly mask: number
  readonly queue = new WaitQueue()
  done = false
  usedIn = 0
  allowed = true
  /** By which descriptor the listener knows it, once it has read the event. */
  fd = -1

  constructor(owner: PermissionRequests, path: Path, mask: number) {
    this.owner = owner
    this.path = path
    this.mask = mask
  }

  answer(allowed: boolean): void {
    if (this.done) return
    this.done = true
    this.allowed = allowed
    this.owner.forget(this)
    this.queue.wakeAll()
  }
  /** Only what kills ends the wait. */
  interrupt(): void {}
  end(): void {
    this.owner.forget(this)
    if (!this.done) this.owner.withdraw(this)
  }
}

/** Those of one group that have no answer yet. */
export class PermissionRequests {
  /** In the order in which they were asked. */
  readonly #open = new Set<PermissionRequest>()
  /** Nobody waits for the answer any more: the event need not be read. */
  readonly withdraw: (request: PermissionRequest) => void

  constructor(withdraw: (request: PermissionRequest) => void) {
    this.withdraw = withdraw
  }

  ask(task: Task, path: Path, mask: number, send: (request: PermissionRequest) => void): Status {
    task.requests ??= new RequestLog()
    const log = task.requests
    const same = (each: LoggedRequest): boolean =>
      each instanceof PermissionRequest &&
      each.owner === this &&
      each.mask === mask &&
      samePath(each.path, path)
    // A group with several marks is asked once.
    const known = (log.find(same) ?? log.used(same)) as PermissionRequest | undefined
    if (known?.done === true) return known.allowed ? 0 : -EPERM
    if (known !== undefined) {
      log.waitFor(known)
      return PENDING
    }
    const request = new PermissionRequest(this, path, mask)
    this.#open.add(request)
    log.add(request)
    send(request)
    return PENDING
  }

  forget(request: PermissionRequest): void {
    this.#open.delete(request)
  }

  /** write(2) of one struct fanotify_response. */
  respond(from: IoSrc): number {
    if (from.remaining < FANOTIFY_RESPONSE.size) return -EINVAL
    const bytes = new Uint8Array(FANOTIFY_RESPONSE.size)
    if (from.take(bytes) < bytes.length) return -EFAULT
    const view = new DataView(bytes.buffer)
    const fd = view.getInt32(FANOTIFY_RESPONSE.fd, true)
    const response = view.getUint32(FANOTIFY_RESPONSE.response, true) & ~FAN_AUDIT
    if (fd < 0 || (response !== FAN_ALLOW && response !== FAN_DENY)) return -EINVAL
    // Listeners in two processes may have the same number: the one that asked first is answered first.
    for (const request of this.#open) {
      if (request.fd !== fd) continue
      request.answer(response === FAN_ALLOW)
      return FANOTIFY_RESPONSE.size
    }
    return -ENOENT
  }

  /** The listener is gone: nobody is held up. */
  answerAll(): void {
    for (const request of [...this.#open]) request.answer(true)
  }
}
