/** Messages of neighbour discovery: RFC 4861 §4. Building them, and finding their options. */
import type { IpAddress } from '../address.ts'
import type { Packet, PacketPool } from '../packet.ts'

export const ND_ROUTER_SOLICIT = 133
export const ND_ROUTER_ADVERT = 134
export const ND_NEIGHBOR_SOLICIT = 135
export const ND_NEIGHBOR_ADVERT = 136
export const ND_REDIRECT = 137

export const ND_OPT_SOURCE_LL_ADDR = 1
export const ND_OPT_TARGET_LL_ADDR = 2
export const ND_OPT_PREFIX_INFORMATION = 3
export const ND_OPT_MTU = 5
export const ND_OPT_NONCE = 14

/** Flags of a neighbour advertisement. */
export const NA_ROUTER = 0x80
export const NA_SOLICITED = 0x40
export const NA_OVERRIDE = 0x20

/** A message of `type` with `flags` in its second word's first byte, and a target if there is one. */
export function ndMessage(pool: PacketPool, type: number, flags: number, target?: IpAddress): Packet {
  const packet = pool.allocate(256)
  const at = packet.append(target === undefined ? 8 : 24)
  const { view } = packet
  view.setUint8(at, type)
  view.setUint8(at + 1, 0)
  view.setUint32(at + 4, (flags << 24) >>> 0)
  target?.writeV6(view, at + 8)
  return packet
}

/** Appends an option, padded to a multiple of 8 bytes. */
export function addOption(packet: Packet, type: number, data: Uint8Array): void {
  const length = (data.length + 2 + 7) & ~7
  const at = packet.append(length)
  packet.bytes.fill(0, at, at + length)
  packet.view.setUint8(at, type)
  packet.view.setUint8(at + 1, length / 8)
  packet.bytes.set(data, at + 2)
}

/** Whether the options from `at` to the packet's end have their lengths right: RFC 4861 §6.1, §7.1. */
export function optionsValid(packet: Packet, at: number): boolean {
  const { view, end } = packet
  while (at < end) {
    if (at + 2 > end) return false
    const length = view.getUint8(at + 1) * 8
    if (length === 0 || at + length > end) return false
    at += length
  }
  return true
}

/** Offset of the next option of `type` at or behind `at`, -1 for none. The options are valid. */
export function findOption(packet: Packet, at: number, type: number): number {
  const { view, end } = packet
  while (at < end) {
    if (view.getUint8(at) === type) return at
    at += view.getUint8(at + 1) * 8
  }
  return -1
}

/** The link address in an option of that type, undefined where there is none. */
export function linkAddress(packet: Packet, at: number, type: number): Uint8Array | undefined {
  const found = findOption(packet, at, type)
  return found < 0 ? undefined : packet.bytes.slice(found + 2, found + 8)
}
