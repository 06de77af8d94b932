/**
 * SIGEV_THREAD of mq_notify(3): the C library has a thread that reads a netlink socket of its own, and gives the kernel 32
 * bytes to put there, a cookie, when there is something to tell. The last byte says what.
 */
import { EBADF, EINVAL, ENOTSOCK } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { QueueNotice } from '../../fs/mqueue/queue.ts'
import type { File } from '../../vfs/file.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { SocketFile } from '../socket-file.ts'
import { NetlinkSocket } from './socket.ts'

/** NOTIFY_COOKIE_LEN, NOTIFY_WOKENUP, NOTIFY_REMOVED of Linux's mqueue. */
export const COOKIE_LENGTH = 32
const WOKEN_UP = 1
const REMOVED = 2

/** Holds the socket until it has told. */
export class CookieNotice implements QueueNotice {
  readonly #file: SocketFile
  readonly #cookie: Uint8Array

  /** `file`: a cookieSocket. */
  constructor(file: SocketFile, cookie: Uint8Array) {
    fileGet(file)
    this.#file = file
    this.#cookie = cookie
  }

  messageCame(): void {
    this.#tell(WOKEN_UP)
  }
  removed(): void {
    this.#tell(REMOVED)
  }

  #tell(what: number): void {
    this.#cookie[COOKIE_LENGTH - 1] = what
    const { socket } = this.#file
    if (socket instanceof NetlinkSocket) socket.deliver(this.#cookie, 0, 0)
    filePut(this.#file)
  }
}

/** netlink_getsockbyfd: whether cookies can be put there. */
export function cookieSocket(file: File | undefined): OrErrno<SocketFile> {
  if (file === undefined) return -EBADF
  if (!(file instanceof SocketFile)) return -ENOTSOCK
  return file.socket instanceof NetlinkSocket ? file : -EINVAL
}
