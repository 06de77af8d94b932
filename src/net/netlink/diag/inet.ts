/** Sockets of AF_INET and AF_INET6: inet_diag. */
import {
  AF_INET,
  AF_INET6,
  INET_DIAG_CLASS_ID,
  INET_DIAG_CONG,
  INET_DIAG_INFO,
  INET_DIAG_MARK,
  INET_DIAG_MEMINFO,
  INET_DIAG_REQ_BYTECODE,
  INET_DIAG_REQ_PROTOCOL,
  INET_DIAG_SHUTDOWN,
  INET_DIAG_SKMEMINFO,
  INET_DIAG_SKV6ONLY,
  INET_DIAG_TCLASS,
  INET_DIAG_TOS,
  IP_TOS,
  IPPROTO_RAW,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPV6_TCLASS,
  IPV6_V6ONLY,
  NLM_F_MULTI,
  SO_MARK,
  SOCK_DIAG_BY_FAMILY,
  SOCK_RAW,
  TCP_CLOSE,
  TCP_LISTEN,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import {
  INET_DIAG_MSG,
  INET_DIAG_REQ_V2,
  INET_DIAG_SOCKID,
  INET_DIAG_MEMINFO as MEMINFO,
} from '../../../abi/layout.ts'
import type { IdMapping } from '../../../base/credentials.ts'
import { fromKernelId } from '../../../base/id-map.ts'
import type { Status } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import { memoryInfo } from '../../common-options.ts'
import { type InetEntry, inetEntries } from '../../inet/entry.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { TcpSocket } from '../../inet/tcp.ts'
import { tcpInfo } from '../../tcp/info.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { type Condition, compileConditions } from './bytecode.ts'

const NO_COOKIE = 0xffffffff
/** Those whose sockets are told; for others there is no handler. */
const PROTOCOLS: ReadonlySet<number> = new Set([IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_RAW])

interface Asked {
  readonly family: number
  readonly protocol: number
  /** Extensions as bits, INET_DIAG_* minus one. */
  readonly extensions: number
  readonly states: number
  readonly view: DataView
  /** Of the asker's user namespace. */
  readonly uidMap: readonly IdMapping[]
}

function parse(request: NetlinkRequest): Asked | Status {
  const { body, view } = request
  if (body.length < INET_DIAG_REQ_V2.size) return -EINVAL
  const attributes = new Attributes(body, INET_DIAG_REQ_V2.size)
  const protocol = attributes.u32(INET_DIAG_REQ_PROTOCOL) ?? body[INET_DIAG_REQ_V2.sdiag_protocol]
  if (!PROTOCOLS.has(protocol)) return -ENOENT
  return {
    family: body[INET_DIAG_REQ_V2.sdiag_family],
    protocol,
    extensions: body[INET_DIAG_REQ_V2.idiag_ext],
    states: view.getUint32(INET_DIAG_REQ_V2.idiag_states, true),
    view,
    uidMap: request.task.cred.userNs.uidMap,
  }
}

export function inetDiag(net: InetNetwork, request: NetlinkRequest, isDump: boolean): Status | Dump {
  const asked = parse(request)
  if (typeof asked === 'number') return asked
  if (!isDump) return one(net, request, asked)
  const code = new Attributes(request.body, INET_DIAG_REQ_V2.size).get(INET_DIAG_REQ_BYTECODE)
  const condition = code === undefined ? undefined : compileConditions(code)
  if (typeof condition === 'number') return condition
  const wanted = (entry: InetEntry) => matches(asked, entry, condition)
  const { sequence, port } = request
  return new ListDump([...entriesOf(net, asked)].filter(wanted), (writer, entry) =>
    writeEntry(writer, net, asked, entry, NLM_F_MULTI, sequence, port),
  )
}

function* entriesOf(net: InetNetwork, { protocol, family }: Asked): IterableIterator<InetEntry> {
  if (protocol === IPPROTO_RAW) {
    const seen = new Set<number>()
    for (const socket of net.sockets) {
      if (socket.type !== SOCK_RAW || seen.has(socket.protocol)) continue
      seen.add(socket.protocol)
      for (const entry of inetEntries(net, socket.protocol)) {
        if (entry.isV6 === (family === AF_INET6) && entry.socket?.type === SOCK_RAW) yield entry
      }
    }
    return
  }
  for (const entry of inetEntries(net, protocol)) if (entry.isV6 === (family === AF_INET6)) yield entry
}

function matches(asked: Asked, entry: InetEntry, condition: Condition | undefined): boolean {
  if ((asked.states & (1 << entry.state)) === 0) return false
  const at = INET_DIAG_REQ_V2.id
  const source = asked.view.getUint16(at + INET_DIAG_SOCKID.idiag_sport)
  const destination = asked.view.getUint16(at + INET_DIAG_SOCKID.idiag_dport)
  if (source !== 0 && entry.localPort !== source) return false
  if (destination !== 0 && entry.remotePort !== destination) return false
  return condition === undefined || condition(entry)
}

/** By its addresses and ports. */
function find(net: InetNetwork, asked: Asked): InetEntry | undefined {
  const { view, family } = asked
  const at = INET_DIAG_REQ_V2.id
  const isV4 = family === AF_INET
  const local = IpAddress.read(view, at + INET_DIAG_SOCKID.idiag_src, isV4)
  const remote = IpAddress.read(view, at + INET_DIAG_SOCKID.idiag_dst, isV4)
  const localPort = view.getUint16(at + INET_DIAG_SOCKID.idiag_sport)
  const remotePort = view.getUint16(at + INET_DIAG_SOCKID.idiag_dport)
  const cookie = view.getUint32(at + INET_DIAG_SOCKID.idiag_cookie, true)
  let listener: InetEntry | undefined
  for (const entry of entriesOf(net, asked)) {
    if (entry.localPort !== localPort) continue
    if (cookie !== NO_COOKIE && entry.socket?.cookie() !== cookie) continue
    const sameLocal = entry.local.equals(local)
    if (sameLocal && entry.remotePort === remotePort && (entry.remote ?? remote).equals(remote)) return entry
    if (entry.state === TCP_LISTEN && (sameLocal || entry.local.isAny)) listener = entry
  }
  return listener
}

function one(net: InetNetwork, request: NetlinkRequest, asked: Asked): Status {
  const entry = find(net, asked)
  if (entry === undefined) return -ENOENT
  const writer = new MessageWriter()
  writeEntry(writer, net, asked, entry, 0, request.sequence, request.port)
  return request.answer(writer)
}

/** `ss --kill`. */
export function destroyInet(net: InetNetwork, request: NetlinkRequest): Status {
  const asked = parse(request)
  if (typeof asked === 'number') return asked
  if (asked.protocol !== IPPROTO_TCP) return -EOPNOTSUPP
  const entry = find(net, asked)
  if (entry === undefined) return -ENOENT
  if (!(entry.socket instanceof TcpSocket)) return -EOPNOTSUPP
  entry.socket.endpoint.abort()
  return 0
}

function writeEntry(
  writer: MessageWriter,
  net: InetNetwork,
  asked: Asked,
  entry: InetEntry,
  flags: number,
  sequence: number,
  port: number,
): void {
  writer.start(SOCK_DIAG_BY_FAMILY, flags, sequence, port)
  const at = writer.struct(INET_DIAG_MSG.size)
  writer.set8(at + INET_DIAG_MSG.idiag_family, entry.isV6 ? AF_INET6 : AF_INET)
  writer.set8(at + INET_DIAG_MSG.idiag_state, entry.state)
  writer.set8(at + INET_DIAG_MSG.idiag_timer, entry.timer)
  writer.set8(at + INET_DIAG_MSG.idiag_retrans, Math.min(entry.retransmits, 255))
  const id = at + INET_DIAG_MSG.id
  writer.set8(id + INET_DIAG_SOCKID.idiag_sport, entry.localPort >> 8)
  writer.set8(id + INET_DIAG_SOCKID.idiag_sport + 1, entry.localPort & 0xff)
  writer.set8(id + INET_DIAG_SOCKID.idiag_dport, entry.remotePort >> 8)
  writer.set8(id + INET_DIAG_SOCKID.idiag_dport + 1, entry.remotePort & 0xff)
  writer.setBytes(id + INET_DIAG_SOCKID.idiag_src, bytesOf(entry.local, entry.isV6))
  if (entry.remote !== undefined) {
    writer.setBytes(id + INET_DIAG_SOCKID.idiag_dst, bytesOf(entry.remote, entry.isV6))
  }
  writer.set32(id + INET_DIAG_SOCKID.idiag_if, entry.device)
  writer.set32(id + INET_DIAG_SOCKID.idiag_cookie, entry.socket?.cookie() ?? 0)
  const expires = entry.timer === 0 ? 0 : Math.max(Math.floor((entry.timerDue - net.runtime.now()) / 1e6), 0)
  writer.set32(at + INET_DIAG_MSG.idiag_expires, expires)
  writer.set32(at + INET_DIAG_MSG.idiag_rqueue, entry.receiveQueue)
  const listener = entry.socket instanceof TcpSocket ? entry.socket.endpoint.listener : undefined
  writer.set32(at + INET_DIAG_MSG.idiag_wqueue, listener?.backlog ?? entry.sendQueue)
  writer.set32(at + INET_DIAG_MSG.idiag_uid, fromKernelId(asked.uidMap, entry.uid))
  writer.set32(at + INET_DIAG_MSG.idiag_inode, entry.ino)
  if (entry.socket !== undefined) writeExtensions(writer, asked, entry)
  writer.end()
}

function bytesOf(address: IpAddress, isV6: boolean): Uint8Array {
  if (!isV6) return address.bytes()
  const bytes = new Uint8Array(16)
  address.writeV6(viewOf(bytes), 0)
  return bytes
}

function writeExtensions(writer: MessageWriter, { extensions, protocol }: Asked, entry: InetEntry): void {
  const socket = entry.socket!
  const asks = (extension: number) => (extensions & (1 << (extension - 1))) !== 0
  writer.u8(INET_DIAG_SHUTDOWN, entry.connection?.shutdown ?? socket.shutdownMask)
  if (asks(INET_DIAG_TOS)) writer.u8(INET_DIAG_TOS, socket.settings.v4(IP_TOS))
  if (entry.isV6) {
    if (asks(INET_DIAG_TCLASS)) writer.u8(INET_DIAG_TCLASS, Math.max(socket.settings.v6(IPV6_TCLASS), 0))
    // Who is bound to an address of IPv6 hears nothing else.
    const only = socket.settings.v6(IPV6_V6ONLY) !== 0 || (!entry.local.isV4 && !entry.local.isAny)
    if (entry.state === TCP_LISTEN || entry.state === TCP_CLOSE) writer.u8(INET_DIAG_SKV6ONLY, only ? 1 : 0)
  }
  const mark = socket.options.values.get(SO_MARK)
  if (mark !== undefined) writer.u32(INET_DIAG_MARK, mark)
  if (asks(INET_DIAG_CLASS_ID)) writer.u32(INET_DIAG_CLASS_ID, socket.flow.priority)
  if (asks(INET_DIAG_MEMINFO)) {
    const at = writer.attribute(INET_DIAG_MEMINFO, MEMINFO.size)
    writer.set32(at + MEMINFO.idiag_rmem, entry.receiveQueue)
    writer.set32(at + MEMINFO.idiag_wmem, entry.sendQueue)
  }
  if (asks(INET_DIAG_SKMEMINFO)) writer.bytes(INET_DIAG_SKMEMINFO, memoryInfo(socket))
  if (protocol !== IPPROTO_TCP || !(socket instanceof TcpSocket)) return
  if (asks(INET_DIAG_INFO)) writer.bytes(INET_DIAG_INFO, tcpInfo(socket.endpoint))
  if (asks(INET_DIAG_CONG)) writer.string(INET_DIAG_CONG, socket.endpoint.congestionName)
}
