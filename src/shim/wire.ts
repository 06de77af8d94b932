/**
 * Messages without their descriptions: the fields of protobuf's wire format by number. For `start`, which is waited for
 * and shouldn't load what only the long-lived shim needs.
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

export class WireMessage {
  readonly #fields = new Map<number, (Uint8Array | number)[]>()

  /** Throws for what is no message. */
  static decode(bytes: Uint8Array): WireMessage {
    const message = new WireMessage()
    const reader = new BinaryReader(bytes)
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag()
      if (type === WireType.LengthDelimited) message.#add(number, reader.bytes())
      else if (type === WireType.Varint) message.#add(number, Number(reader.int64()))
      else reader.skip(type, number)
    }
    return message
  }

  #add(number: number, value: Uint8Array | number): void {
    const values = this.#fields.get(number)
    if (values === undefined) this.#fields.set(number, [value])
    else values.push(value)
  }

  /** The last value counts; '' where there is none. */
  text(number: number): string {
    const value = this.#fields.get(number)?.at(-1)
    return value instanceof Uint8Array ? Buffer.from(value).toString() : ''
  }

  number(number: number): number {
    const value = this.#fields.get(number)?.at(-1)
    return typeof value === 'number' ? value : 0
  }

  bytes(number: number): Uint8Array {
    const value = this.#fields.get(number)?.at(-1)
    return value instanceof Uint8Array ? value : new Uint8Array()
  }

  messages(number: number): WireMessage[] {
    const values = this.#fields.get(number) ?? []
    return values.filter(value => value instanceof Uint8Array).map(WireMessage.decode)
  }
}

/** Whole numbers, texts and messages, by field. */
export function encodeWire(fields: Readonly<Record<number, number | string | Uint8Array>>): Uint8Array {
  const writer = new BinaryWriter()
  for (const [key, value] of Object.entries(fields)) {
    const number = Number(key)
    if (typeof value === 'number') writer.tag(number, WireType.Varint).int64(value)
    else if (typeof value === 'string') writer.tag(number, WireType.LengthDelimited).string(value)
    else writer.tag(number, WireType.LengthDelimited).bytes(value)
  }
  return writer.finish()
}
