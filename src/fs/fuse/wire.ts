/** The bytes of FUSE messages: linux/fuse.h. Numbers that must come back exactly as they came are a U64. */

import { FUSE_IN_HEADER } from '../../abi/layout.ts'
import { put64 } from '../../base/words.ts'

/** A 64-bit number of the server's own (a node's id, a file handle), which a double might not hold. */
export interface U64 {
  readonly lo: number
  readonly hi: number
}

export const ZERO: U64 = { lo: 0, hi: 0 }

/** No file is so large (fuse_valid_size). */
export const SIZE_LIMIT = 2 ** 63

export function readU64(view: DataView, at: number): U64 {
  return { lo: view.getUint32(at, true), hi: view.getUint32(at + 4, true) }
}
export function toNumber(value: U64): number {
  return value.hi * 2 ** 32 + value.lo
}

/** One message to the server: header, struct, and what follows it. */
export class Message {
  readonly bytes: Uint8Array
  readonly #view: DataView

  /** `tail`: bytes behind the struct. */
  constructor(structSize: number, tail = 0) {
    this.bytes = new Uint8Array(FUSE_IN_HEADER.size + structSize + tail)
    this.#view = new DataView(this.bytes.buffer)
    this.#view.setUint32(FUSE_IN_HEADER.len, this.bytes.length, true)
  }

  header(opcode: number, unique: number, node: U64, uid: number, gid: number, pid: number): void {
    const view = this.#view
    view.setUint32(FUSE_IN_HEADER.opcode, opcode, true)
    put64(view, FUSE_IN_HEADER.unique, unique)
    view.setUint32(FUSE_IN_HEADER.nodeid, node.lo, true)
    view.setUint32(FUSE_IN_HEADER.nodeid + 4, node.hi, true)
    view.setUint32(FUSE_IN_HEADER.uid, uid, true)
    view.setUint32(FUSE_IN_HEADER.gid, gid, true)
    view.setUint32(FUSE_IN_HEADER.pid, pid, true)
  }

  /** Another number than `header` has put in. */
  unique(value: U64): void {
    this.#view.setUint32(FUSE_IN_HEADER.unique, value.lo, true)
    this.#view.setUint32(FUSE_IN_HEADER.unique + 4, value.hi, true)
  }

  u64At(at: number): U64 {
    return readU64(this.#view, FUSE_IN_HEADER.size + at)
  }
  u32(at: number, value: number): this {
    this.#view.setUint32(FUSE_IN_HEADER.size + at, value, true)
    return this
  }
  u64(at: number, value: U64): this {
    return this.u32(at, value.lo).u32(at + 4, value.hi)
  }
  number(at: number, value: number): this {
    put64(this.#view, FUSE_IN_HEADER.size + at, value)
    return this
  }
  /** A byte string, which is followed by a NUL as the message was zero. */
  text(at: number, value: string): this {
    for (let i = 0; i < value.length; i++) this.bytes[FUSE_IN_HEADER.size + at + i] = value.charCodeAt(i)
    return this
  }
  data(at: number, value: Uint8Array): this {
    this.bytes.set(value, FUSE_IN_HEADER.size + at)
    return this
  }
}

/** A message that is a struct of `size` bytes and names behind it. */
export function withNames(size: number, ...names: string[]): Message {
  let tail = 0
  for (const name of names) tail += name.length + 1
  const message = new Message(size, tail)
  let at = size
  for (const name of names) {
    message.text(at, name)
    at += name.length + 1
  }
  return message
}
