/**
 * Registers: 16 of four bytes each (NFT_REG32_00 to 15), which are also four of sixteen (NFT_REG_1 to 4), behind the place of
 * the verdict, which is no data. Expressions keep a register as its offset in Evaluation.bytes.
 *
 * Values are in network byte order where they come from packets, in the machine's where they come from the kernel.
 */
import {
  NFT_REG_4,
  NFT_REG_SIZE,
  NFT_REG_VERDICT,
  NFT_REG32_00,
  NFT_REG32_15,
  NFT_REG32_SIZE,
} from '../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../abi/errno.ts'
import type { Attributes, MessageWriter } from '../../netlink/message.ts'

export const REGISTERS_SIZE = 80
const VERDICT_SIZE = 16

/** The offset of the register that an attribute names, with room for `length` bytes; or -EINVAL, -ERANGE. */
export function readRegister(attributes: Attributes, type: number, length: number): number {
  const register = attributes.be32(type)
  if (register === undefined) return -EINVAL
  let offset: number
  if (register >= NFT_REG_VERDICT && register <= NFT_REG_4) offset = register * NFT_REG_SIZE
  else if (register >= NFT_REG32_00 && register <= NFT_REG32_15)
    offset = VERDICT_SIZE + (register - NFT_REG32_00) * NFT_REG32_SIZE
  else return -ERANGE
  if (offset < VERDICT_SIZE) return -EINVAL
  if (length === 0) return -EINVAL
  return offset + length > REGISTERS_SIZE ? -ERANGE : offset
}

/** As one of sixteen bytes where it can be one. */
export function writeRegister(writer: MessageWriter, type: number, offset: number): void {
  const register =
    offset % NFT_REG_SIZE === 0
      ? offset / NFT_REG_SIZE
      : NFT_REG32_00 + (offset - VERDICT_SIZE) / NFT_REG32_SIZE
  writer.be32(type, register)
}

/** Zeroes the last word of a value, which may be only partly written. */
export function clearLastWord(bytes: Uint8Array, offset: number, length: number): void {
  if ((length & 3) !== 0) bytes.fill(0, offset + (length & ~3), offset + (length & ~3) + 4)
}

export function sameBytes(a: Uint8Array, at: number, b: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[i]) return false
  return true
}

/** As memcmp. */
export function compareBytes(a: Uint8Array, at: number, b: Uint8Array, length: number): number {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[i]) return a[at + i] - b[i]
  return 0
}
