/** dup: a copy of the packet goes to another machine. */
import {
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFTA_DUP_SREG_ADDR,
  NFTA_DUP_SREG_DEV,
} from '../../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../../abi/errno.ts'
import { IpAddress } from '../../../address.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { duplicate } from '../../duplicate.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const dup: ExpressionType = {
  name: 'dup',
  parse({ netfilter, family }, attributes) {
    if (family !== NFPROTO_IPV4 && family !== NFPROTO_IPV6) return -ENOENT
    if (!attributes.has(NFTA_DUP_SREG_ADDR)) return -EINVAL
    const isV4 = family === NFPROTO_IPV4
    const address = readRegister(attributes, NFTA_DUP_SREG_ADDR, isV4 ? 4 : 16)
    if (address < 0) return address
    if (!attributes.has(NFTA_DUP_SREG_DEV)) return new Dup(netfilter, isV4, address, -1)
    const device = readRegister(attributes, NFTA_DUP_SREG_DEV, 4)
    return device < 0 ? device : new Dup(netfilter, isV4, address, device)
  },
}

class Dup implements Expression {
  readonly name = 'dup'
  readonly #netfilter: Netfilter
  readonly #isV4: boolean
  /** Where the machine's address stands, and the index of the device, or -1. */
  readonly #address: number
  readonly #device: number

  constructor(netfilter: Netfilter, isV4: boolean, address: number, device: number) {
    this.#netfilter = netfilter
    this.#isV4 = isV4
    this.#address = address
    this.#device = device
  }
  evaluate({ view, packet, point }: Evaluation): void {
    const gateway = IpAddress.read(view, this.#address, this.#isV4)
    const device = this.#device < 0 ? 0 : view.getUint32(this.#device, true)
    duplicate(this.#netfilter, packet, point, gateway, device)
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_DUP_SREG_ADDR, this.#address)
    if (this.#device >= 0) writeRegister(writer, NFTA_DUP_SREG_DEV, this.#device)
  }
}
