/** The error queue of a socket with IP_RECVERR: ip(7), struct sock_extended_err. */
import { SO_EE_CODE_ZEROCOPY_COPIED, SO_EE_ORIGIN_ZEROCOPY } from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import type { Packet } from '../packet.ts'
import type { IcmpError } from './transport.ts'

export const SO_EE_ORIGIN_LOCAL = 1
export const SO_EE_ORIGIN_ICMP = 2
export const SO_EE_ORIGIN_ICMP6 = 3

export interface QueuedError {
  /** Positive errno. */
  errno: number
  /** SO_EE_ORIGIN_* */
  origin: number
  type: number
  code: number
  /** The MTU that fits. */
  info: number
  /** Of sends that are over: the last, where `info` is the first. */
  data?: number
  /** Who said so; undefined for local errors. */
  offender: IpAddress | undefined
  /** Where the packet was to go: what recvmsg gives as the name. */
  destination: IpAddress
  port: number
  /** What is quoted of our data (packet.start..end), and where its headers were. */
  packet: Packet | undefined
}

export class ErrorQueue {
  readonly #errors: QueuedError[] = []
  #bytes = 0

  get length(): number {
    return this.#errors.length
  }
  get first(): QueuedError | undefined {
    return this.#errors[0]
  }

  /** False when `limit` bytes are queued already: then the error is lost. */
  push(error: QueuedError, limit: number): boolean {
    const size = sizeOf(error)
    if (this.#bytes + size > limit) {
      error.packet?.release()
      return false
    }
    this.#bytes += size
    this.#errors.push(error)
    return true
  }

  /** The send with MSG_ZEROCOPY of this number is over. What nobody has heard of yet is told at once. */
  pushCopied(number: number, limit: number): boolean {
    const tail = this.#errors.at(-1)
    if (tail?.origin === SO_EE_ORIGIN_ZEROCOPY && tail.data === (number - 1) >>> 0) {
      tail.data = number
      return true
    }
    return this.push(copiedNotice(number), limit)
  }

  /** The caller releases its packet. */
  shift(): QueuedError | undefined {
    const error = this.#errors.shift()
    if (error !== undefined) this.#bytes -= sizeOf(error)
    return error
  }

  clear(): void {
    for (let error = this.shift(); error !== undefined; error = this.shift()) error.packet?.release()
  }
}

/** Not an error: the sender may use the bytes again. They have been copied, as the code says. */
function copiedNotice(number: number): QueuedError {
  return {
    ...{ errno: 0, origin: SO_EE_ORIGIN_ZEROCOPY, type: 0, code: SO_EE_CODE_ZEROCOPY_COPIED },
    ...{ info: number, data: number, offender: undefined, destination: V4_ANY, port: 0, packet: undefined },
  }
}

function sizeOf(error: QueuedError): number {
  return 256 + (error.packet?.bytes.length ?? 0)
}

/** An ICMP error for the queue, with what it quotes of our `packet` beyond `skip` bytes. `port`: of the destination. */
export function quotedError(packet: Packet, error: IcmpError, skip: number, port = 0): QueuedError {
  const quote = packet.clone()
  quote.start = Math.min(quote.start + skip, quote.end)
  return {
    errno: error.errno,
    origin: error.isV4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6,
    type: error.type,
    code: error.code,
    info: error.info,
    offender: error.offender,
    destination: error.destination,
    port,
    packet: quote,
  }
}
