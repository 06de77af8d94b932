/** What a kind of interface (`ip link add … type KIND`) gives to rtnetlink: struct rtnl_link_ops. One file has each. */
import { ETH_ALEN, IFLA_ADDRESS } from '../../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { randomMac } from '../../link/veth.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'

/** What is asked of a new interface. */
export interface LinkRequest {
  readonly request: NetlinkRequest
  /** The namespace of who asks: a device that is to be below is there, and tunnels begin there. */
  readonly own: IpStack
  /** Where the new one will be. */
  readonly target: IpStack
  readonly name: string
  /** Undefined where none was given. */
  readonly address: Uint8Array | undefined
  readonly attributes: Attributes
  /** IFLA_INFO_DATA */
  readonly data: Attributes
}

export interface LinkKind {
  /** A device that isn't registered yet; what comes with it is. */
  create(link: LinkRequest): OrErrno<NetDevice>
  /** Takes IFLA_INFO_DATA for a device that is there. Absent: nothing can be changed. */
  change?(device: NetDevice, data: Attributes, request: NetlinkRequest): Status
  /** Writes what IFLA_INFO_DATA holds. Absent: there is none. */
  write?(writer: MessageWriter, device: NetDevice): void
}

/** Says why, for who asks with NETLINK_EXT_ACK. */
export function refuse(request: NetlinkRequest, reason: string, errno: number): Status {
  request.reason = reason
  return -errno
}

/** IFLA_ADDRESS: of a single station. */
export function givenAddress(attributes: Attributes): OrErrno<Uint8Array> | undefined {
  const given = attributes.get(IFLA_ADDRESS)
  if (given === undefined) return undefined
  if (given.length < ETH_ALEN) return -EINVAL
  if ((given[0] & 1) !== 0 || given.every(byte => byte === 0)) return -EADDRNOTAVAIL
  return given.slice(0, ETH_ALEN)
}

/** The one given, or a random one: locally administered. */
export function addressFor({ address, target }: LinkRequest): Uint8Array {
  return address ?? randomMac(target.random)
}
