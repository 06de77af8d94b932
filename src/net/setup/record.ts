/**
 * NetworkRecord: how the interfaces of a network namespace are configured, as plain JSON. Made of the host's namespace by
 * read.ts on the host side, after whoever sets up networks (Docker, CNI) is done; given to the sentry, whose stack takes
 * it over (apply.ts). Numbers are rtnetlink(7)'s, addresses as people write them.
 */
import {
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  IFA_F_TENTATIVE,
} from '../../abi/constants.ts'
import type { RouteMetrics } from '../ip/fib.ts'

export interface NetworkRecord {
  readonly links: readonly LinkRecord[]
  readonly routes: readonly RouteRecord[]
  readonly neighbours: readonly NeighbourRecord[]
}

export interface LinkRecord {
  readonly index: number
  readonly name: string
  /** ARPHRD_* */
  readonly type: number
  /** IFLA_INFO_KIND; '' for none. */
  readonly kind: string
  /** IFF_* */
  readonly flags: number
  readonly mtu: number
  /** Six bytes with colons; '' where there is none. */
  readonly mac: string
  readonly txQueueLength: number
  /** net.ipv6.conf.NAME.disable_ipv6 */
  readonly ipv6Disabled: boolean
  readonly addresses: readonly AddressRecord[]
}

export interface AddressRecord {
  readonly address: string
  readonly length: number
  /** The other side of a point-to-point link. */
  readonly peer?: string
  readonly broadcast?: string
  /** RT_SCOPE_* */
  readonly scope: number
  /** IFA_F_* */
  readonly flags: number
  readonly label?: string
  /** Metric of its prefix route. */
  readonly priority: number
  /** Seconds, 0xffffffff for ever. */
  readonly valid: number
  readonly preferred: number
}

export interface RouteRecord {
  readonly destination: string
  readonly length: number
  readonly table: number
  /** RTN_* */
  readonly type: number
  readonly scope: number
  /** RTPROT_* */
  readonly protocol: number
  readonly tos: number
  readonly priority: number
  readonly source?: string
  readonly metrics: RouteMetrics
  readonly hops: readonly HopRecord[]
}

export interface HopRecord {
  /** Index of the link in this record. */
  readonly link: number
  readonly gateway?: string
  readonly weight: number
  /** RTNH_F_* */
  readonly flags: number
}

export interface NeighbourRecord {
  readonly link: number
  readonly address: string
  readonly mac: string
}

/** A MAC address of six bytes from its text; undefined for what is none. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  return Uint8Array.from(text.split(':'), byte => Number.parseInt(byte, 16))
}

/** Flags of addresses that whoever has one finds out by himself. */
export const ADDRESS_STATES =
  IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_PERMANENT | IFA_F_SECONDARY | IFA_F_TENTATIVE

/** The record has them as they are shown, IPv6's newest ones first, and that is what sources are chosen by. */
export function addressesByAge(addresses: readonly AddressRecord[]): AddressRecord[] {
  const isV6 = (record: AddressRecord): boolean => record.address.includes(':')
  return [...addresses.filter(record => !isV6(record)), ...addresses.filter(isV6).reverse()]
}

/** Gateways are reached by routes without gateways, which come first. */
export function routesInOrder(routes: readonly RouteRecord[]): RouteRecord[] {
  const direct = (route: RouteRecord): boolean => route.hops.every(hop => hop.gateway === undefined)
  return [...routes.filter(direct), ...routes.filter(route => !direct(route))]
}
