/**
 * Byte strings. Linux paths, names, arguments and environment entries are bytes, not text: the kernel holds
 * them as JavaScript strings with one character (0..255) per byte, which V8 stores at one byte each and
 * compares and hashes fast. Only what is shown to a person is decoded as UTF-8.
 */

/** The bytes of a byte string. */
export function toBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

/** The byte string made of bytes[start, end). */
export function fromBytes(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = ''
  for (let at = start; at < end; at += 4096) {
    text += String.fromCharCode.apply(
      null,
      bytes.subarray(at, Math.min(at + 4096, end)) as unknown as number[],
    )
  }
  return text
}

/** The byte string of a text's UTF-8 form: how host strings (argv, configuration) enter the kernel. */
export function encodeText(text: string): string {
  return fromBytes(new TextEncoder().encode(text))
}

/** A byte string as text, for messages to people. */
export function decodeText(byteString: string): string {
  return new TextDecoder().decode(toBytes(byteString))
}
