/** Port numbers: the range for those that the stack chooses, net.ipv4.ip_local_reserved_ports, and bind's conflicts. */
import type { IpStack } from '../ip-stack.ts'
import type { UdpEndpoint } from './endpoint.ts'

/** Whether two endpoints may not have the same port: inet_rcv_saddr_equal and SO_REUSE*. */
export function conflicts(one: UdpEndpoint, other: UdpEndpoint): boolean {
  if (one.flow.device !== 0 && other.flow.device !== 0 && one.flow.device !== other.flow.device) return false
  if (one.reuseAddress && other.reuseAddress) return false
  if (one.reusePort && other.reusePort && one.uid === other.uid) return false
  return overlaps(one, other)
}

function overlaps(one: UdpEndpoint, other: UdpEndpoint): boolean {
  const a = one.local
  const b = other.local
  if (a.isAny || b.isAny) return (families(one) & families(other)) !== 0
  return a.equals(b)
}

/** Which families' packets can reach it, as bits: ::ffff:0.0.0.0 and :: with IPV6_V6ONLY take only one. */
function families(endpoint: UdpEndpoint): number {
  if (endpoint.local.isV4) return 1
  return endpoint.local.isAny && !endpoint.onlyV6 ? 3 : 2
}

/**
 * A free port in ip_local_port_range, beginning at a random place (RFC 6056); 0 when there is none. `taken`: whether the
 * endpoint can't have a port.
 */
export function choosePort(stack: IpStack, taken: (port: number) => boolean): number {
  const [low, high] = stack.sysctls.ipv4.ip_local_port_range
  const count = high - low + 1
  const first = stack.random.below(count)
  const reserved = parseReserved(stack.sysctls.reservedPorts)
  for (let i = 0; i < count; i++) {
    const port = low + ((first + i) % count)
    if (!isReserved(reserved, port) && !taken(port)) return port
  }
  return 0
}

type Ranges = readonly (readonly [number, number])[]

function isReserved(ranges: Ranges, port: number): boolean {
  return ranges.some(([low, high]) => port >= low && port <= high)
}

/** `8080,9000-9100` */
function parseReserved(text: string): Ranges {
  if (text === '') return []
  return text.split(',').map(part => {
    const [low, high] = part.split('-').map(Number)
    return [low, high ?? low] as const
  })
}
