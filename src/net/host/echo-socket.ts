/**
 * EchoSocket: a raw ICMP socket for ping(8), by way of one of the host's sockets for echo requests (icmp(7),
 * ping_group_range), since the sentry may not have raw ones. The host's socket sends echo requests and receives their
 * answers, under an identifier of its own and without the IP header; here they get what a raw socket would show. Other
 * messages can be neither sent nor heard.
 */
import {
  AF_INET,
  ICMP_FILTER,
  ICMPV6_FILTER,
  IP_PKTINFO,
  IP_RECVTTL,
  IP_TTL,
  IPPROTO_ICMP,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_ICMPV6,
  SOL_IP,
  SOL_RAW,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENOPROTOOPT } from '../../abi/errno.ts'
import { IN_PKTINFO, SOCKADDR_IN } from '../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { type ReceivedControl, type ReceiveRequest, receiveRequest, type SendRequest } from '../socket.ts'
import { InetSocket } from './inet-socket.ts'
import type { HostNetwork } from './network.ts'
import { wholeMessage } from './transfer.ts'

const IP_HEADER = 20
/** An ICMP message's own: type, code, checksum, identifier, sequence number. */
const ECHO_CHECKSUM = 2
const ECHO_ID = 4
const ECHO_HEADER = 8
const MAX_MESSAGE = 65535
const ON = new Uint8Array([1, 0, 0, 0])

export class EchoSocket extends InetSocket {
  /** Of the last request: what its answers are to carry. */
  #identifier = 0
  #filter: Uint8Array

  /** Or a negative errno, where the host has no such sockets for the sentry. */
  static open(network: HostNetwork, family: number, protocol: number): OrErrno<EchoSocket> {
    const fd = network.sockets.open(family, SOCK_DGRAM, protocol)
    return fd < 0 ? fd : new EchoSocket(network, fd, family, protocol)
  }

  private constructor(network: HostNetwork, fd: number, family: number, protocol: number) {
    super(network, fd, family, SOCK_RAW, protocol)
    this.#filter = new Uint8Array(family === AF_INET ? 4 : 32)
    if (family !== AF_INET) return
    // For the IP header.
    network.sockets.setOption(fd, SOL_IP, IP_RECVTTL, ON)
    network.sockets.setOption(fd, SOL_IP, IP_PKTINFO, ON)
  }

  override send(task: Task, request: SendRequest): number {
    const bytes = wholeMessage(request, request.src.remaining)
    if (failed(bytes)) return bytes
    if (bytes.length < ECHO_HEADER) return -EINVAL
    this.#identifier = (bytes[ECHO_ID] << 8) | bytes[ECHO_ID + 1]
    return super.send(task, { ...request, src: new BufferSrc(bytes) })
  }

  override receive(task: Task, request: ReceiveRequest): number {
    const message = new Uint8Array(Math.min(request.dst.remaining, MAX_MESSAGE))
    const inner = receiveRequest(new BufferDst(message), request.flags)
    const n = super.receive(task, inner)
    if (n < 0) return n
    const echo = message.subarray(0, Math.min(n, message.length))
    if (echo.length >= ECHO_HEADER) renumber(echo, this.#identifier)
    const head = this.family === AF_INET ? ipHeader(n, inner) : new Uint8Array(0)
    request.address = inner.address
    request.outFlags |= inner.outFlags
    request.control.push(...inner.control.filter(control => control.level === SOL_SOCKET))
    if (request.dst.put(head) < 0 || request.dst.put(echo) < 0) return -EFAULT
    return n + head.length
  }

  override getOption(
    task: Task,
    level: number,
    name: number,
    length: number,
  ): OrErrno<Uint8Array> | undefined {
    if (level === SOL_SOCKET && name === SO_TYPE) return new Uint8Array([SOCK_RAW, 0, 0, 0])
    if (this.#isFilter(level, name)) return this.#filter
    return super.getOption(task, level, name, length)
  }
  /** Filters are remembered and have nothing to do: nothing but answers comes. */
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    if (!this.#isFilter(level, name)) {
      return level === SOL_RAW || level === SOL_ICMPV6
        ? -ENOPROTOOPT
        : super.setOption(task, level, name, value)
    }
    this.#filter.set(value.subarray(0, this.#filter.length))
    return 0
  }
  #isFilter(level: number, name: number): boolean {
    return this.family === AF_INET
      ? level === SOL_RAW && name === ICMP_FILTER
      : level === SOL_ICMPV6 && name === ICMPV6_FILTER
  }
}

/** Gives an ICMP message the identifier and mends its checksum: RFC 1624. */
export function renumber(message: Uint8Array, identifier: number): void {
  const word = (at: number) => (message[at] << 8) | message[at + 1]
  const change = (~word(ECHO_ID) & 0xffff) + identifier
  const sum = fold((~word(ECHO_CHECKSUM) & 0xffff) + change)
  putWord(message, ECHO_ID, identifier)
  putWord(message, ECHO_CHECKSUM, ~sum & 0xffff)
}

/** The header that the message came with, as far as it is known. */
function ipHeader(length: number, { address, control }: ReceiveRequest): Uint8Array {
  const header = new Uint8Array(IP_HEADER)
  header[0] = 0x45
  putWord(header, 2, IP_HEADER + length)
  header[8] = dataOf(control, IP_TTL)?.[0] ?? 64
  header[9] = IPPROTO_ICMP
  if (address !== undefined) header.set(address.subarray(SOCKADDR_IN.sin_addr, SOCKADDR_IN.sin_addr + 4), 12)
  const info = dataOf(control, IP_PKTINFO)
  if (info !== undefined) header.set(info.subarray(IN_PKTINFO.ipi_addr, IN_PKTINFO.ipi_addr + 4), 16)
  let sum = 0
  for (let at = 0; at < IP_HEADER; at += 2) sum += (header[at] << 8) | header[at + 1]
  putWord(header, 10, ~fold(sum) & 0xffff)
  return header
}

function dataOf(control: readonly ReceivedControl[], type: number): Uint8Array | undefined {
  return control.find(each => each.level === SOL_IP && each.type === type)?.data
}
function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value & 0xff
}
function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return sum
}
