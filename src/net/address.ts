/**
 * IpAddress: an IPv4 or IPv6 address as four words of 32 bits, IPv4 as ::ffff:a.b.c.d, so that tables and sockets have
 * one kind of address. Immutable. `key` is made once and is what Maps are keyed by; addresses that come with packets
 * are taken from an AddressCache, so that they need not be made anew and have their key already.
 *
 * An AF_INET6 socket that speaks IPv4 (a v4-mapped address) and an AF_INET socket meet in the same IpAddress.
 */

const MAPPED = 0xffff

export class IpAddress {
  /** Unsigned 32-bit words, the most significant first. */
  readonly w0: number
  readonly w1: number
  readonly w2: number
  readonly w3: number
  readonly isV4: boolean
  #key: string | undefined = undefined

  constructor(w0: number, w1: number, w2: number, w3: number) {
    this.w0 = w0 >>> 0
    this.w1 = w1 >>> 0
    this.w2 = w2 >>> 0
    this.w3 = w3 >>> 0
    this.isV4 = this.w0 === 0 && this.w1 === 0 && this.w2 === MAPPED
  }

  static v4(word: number): IpAddress {
    return new IpAddress(0, 0, MAPPED, word)
  }

  /** From 4 or 16 bytes at `at`. */
  static read(view: DataView, at: number, isV4: boolean): IpAddress {
    if (isV4) return IpAddress.v4(view.getUint32(at))
    return new IpAddress(
      view.getUint32(at),
      view.getUint32(at + 4),
      view.getUint32(at + 8),
      view.getUint32(at + 12),
    )
  }

  /** Throws on what is no address: for constants and tests. */
  static of(text: string): IpAddress {
    const address = parseAddress(text)
    if (address === undefined) throw new Error(`not an IP address: ${text}`)
    return address
  }

  /** What equal addresses have in common, and no others. */
  get key(): string {
    this.#key ??= this.isV4
      ? String.fromCharCode(this.w3 >>> 16, this.w3 & 0xffff)
      : String.fromCharCode(
          this.w0 >>> 16,
          this.w0 & 0xffff,
          this.w1 >>> 16,
          this.w1 & 0xffff,
          this.w2 >>> 16,
          this.w2 & 0xffff,
          this.w3 >>> 16,
          this.w3 & 0xffff,
        )
    return this.#key
  }
  /** 32 or 128. */
  get bits(): number {
    return this.isV4 ? 32 : 128
  }
  /** 4 or 16. */
  get size(): number {
    return this.isV4 ? 4 : 16
  }

  equals(other: IpAddress): boolean {
    return (
      this === other ||
      (this.w3 === other.w3 && this.w2 === other.w2 && this.w1 === other.w1 && this.w0 === other.w0)
    )
  }

