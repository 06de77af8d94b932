/** The packet that an ICMP error quotes. */
import { IPPROTO_ICMP } from '../../../abi/constants.ts'
import { HeaderWalk } from '../../ip/extension-headers.ts'
import { IP_OFFSET, IPV4_HEADER, IPV6_HEADER } from '../../ip/numbers.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { Packet } from '../../packet.ts'
import { readTuple, type Tuple } from './tuple.ts'

const ICMP_HEADER = 8

export interface Quoted {
  readonly tuple: Tuple
  /** Offsets of its headers. */
  readonly network: number
  readonly transport: number
}

/** Of an ICMP error with its header at packet.transport; undefined: it doesn't quote enough. */
export function quotedPacket(stack: IpStack, packet: Packet): Quoted | undefined {
  const { view, end } = packet
  const network = packet.transport + ICMP_HEADER
  const isV4 = packet.transportProtocol === IPPROTO_ICMP
  const { addresses } = stack.runtime
  let transport: number
  let protocol: number
  if (isV4) {
    if (end - network < IPV4_HEADER || view.getUint8(network) >> 4 !== 4) return undefined
    const headerLength = (view.getUint8(network) & 15) * 4
    if (headerLength < IPV4_HEADER || end - network < headerLength) return undefined
    if ((view.getUint16(network + 6) & IP_OFFSET) !== 0) return undefined
    transport = network + headerLength
    protocol = view.getUint8(network + 9)
  } else {
    if (end - network < IPV6_HEADER || view.getUint8(network) >> 4 !== 6) return undefined
    const walk = new HeaderWalk()
    walk.walk(view, network, end)
    if (walk.truncated) return undefined
    ;({ transport, protocol } = walk)
  }
  const source = isV4 ? addresses.v4(view.getUint32(network + 12)) : addresses.v6(view, network + 8)
  const destination = isV4 ? addresses.v4(view.getUint32(network + 16)) : addresses.v6(view, network + 24)
  const tuple = readTuple(view, transport, end - transport, protocol, source, destination)
  return tuple === undefined ? undefined : { tuple, network, transport }
}
