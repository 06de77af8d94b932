/** The sockets that packets on their way belong to: for TPROXY and the matches `socket`. nf_socket_ipv4.c, nf_tproxy_ipv4.c. */
import { IPPROTO_TCP, IPPROTO_UDP } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import type { Flow } from '../ip/flow.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import type { TcpEndpoint } from '../tcp/endpoint.ts'
import type { PortTuple, TcpProtocol } from '../tcp/protocol.ts'
import type { UdpEndpoint } from '../udp/endpoint.ts'
import type { UdpProtocol } from '../udp/protocol.ts'

export interface LocalSocket {
  /** What it sends with: its mark, and whether it is transparent. */
  readonly flow: Flow
  /** Of a listener or a socket of UDP. Undefined: a connection, which is found without help. */
  readonly endpoint: TcpEndpoint | UdpEndpoint | undefined
  /** It is bound to no address of its own. */
  readonly wildcard: boolean
}

/** Whose the packet is, as it would be found if it were for this machine. */
export function socketOf(stack: IpStack, packet: Packet): LocalSocket | undefined {
  const tuple = tupleOf(packet)
  if (tuple === undefined) return undefined
  if (packet.transportProtocol === IPPROTO_UDP) return udpSocket(stack, packet, tuple)
  return tcpConnection(stack, tuple) ?? tcpListener(stack, packet, tuple)
}

/** The socket that takes the packet in the place of whom it is for: its connection, or who listens at the other address. */
export function proxyFor(
  stack: IpStack,
  packet: Packet,
  address: IpAddress | undefined,
  port: number,
): LocalSocket | undefined {
  const tuple = tupleOf(packet)
  if (tuple === undefined) return undefined
  const isUdp = packet.transportProtocol === IPPROTO_UDP
  const known = isUdp ? udpSocket(stack, packet, tuple) : tcpConnection(stack, tuple)
  if (known !== undefined && (!isUdp || (known.endpoint as UdpEndpoint).connected)) return known
  const destination = address ?? addressOf(stack, packet)
  const other = { ...tuple, destination, destinationPort: port || tuple.destinationPort }
  if (!isUdp) return tcpListener(stack, packet, other)
  const socket = udpSocket(stack, packet, other)
  return (socket?.endpoint as UdpEndpoint | undefined)?.connected ? undefined : socket
}

/** nf_tproxy_laddr4: that of the device that it has come in by, if it has one. */
function addressOf(stack: IpStack, { device, destination }: Packet): IpAddress {
  const own = stack.addresses
    .of(device!)
    .find(entry => entry.address.isV4 === destination.isV4 && !entry.secondary)
  return own?.address ?? destination
}

/** Undefined: of no protocol with ports, or without its header. */
function tupleOf(packet: Packet): PortTuple | undefined {
  const { view, transport, transportProtocol, source, destination, end } = packet
  if (transportProtocol !== IPPROTO_TCP && transportProtocol !== IPPROTO_UDP) return undefined
  if (transport < 0 || transport + 4 > end) return undefined
  return {
    source,
    sourcePort: view.getUint16(transport),
    destination,
    destinationPort: view.getUint16(transport + 2),
  }
}

function tcpConnection(stack: IpStack, tuple: PortTuple): LocalSocket | undefined {
  const { table } = stack.protocols[IPPROTO_TCP] as TcpProtocol
  const entry = table.find(tuple.destination, tuple.destinationPort, tuple.source, tuple.sourcePort)
  return entry === undefined ? undefined : { flow: entry.flow, endpoint: undefined, wildcard: false }
}

function tcpListener(stack: IpStack, packet: Packet, tuple: PortTuple): LocalSocket | undefined {
  const tcp = stack.protocols[IPPROTO_TCP] as TcpProtocol
  const endpoint = tcp.findListener(packet, tuple, packet.transport)
  return endpoint && { flow: endpoint.flow, endpoint, wildcard: endpoint.localAddress.isAny }
}

function udpSocket(
  stack: IpStack,
  packet: Packet,
  { source, sourcePort, destination, destinationPort }: PortTuple,
): LocalSocket | undefined {
  const udp = stack.protocols[IPPROTO_UDP] as UdpProtocol
  const endpoint = udp.find(packet, destinationPort, source, sourcePort, destination)
  return endpoint && { flow: endpoint.flow, endpoint, wildcard: endpoint.local.isAny }
}
