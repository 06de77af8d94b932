/**
 * NamePins: which names stand for which addresses, by the answers that the sandbox's resolver gave, for their time to live.
 * An address is pinned for the name that was asked for, not for the names on the way to it: those a resolver that doesn't
 * look may have from whoever owns the first one.
 */
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { IpAddress } from '../address.ts'
import { plainName } from './rule.ts'

/** Seconds that an address is good for at least: programs keep what they have looked up for a while. */
const LEAST_TTL = 60
const MOST_TTL = 86400
/** Addresses and names of one; a guest that asks for more loses the oldest. */
const MAX_ADDRESSES = 4096
const MAX_NAMES = 16

const TYPE_A = 1
const TYPE_CNAME = 5
const TYPE_AAAA = 28
const CLASS_IN = 1
const HEADER = 12
/** Of the header's flags: response, kind of question, error. */
const KIND_MASK = 0xf80f
const ASKED = 0
const ANSWERED_WELL = 0x8000
const MAX_RECORDS = 256
const MAX_JUMPS = 64
const SPACE = 0x20
const DOT = 0x2e
const DELETE = 0x7f

export class NamePins {
  /** By address: until when (monotonic ns) each name is good. */
  readonly #pins = new Map<string, Map<string, number>>()

  /** Fresh names of an address. */
  namesOf(address: IpAddress, now: number): string[] {
    const pins = this.#pins.get(address.key)
    if (pins === undefined) return []
    const names: string[] = []
    for (const [name, end] of pins) {
      if (end > now) names.push(name)
      else pins.delete(name)
    }
    return names
  }

  /** A DNS message that has come from the resolver. What is malformed teaches nothing. */
  learn(message: Uint8Array, now: number): void {
    const reader = new MessageReader(message)
    const name = reader.question(ANSWERED_WELL)
    if (name === undefined) return
    const aliases = new Set([name])
    for (let record = reader.record(); record !== undefined; record = reader.record()) {
      if (!aliases.has(record.owner)) continue
      if (record.alias !== undefined) aliases.add(record.alias)
      else if (record.address !== undefined) this.#pin(record.address, name, record.ttl, now)
    }
  }

  #pin(address: IpAddress, name: string, ttl: number, now: number): void {
    const { key } = address
    const pins = this.#pins.get(key) ?? new Map<string, number>()
    // To the end of the order in which they are dropped.
    this.#pins.delete(key)
    this.#pins.set(key, pins)
    if (this.#pins.size > MAX_ADDRESSES) this.#pins.delete(this.#pins.keys().next().value!)
    const end = now + Math.min(Math.max(ttl, LEAST_TTL), MOST_TTL) * NSEC_PER_SEC
    const before = pins.get(name) ?? 0
    pins.delete(name)
    pins.set(name, Math.max(before, end))
    if (pins.size > MAX_NAMES) pins.delete(pins.keys().next().value!)
  }
}

/** The name that a message to a resolver asks for; undefined: it is no plain question. */
export function questionOf(message: Uint8Array): string | undefined {
  return new MessageReader(message).question(ASKED)
}

interface AnswerRecord {
  readonly owner: string
  readonly ttl: number
  /** Of a CNAME. */
  readonly alias: string | undefined
  /** Of A and AAAA. */
  readonly address: IpAddress | undefined
}

/** RFC 1035 §4.1: the question and the answers of a message, which comes from outside. */
class MessageReader {
  readonly #view: DataView
  #at = HEADER
  #left = 0

  constructor(message: Uint8Array) {
    this.#view = new DataView(message.buffer, message.byteOffset, message.length)
  }

  /** The name of the one question of the message; undefined: it is none of the kind that `flags` tell. */
  question(kind: number): string | undefined {
    const view = this.#view
    if (view.byteLength < HEADER) return undefined
    if ((view.getUint16(2) & KIND_MASK) !== kind || view.getUint16(4) !== 1) return undefined
    this.#left = Math.min(view.getUint16(6), MAX_RECORDS)
    const name = this.#name()
    if (name === undefined || this.#at + 4 > view.byteLength) return undefined
    this.#at += 4
    return name
  }

  /** The next answer; undefined at the end, and at the first that is broken. */
  record(): AnswerRecord | undefined {
    const view = this.#view
    if (this.#left-- <= 0) return undefined
    const owner = this.#name()
    const at = this.#at
    if (owner === undefined || at + 10 > view.byteLength) return undefined
    const type = view.getUint16(at)
    const isInternet = view.getUint16(at + 2) === CLASS_IN
    const ttl = view.getUint32(at + 4)
    const length = view.getUint16(at + 8)
    const data = at + 10
    if (data + length > view.byteLength) return undefined
    this.#at = data
    const alias = isInternet && type === TYPE_CNAME ? this.#name() : undefined
    this.#at = data + length
    const isAddress =
      isInternet && ((type === TYPE_A && length === 4) || (type === TYPE_AAAA && length === 16))
    return { owner, ttl, alias, address: isAddress ? IpAddress.read(view, data, length === 4) : undefined }
  }

  /** A name at the reader's place, in lower case; undefined where there is none. */
  #name(): string | undefined {
    const view = this.#view
    const labels: string[] = []
    let at = this.#at
    let end = -1
    for (let jumps = 0; ; ) {
      if (at >= view.byteLength) return undefined
      const length = view.getUint8(at++)
      if (length === 0) break
      if (length >= 0xc0) {
        if (at >= view.byteLength || ++jumps > MAX_JUMPS) return undefined
        if (end < 0) end = at + 1
        at = ((length & 0x3f) << 8) | view.getUint8(at)
        continue
      }
      if (length > 63 || at + length > view.byteLength || labels.length > 127) return undefined
      let label = ''
      for (let i = 0; i < length; i++) {
        const byte = view.getUint8(at + i)
        // A dot within a label would make two of it; what can't be printed would reach terminals by the log.
        if (byte <= SPACE || byte >= DELETE || byte === DOT) return undefined
        label += String.fromCharCode(byte)
      }
      labels.push(label)
      at += length
    }
    this.#at = end < 0 ? at : end
    return plainName(labels.join('.'))
  }
}
