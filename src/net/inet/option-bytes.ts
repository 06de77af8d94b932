/** Values of socket options as bytes. */
export function intBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, value | 0, true)
  return bytes
}

/** An int option; undefined where the value is shorter. */
export function readInt(value: Uint8Array): number | undefined {
  return value.length < 4 ? undefined : new DataView(value.buffer, value.byteOffset, 4).getInt32(0, true)
}