  /** As 4 or 16 bytes at `at`. */
  write(view: DataView, at: number): void {
    if (this.isV4) view.setUint32(at, this.w3)
    else this.writeV6(view, at)
  }
  /** As 16 bytes, an IPv4 address as a mapped one. */
  writeV6(view: DataView, at: number): void {
    view.setUint32(at, this.w0)
    view.setUint32(at + 4, this.w1)
    view.setUint32(at + 8, this.w2)
    view.setUint32(at + 12, this.w3)
  }
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.size)
    this.write(new DataView(bytes.buffer), 0)
    return bytes
  }

  /** 0.0.0.0 or ::. */
  get isAny(): boolean {
    return this.w3 === 0 && this.w0 === 0 && this.w1 === 0 && (this.w2 === 0 || this.w2 === MAPPED)
  }
  get isMulticast(): boolean {
    return this.isV4 ? this.w3 >>> 28 === 0xe : this.w0 >>> 24 === 0xff
  }
  /** 127.0.0.0/8 or ::1. */
  get isLoopback(): boolean {
    if (this.isV4) return this.w3 >>> 24 === 127
    return this.w3 === 1 && this.w2 === 0 && this.w1 === 0 && this.w0 === 0
  }
  /** 169.254.0.0/16 or fe80::/10. */
  get isLinkLocal(): boolean {
    return this.isV4 ? this.w3 >>> 16 === 0xa9fe : this.w0 >>> 22 === 0x3fa
  }
  /** 255.255.255.255 */
  get isLimitedBroadcast(): boolean {
    return this.isV4 && this.w3 === 0xffffffff
  }
  /** Multicast of the link or smaller: 224.0.0.0/24, ff01::/16, ff02::/16. */
  get isLinkMulticast(): boolean {
    if (this.isV4) return this.w3 >>> 8 === 0xe00000
    return this.isMulticast && ((this.w0 >>> 16) & 0xf) <= 2
  }
  /** Whether its meaning depends on the interface, so that sockets give a scope id with it. */
  get needsScope(): boolean {
    return !this.isV4 && (this.isLinkLocal || (this.w0 >>> 24 === 0xff && ((this.w0 >>> 16) & 0xf) <= 2))
  }

  /** Whether the first `length` bits (counted in the address's own family) are those of `other`. */
  inPrefix(other: IpAddress, length: number): boolean {
    if (this.isV4 !== other.isV4) return false
    if (this.isV4) return ((this.w3 ^ other.w3) & maskWord(length)) === 0
    return (
      ((this.w0 ^ other.w0) & maskWord(length)) === 0 &&
      ((this.w1 ^ other.w1) & maskWord(length - 32)) === 0 &&
      ((this.w2 ^ other.w2) & maskWord(length - 64)) === 0 &&
      ((this.w3 ^ other.w3) & maskWord(length - 96)) === 0
    )
  }

  /** The bits that are in the mask, which is of the same family. */
  and({ w0, w1, w2, w3 }: IpAddress): IpAddress {
    return new IpAddress(this.w0 & w0, this.w1 & w1, this.w2 & w2, this.w3 & w3)
  }
  /** With the bits of `low` where that is equal to `high`: in the place of a network that they are the ends of. */
  withNetwork(low: IpAddress, high: IpAddress): IpAddress {
    const put = (word: number, from: number, to: number) => (word & (from ^ to)) | (from & ~(from ^ to))
    return new IpAddress(
      put(this.w0, low.w0, high.w0),
      put(this.w1, low.w1, high.w1),
      put(this.w2, low.w2, high.w2),
      put(this.w3, low.w3, high.w3),
    )
  }
  /** The first `length` bits, the rest zero. */
  masked(length: number): IpAddress {
    if (length >= this.bits) return this
    if (this.isV4) return IpAddress.v4(this.w3 & maskWord(length))
    return new IpAddress(
      this.w0 & maskWord(length),
      this.w1 & maskWord(length - 32),
      this.w2 & maskWord(length - 64),
      this.w3 & maskWord(length - 96),
    )
  }

  /** How many leading bits two addresses of one family have in common. */
  commonPrefix(other: IpAddress): number {
    if (this.isV4) return Math.clz32(this.w3 ^ other.w3)
    if (this.w0 !== other.w0) return Math.clz32(this.w0 ^ other.w0)
    if (this.w1 !== other.w1) return 32 + Math.clz32(this.w1 ^ other.w1)
    if (this.w2 !== other.w2) return 64 + Math.clz32(this.w2 ^ other.w2)
    return 96 + Math.clz32(this.w3 ^ other.w3)
  }

  toString(): string {
    return this.isV4 ? formatV4(this.w3) : formatV6(this)
  }
}

export const V4_ANY = IpAddress.v4(0)
export const V6_ANY = new IpAddress(0, 0, 0, 0)
export const V4_LOOPBACK = IpAddress.v4(0x7f000001)
export const V6_LOOPBACK = new IpAddress(0, 0, 0, 1)

