/**
 * Pages that the kernel and guests share: the rings of io_uring and of io_setup(2). A file in memory that guests map, and
 * the kernel too. The guest may change any word at any time: each is read once.
 *
 * All pages are there from the start, and the file is sealed against shrinking: the kernel never faults on them.
 */
import { F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK } from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Host } from '../../platform/host.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { TmpfsRegular } from '../tmpfs/regular.ts'
import { createSharedMemory } from './memfd.ts'

export class SharedPages {
  /** For mappings, which have references of their own. */
  readonly file: File
  readonly hostFd: number
  readonly #host: Host
  readonly #buffer: ArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Uint8Array

  /** Takes over the reference to `file`. */
  constructor(host: Host, file: File, hostFd: number, buffer: ArrayBuffer) {
    this.#host = host
    this.file = file
    this.hostFd = hostFd
    this.#buffer = buffer
    this.#words = new Int32Array(buffer)
    this.#bytes = new Uint8Array(buffer)
  }

  /** A word, aligned. What the guest did before it wrote it is seen after. */
  u32(offset: number): number {
    return Atomics.load(this.#words, offset >>> 2) >>> 0
  }
  /** The guest that sees the word sees what was written before. */
  putU32(offset: number, value: number): void {
    Atomics.store(this.#words, offset >>> 2, value | 0)
  }
  read(into: Uint8Array, offset: number): void {
    into.set(this.#bytes.subarray(offset, offset + into.length))
  }
  write(from: Uint8Array, offset: number): void {
    this.#bytes.set(from, offset)
  }

  /** The kernel is done with them; guests may still have them mapped. Nothing may be read or written any more. */
  release(): void {
    this.#host.unmapShared(this.#buffer)
    filePut(this.file)
  }
}

/** `size` zero bytes, whole pages. `name`: what /proc/PID/maps shows, with ' (deleted)' behind it. */
export function createSharedPages(
  kernel: Kernel,
  name: string,
  size: number,
  cred: Credentials,
): OrErrno<SharedPages> {
  const file = createSharedMemory(kernel, name, 0o600, cred)
  if (failed(file)) return file
  const node = file.inode as TmpfsRegular
  const hostFd = node.data.map(true)
  const status = hostFd < 0 ? hostFd : fill(node, size)
  const buffer = status < 0 ? status : kernel.host.mapShared(hostFd, size)
  if (!failed(buffer)) return new SharedPages(kernel.host, file, hostFd, buffer)
  filePut(file)
  return buffer
}

function fill(node: TmpfsRegular, size: number): Status {
  const status = node.data.allocate(0, size, true)
  if (status < 0) return status
  node.size = size
  node.seals = 0
  return node.addSeals(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
}
