/** Numbers and addresses as /proc/net writes them. */
import type { IpAddress } from '../address.ts'

export function hex(value: number, width: number, upper = true): string {
  const text = (value >>> 0).toString(16).padStart(width, '0')
  return upper ? text.toUpperCase() : text
}

export function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

/** The words of an address in the machine's (little) byte order; an IPv4 address in 8 digits, or mapped in 32. */
export function hexAddress(address: IpAddress, isV6: boolean): string {
  if (!isV6) return hex(swap(address.w3), 8)
  // The any address of IPv4 on a socket of IPv6 is a mapped one as well.
  return [address.w0, address.w1, address.w2, address.w3].map(word => hex(swap(word), 8)).join('')
}

function swap(word: number): number {
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}

/** A line of a table whose lines have all the same length. */
export function padded(line: string, width: number): string {
  return `${line.padEnd(width)}\n`
}
