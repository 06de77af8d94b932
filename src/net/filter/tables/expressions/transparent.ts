/** `tproxy to :8080`, and `socket transparent`: as TPROXY and the match `socket` of x_tables do. nft_tproxy.c, nft_socket.c. */
import {
  IPPROTO_TCP,
  IPPROTO_UDP,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  NFT_BREAK,
  NFT_SOCKET_MARK,
  NFT_SOCKET_TRANSPARENT,
  NFT_SOCKET_WILDCARD,
  NFTA_SOCKET_DREG,
  NFTA_SOCKET_KEY,
  NFTA_TPROXY_FAMILY,
  NFTA_TPROXY_REG_ADDR,
  NFTA_TPROXY_REG_PORT,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { Status } from '../../../../base/result.ts'
import { IpAddress } from '../../../address.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { proxyFor, socketOf } from '../../local-socket.ts'
import type { BaseChain } from '../chain.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const tproxy: ExpressionType = {
  name: 'tproxy',
  parse({ family: tableFamily }, attributes) {
    const family = attributes.be32(NFTA_TPROXY_FAMILY)
    const hasAddress = attributes.has(NFTA_TPROXY_REG_ADDR)
    if (family === undefined || (!hasAddress && !attributes.has(NFTA_TPROXY_REG_PORT))) return -EINVAL
    if (tableFamily !== NFPROTO_INET && family !== tableFamily && family !== NFPROTO_UNSPEC) return -EINVAL
    // An address is one of a family.
    if (family === NFPROTO_UNSPEC && hasAddress) return -EINVAL
    if (family !== NFPROTO_UNSPEC && family !== NFPROTO_IPV4 && family !== NFPROTO_IPV6) return -EOPNOTSUPP
    const length = family === NFPROTO_IPV4 ? 4 : 16
    const address = hasAddress ? readRegister(attributes, NFTA_TPROXY_REG_ADDR, length) : undefined
    if (address !== undefined && address < 0) return address
    const port = attributes.has(NFTA_TPROXY_REG_PORT)
      ? readRegister(attributes, NFTA_TPROXY_REG_PORT, 2)
      : undefined
    if (port !== undefined && port < 0) return port
    return new Tproxy(family, address, port)
  },
}

class Tproxy implements Expression {
  readonly name = 'tproxy'
  readonly #family: number
  readonly #address: number | undefined
  readonly #port: number | undefined

  constructor(family: number, address: number | undefined, port: number | undefined) {
    this.#family = family
    this.#address = address
    this.#port = port
  }
  validate({ point }: BaseChain): Status {
    return point === NF_INET_PRE_ROUTING ? 0 : -EOPNOTSUPP
  }
  evaluate(run: Evaluation): void {
    const { view, stack, packet, isV4 } = run
    const { transportProtocol } = packet
    const isOther = this.#family !== NFPROTO_UNSPEC && (this.#family === NFPROTO_IPV4) !== isV4
    if (isOther || (transportProtocol !== IPPROTO_TCP && transportProtocol !== IPPROTO_UDP)) {
      run.verdict = NFT_BREAK
      return
    }
    const address = this.#address === undefined ? undefined : IpAddress.read(view, this.#address, isV4)
    const port = this.#port === undefined ? 0 : view.getUint16(this.#port)
    const socket = proxyFor(stack, packet, address, port)
    if (socket?.flow.transparent) packet.assigned = socket.endpoint
    else run.verdict = NFT_BREAK
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_TPROXY_FAMILY, this.#family)
    if (this.#address !== undefined) writeRegister(writer, NFTA_TPROXY_REG_ADDR, this.#address)
    if (this.#port !== undefined) writeRegister(writer, NFTA_TPROXY_REG_PORT, this.#port)
  }
}

const SOCKET_POINTS = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT]

export const socket: ExpressionType = {
  name: 'socket',
  parse({ family }, attributes) {
    if (family !== NFPROTO_IPV4 && family !== NFPROTO_IPV6 && family !== NFPROTO_INET) return -EOPNOTSUPP
    const key = attributes.be32(NFTA_SOCKET_KEY)
    if (key === undefined || !attributes.has(NFTA_SOCKET_DREG)) return -EINVAL
    if (key !== NFT_SOCKET_TRANSPARENT && key !== NFT_SOCKET_MARK && key !== NFT_SOCKET_WILDCARD)
      return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_SOCKET_DREG, key === NFT_SOCKET_MARK ? 4 : 1)
    return register < 0 ? register : new LoadSocket(register, key)
  },
}

class LoadSocket implements Expression {
  readonly name = 'socket'
  readonly #register: number
  readonly #key: number

  constructor(register: number, key: number) {
    this.#register = register
    this.#key = key
  }
  validate({ point }: BaseChain): Status {
    return SOCKET_POINTS.includes(point) ? 0 : -EOPNOTSUPP
  }
  evaluate(run: Evaluation): void {
    const found = socketOf(run.stack, run.packet)
    if (found === undefined) {
      run.verdict = NFT_BREAK
      return
    }
    const { transparent, mark } = found.flow
    const key = this.#key
    const value = key === NFT_SOCKET_MARK ? mark : key === NFT_SOCKET_WILDCARD ? found.wildcard : transparent
    run.view.setUint32(this.#register, Number(value), true)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_SOCKET_KEY, this.#key)
    writeRegister(writer, NFTA_SOCKET_DREG, this.#register)
  }
}
