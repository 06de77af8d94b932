/** fib: what the routing tables say about one of the packet's addresses: its type, or the device that it is reached by. */
import {
  IFNAMSIZ,
  NFT_FIB_RESULT_ADDRTYPE,
  NFT_FIB_RESULT_OIF,
  NFT_FIB_RESULT_OIFNAME,
  NFTA_FIB_DREG,
  NFTA_FIB_F_DADDR,
  NFTA_FIB_F_IIF,
  NFTA_FIB_F_MARK,
  NFTA_FIB_F_OIF,
  NFTA_FIB_F_PRESENT,
  NFTA_FIB_F_SADDR,
  NFTA_FIB_FLAGS,
  NFTA_FIB_RESULT,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { IpAddress } from '../../../address.ts'
import { V4_ANY, V6_ANY } from '../../../address.ts'
import { plainFlow } from '../../../ip/ipv4-output.ts'
import type { NetDevice } from '../../../link/device.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { addressType } from '../../address-type.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

const ALL_FLAGS =
  NFTA_FIB_F_SADDR | NFTA_FIB_F_DADDR | NFTA_FIB_F_MARK | NFTA_FIB_F_IIF | NFTA_FIB_F_OIF | NFTA_FIB_F_PRESENT
const ADDRESSES = NFTA_FIB_F_SADDR | NFTA_FIB_F_DADDR
const DEVICES = NFTA_FIB_F_IIF | NFTA_FIB_F_OIF

export const fib: ExpressionType = {
  name: 'fib',
  parse(_context, attributes) {
    const result = attributes.be32(NFTA_FIB_RESULT)
    const flags = attributes.be32(NFTA_FIB_FLAGS)
    if (result === undefined || flags === undefined || !attributes.has(NFTA_FIB_DREG)) return -EINVAL
    if (flags === 0 || (flags & ~ALL_FLAGS) !== 0) return -EINVAL
    // Of one address, and seen from one device.
    if ((flags & ADDRESSES) === ADDRESSES || (flags & ADDRESSES) === 0) return -EINVAL
    if ((flags & DEVICES) === DEVICES) return -EINVAL
    if (
      result !== NFT_FIB_RESULT_ADDRTYPE &&
      result !== NFT_FIB_RESULT_OIF &&
      result !== NFT_FIB_RESULT_OIFNAME
    )
      return -EINVAL
    if (result !== NFT_FIB_RESULT_ADDRTYPE && (flags & NFTA_FIB_F_OIF) !== 0) return -EINVAL
    if (result === NFT_FIB_RESULT_ADDRTYPE && (flags & NFTA_FIB_F_PRESENT) !== 0) return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_FIB_DREG, result === NFT_FIB_RESULT_OIFNAME ? IFNAMSIZ : 4)
    return register < 0 ? register : new FibQuestion(register, result, flags)
  },
}

class FibQuestion implements Expression {
  readonly name = 'fib'
  readonly #register: number
  readonly #result: number
  readonly #flags: number

  constructor(register: number, result: number, flags: number) {
    this.#register = register
    this.#result = result
    this.#flags = flags
  }
  evaluate(run: Evaluation): void {
    const { packet, view, stack } = run
    const address = (this.#flags & NFTA_FIB_F_SADDR) !== 0 ? packet.source : packet.destination
    const device = this.#device(run)
    if (this.#result === NFT_FIB_RESULT_ADDRTYPE) {
      view.setUint32(this.#register, addressType(stack, address, device), true)
      return
    }
    const found = this.#route(run, address)
    // rp_filter: only what would go back where it came from counts.
    this.#store(run, found === undefined || (device !== undefined && found !== device) ? undefined : found)
  }

  #device({ input, output }: Evaluation): NetDevice | undefined {
    if ((this.#flags & NFTA_FIB_F_IIF) !== 0) return input
    return (this.#flags & NFTA_FIB_F_OIF) !== 0 ? output : undefined
  }
  #route({ stack, packet }: Evaluation, address: IpAddress): NetDevice | undefined {
    const flow = plainFlow(0, address.isV4 ? V4_ANY : V6_ANY, address)
    if ((this.#flags & NFTA_FIB_F_MARK) !== 0) flow.mark = packet.mark
    const route = stack.ip.routeFor(flow)
    return typeof route === 'number' ? undefined : route.device
  }
  #store(run: Evaluation, device: NetDevice | undefined): void {
    const { bytes, view } = run
    const at = this.#register
    if ((this.#flags & NFTA_FIB_F_PRESENT) !== 0) {
      view.setUint32(at, device === undefined ? 0 : 1, true)
    } else if (this.#result === NFT_FIB_RESULT_OIF) {
      view.setUint32(at, device?.index ?? 0, true)
    } else {
      const name = device?.name ?? ''
      for (let i = 0; i < IFNAMSIZ; i++) bytes[at + i] = i < name.length ? name.charCodeAt(i) : 0
    }
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_FIB_DREG, this.#register)
    writer.be32(NFTA_FIB_RESULT, this.#result)
    writer.be32(NFTA_FIB_FLAGS, this.#flags)
  }
}