/** The mask of the first `length` bits of a word; any length outside 0..32 is taken as the nearest of the two. */
export function maskWord(length: number): number {
  if (length <= 0) return 0
  return length >= 32 ? 0xffffffff : (-1 << (32 - length)) >>> 0
}

/** The order of addresses as numbers. */
export function compareAddresses(a: IpAddress, b: IpAddress): number {
  return a.w0 - b.w0 || a.w1 - b.w1 || a.w2 - b.w2 || a.w3 - b.w3
}

/** Addresses seen lately, by their words: direct-mapped, so that an address from the wire costs no allocation. */
export class AddressCache {
  readonly #entries: (IpAddress | undefined)[] = new Array(1024).fill(undefined)

  v4(word: number): IpAddress {
    const slot = slotOf(word)
    const known = this.#entries[slot]
    if (known?.isV4 && known.w3 === word) return known
    const made = IpAddress.v4(word)
    this.#entries[slot] = made
    return made
  }

  v6(view: DataView, at: number): IpAddress {
    const w0 = view.getUint32(at)
    const w1 = view.getUint32(at + 4)
    const w2 = view.getUint32(at + 8)
    const w3 = view.getUint32(at + 12)
    const slot = slotOf(w0 ^ Math.imul(w1, 31) ^ Math.imul(w2, 17) ^ w3)
    const known = this.#entries[slot]
    if (known !== undefined && known.w3 === w3 && known.w2 === w2 && known.w1 === w1 && known.w0 === w0) {
      return known
    }
    const made = new IpAddress(w0, w1, w2, w3)
    this.#entries[slot] = made
    return made
  }
}

function slotOf(word: number): number {
  return Math.imul(word, 0x9e3779b1) >>> 22
}

/** An address as people write it; undefined for what is none. Accepts no zone and no prefix length. */
export function parseAddress(text: string): IpAddress | undefined {
  if (!text.includes(':')) {
    const word = parseV4(text)
    return word === undefined ? undefined : IpAddress.v4(word)
  }
  return parseV6(text)
}

function parseV4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let word = 0
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    word = word * 256 + Number(part)
  }
  return word
}

function parseV6(text: string): IpAddress | undefined {
  const lastColon = text.lastIndexOf(':')
  if (text.includes('.')) {
    const word = parseV4(text.slice(lastColon + 1))
    if (word === undefined) return undefined
    text = `${text.slice(0, lastColon + 1)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`
  }
  const gap = text.indexOf('::')
  if (gap !== text.lastIndexOf('::')) return undefined
  const head = gap < 0 ? text.split(':') : splitGroups(text.slice(0, gap))
  const tail = gap < 0 ? [] : splitGroups(text.slice(gap + 2))
  const missing = 8 - head.length - tail.length
  if (gap < 0 ? missing !== 0 : missing < 1) return undefined
  const groups: number[] = []
  for (const group of [...head, ...new Array<string>(Math.max(missing, 0)).fill('0'), ...tail]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
    groups.push(Number.parseInt(group, 16))
  }
  const word = (i: number): number => groups[i] * 65536 + groups[i + 1]
  return new IpAddress(word(0), word(2), word(4), word(6))
}

function splitGroups(text: string): string[] {
  return text === '' ? [] : text.split(':')
}

function formatV4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`
}

/** RFC 5952: lower case, the longest run of two or more zero groups (the first of equals) as '::'. */
function formatV6(address: IpAddress): string {
  const groups: number[] = []
  for (const word of [address.w0, address.w1, address.w2, address.w3]) groups.push(word >>> 16, word & 0xffff)
  let best = -1
  let bestLength = 1
  for (let at = 0; at < 8; at++) {
    let length = 0
    while (at + length < 8 && groups[at + length] === 0) length++
    if (length > bestLength) {
      best = at
      bestLength = length
    }
  }
  const hex = groups.map(group => group.toString(16))
  if (best < 0) return hex.join(':')
  return `${hex.slice(0, best).join(':')}::${hex.slice(best + bestLength).join(':')}`
}
