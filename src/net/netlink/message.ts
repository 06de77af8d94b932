/** Netlink messages as bytes: netlink(7). Everything is in the machine's byte order unless the name says otherwise. */
import { NLA_F_NESTED, NLA_TYPE_MASK } from '../../abi/constants.ts'
import { NLATTR, NLMSGHDR } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'

export function align4(length: number): number {
  return (length + 3) & ~3
}

/**
 * Puts messages together, one after the other, in one growing buffer. `start` begins a message and `end` finishes it;
 * `cancel` takes a begun one back.
 */
export class MessageWriter {
  #bytes = new Uint8Array(1024)
  #view = new DataView(this.#bytes.buffer)
  #at = 0
  #message = 0

  get length(): number {
    return this.#at
  }
  /** What was written, as bytes of its own. */
  take(): Uint8Array {
    const bytes = this.#bytes.slice(0, this.#at)
    this.#at = 0
    return bytes
  }

  start(type: number, flags: number, sequence: number, port: number): void {
    this.#message = this.#reserve(NLMSGHDR.size)
    this.#view.setUint16(this.#message + NLMSGHDR.nlmsg_type, type, true)
    this.#view.setUint16(this.#message + NLMSGHDR.nlmsg_flags, flags, true)
    this.#view.setUint32(this.#message + NLMSGHDR.nlmsg_seq, sequence, true)
    this.#view.setUint32(this.#message + NLMSGHDR.nlmsg_pid, port, true)
  }
  end(): void {
    this.#view.setUint32(this.#message + NLMSGHDR.nlmsg_len, this.#at - this.#message, true)
    this.#reserve(align4(this.#at) - this.#at)
  }
  cancel(): void {
    this.#at = this.#message
  }
  /** More flags for the message that was begun last, which may be finished. */
  addFlags(flags: number): void {
    const at = this.#message + NLMSGHDR.nlmsg_flags
    this.#view.setUint16(at, this.#view.getUint16(at, true) | flags, true)
  }

  /** Room for a struct of `size` bytes, all zero: where it stands, for the `set` methods. */
  struct(size: number): number {
    return this.#reserve(size)
  }
  set8(at: number, value: number): void {
    this.#view.setUint8(at, value)
  }
  set16(at: number, value: number): void {
    this.#view.setUint16(at, value, true)
  }
  set32(at: number, value: number): void {
    this.#view.setUint32(at, value >>> 0, true)
  }
  set64(at: number, value: number): void {
    this.#view.setUint32(at, value % 0x100000000, true)
    this.#view.setUint32(at + 4, value / 0x100000000, true)
  }
  setBytes(at: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, at)
  }

  bytes(type: number, bytes: Uint8Array): void {
    const at = this.attribute(type, bytes.length)
    this.#bytes.set(bytes, at)
  }
  /** Room for an attribute's value of `size` bytes: where it stands. */
  attribute(type: number, size: number): number {
    const at = this.#reserve(align4(NLATTR.size + size))
    this.#view.setUint16(at + NLATTR.nla_len, NLATTR.size + size, true)
    this.#view.setUint16(at + NLATTR.nla_type, type, true)
    return at + NLATTR.size
  }
  u8(type: number, value: number): void {
    const at = this.attribute(type, 1)
    this.#view.setUint8(at, value)
  }
  u16(type: number, value: number): void {
    const at = this.attribute(type, 2)
    this.#view.setUint16(at, value, true)
  }
  u32(type: number, value: number): void {
    const at = this.attribute(type, 4)
    this.#view.setUint32(at, value >>> 0, true)
  }
  /** Of network byte order. */
  be16(type: number, value: number): void {
    const at = this.attribute(type, 2)
    this.#view.setUint16(at, value)
  }
  be32(type: number, value: number): void {
    const at = this.attribute(type, 4)
    this.#view.setUint32(at, value >>> 0)
  }
  be64(type: number, value: number): void {
    const at = this.attribute(type, 8)
    this.#view.setUint32(at, value / 0x100000000)
    this.#view.setUint32(at + 4, value % 0x100000000)
  }
  u64(type: number, value: number): void {
    const at = this.attribute(type, 8)
    this.set64(at, value)
  }
  /** With its NUL. */
  string(type: number, text: string): void {
    const at = this.attribute(type, text.length + 1)
    for (let i = 0; i < text.length; i++) this.#bytes[at + i] = text.charCodeAt(i)
  }
  /** Begins an attribute that holds attributes; `close` with what it returns ends it. */
  nest(type: number, flag = 0): number {
    const at = this.#reserve(NLATTR.size)
    this.#view.setUint16(at + NLATTR.nla_type, type | flag, true)
    return at
  }
  close(nest: number): void {
    this.#view.setUint16(nest + NLATTR.nla_len, this.#at - nest, true)
  }

  #reserve(size: number): number {
    const at = this.#at
    const end = at + size
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2))
      grown.set(this.#bytes.subarray(0, at))
      this.#bytes = grown
      this.#view = new DataView(grown.buffer)
    }
    this.#bytes.fill(0, at, end)
    this.#at = end
    return at
  }
}

/** Attributes by type, the last of each; hostile input. Values are views into the message. */
export class Attributes {
  readonly #values = new Map<number, Uint8Array>()
  /** All of them in their order, for lists. */
  readonly list: { readonly type: number; readonly value: Uint8Array }[] = []
  /** What stands behind the last whole attribute is not nothing. */
  trailing = false

  constructor(bytes: Uint8Array, start = 0) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    let at = start
    while (bytes.length - at >= NLATTR.size) {
      const length = view.getUint16(at + NLATTR.nla_len, true)
      if (length < NLATTR.size || length > bytes.length - at) break
      const type = view.getUint16(at + NLATTR.nla_type, true) & NLA_TYPE_MASK
      const value = bytes.subarray(at + NLATTR.size, at + length)
      this.#values.set(type, value)
      this.list.push({ type, value })
      at += align4(length)
    }
    this.trailing = at < bytes.length
  }

  has(type: number): boolean {
    return this.#values.has(type)
  }
  get(type: number): Uint8Array | undefined {
    return this.#values.get(type)
  }
  /** Undefined where it is absent or too short. */
  u8(type: number): number | undefined {
    return this.#values.get(type)?.[0]
  }
  u16(type: number): number | undefined {
    const value = this.#values.get(type)
    return value === undefined || value.length < 2 ? undefined : viewOf(value).getUint16(0, true)
  }
  be16(type: number): number | undefined {
    const value = this.#values.get(type)
    return value === undefined || value.length < 2 ? undefined : viewOf(value).getUint16(0)
  }
  be32(type: number): number | undefined {
    const value = this.#values.get(type)
    return value === undefined || value.length < 4 ? undefined : viewOf(value).getUint32(0)
  }
  be64(type: number): number | undefined {
    const value = this.#values.get(type)
    if (value === undefined || value.length < 8) return undefined
    return viewOf(value).getUint32(0) * 0x100000000 + viewOf(value).getUint32(4)
  }
  u32(type: number): number | undefined {
    const value = this.#values.get(type)
    return value === undefined || value.length < 4 ? undefined : viewOf(value).getUint32(0, true)
  }
  /** Up to its NUL, as a byte string. */
  string(type: number): string | undefined {
    const value = this.#values.get(type)
    if (value === undefined) return undefined
    const end = value.indexOf(0)
    return fromBytes(value, 0, end < 0 ? value.length : end)
  }
  nested(type: number): Attributes | undefined {
    const value = this.#values.get(type)
    return value === undefined ? undefined : new Attributes(value)
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

export const NESTED = NLA_F_NESTED
