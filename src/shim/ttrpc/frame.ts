/**
 * ttrpc's frames: ten bytes of header (the payload's length, the stream, the type, flags; big endian), then the payload.
 * A FrameReader takes a connection's bytes as they come, and gives whole frames.
 */

export const HEADER_SIZE = 10
export const MAX_PAYLOAD = 4 << 20

export const TYPE_REQUEST = 1
export const TYPE_RESPONSE = 2
export const TYPE_DATA = 3

/** On a request: the client will send no data on this stream. */
export const FLAG_REMOTE_CLOSED = 1
/** On a request: data will follow, a streaming call. */
export const FLAG_REMOTE_OPEN = 2

export interface Frame {
  readonly streamId: number
  readonly type: number
  readonly flags: number
  /** Undefined: it was longer than MAX_PAYLOAD, and was thrown away. */
  readonly payload: Uint8Array | undefined
}

/** One frame; `payload` is at most MAX_PAYLOAD long. */
export function encodeFrame(streamId: number, type: number, flags: number, payload: Uint8Array): Buffer {
  if (payload.length > MAX_PAYLOAD) throw new RangeError(`a payload of ${payload.length} bytes`)
  const frame = Buffer.allocUnsafe(HEADER_SIZE + payload.length)
  frame.writeUInt32BE(payload.length, 0)
  frame.writeUInt32BE(streamId, 4)
  frame[8] = type
  frame[9] = flags
  frame.set(payload, HEADER_SIZE)
  return frame
}

export class FrameReader {
  readonly #header = Buffer.alloc(HEADER_SIZE)
  #headerLength = 0
  /** Of the frame being read; undefined while its payload is thrown away. */
  #payload: Buffer | undefined = undefined
  #payloadLength = 0
  /** Bytes of the payload still to come. */
  #missing = 0

  /** The frames that end within `bytes`. */
  read(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = []
    let at = 0
    while (at < bytes.length) {
      if (this.#headerLength < HEADER_SIZE) {
        const piece = bytes.subarray(at, at + HEADER_SIZE - this.#headerLength)
        this.#header.set(piece, this.#headerLength)
        this.#headerLength += piece.length
        at += piece.length
        if (this.#headerLength < HEADER_SIZE) break
        this.#begin()
      } else {
        const piece = bytes.subarray(at, at + this.#missing)
        this.#payload?.set(piece, this.#payloadLength)
        this.#payloadLength += piece.length
        this.#missing -= piece.length
        at += piece.length
      }
      if (this.#missing === 0) frames.push(this.#end())
    }
    return frames
  }

  #begin(): void {
    this.#missing = this.#header.readUInt32BE(0)
    this.#payload = this.#missing <= MAX_PAYLOAD ? Buffer.allocUnsafe(this.#missing) : undefined
    this.#payloadLength = 0
  }

  #end(): Frame {
    this.#headerLength = 0
    return {
      streamId: this.#header.readUInt32BE(4),
      type: this.#header[8],
      flags: this.#header[9],
      payload: this.#payload,
    }
  }
}
