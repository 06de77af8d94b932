/** The addresses of a user-mode network: those of slirp4netns, so that people know them. */
import { IFA_F_NODAD } from '../../abi/constants.ts'
import { IpAddress, maskWord } from '../address.ts'
import { InterfaceAddress } from '../ip/interface-address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

export interface UserAddresses {
  readonly guest: IpAddress
  readonly length: number
  /** The way out; with --host-loopback the caller's own loopback address. */
  readonly gateway: IpAddress
  /** Port 53 there is the caller's resolver. */
  readonly resolver: IpAddress
}

export const USER_V4: UserAddresses = {
  guest: IpAddress.of('10.0.2.100'),
  length: 24,
  gateway: IpAddress.of('10.0.2.2'),
  resolver: IpAddress.of('10.0.2.3'),
}

/** Unique local ones, which by RFC 6724 programs use only for destinations that have no IPv4 address. */
export const USER_V6: UserAddresses = {
  guest: IpAddress.of('fd00::100'),
  length: 64,
  gateway: IpAddress.of('fd00::2'),
  resolver: IpAddress.of('fd00::3'),
}

/** Of a link on which nobody else can have it. */
export function addFixedAddress(stack: IpStack, device: NetDevice, address: IpAddress, length: number): void {
  const entry = new InterfaceAddress(device, address, length)
  entry.flags |= IFA_F_NODAD
  if (address.isV4) entry.broadcast = IpAddress.v4(address.w3 | ~maskWord(length))
  stack.addresses.add(entry)
}
