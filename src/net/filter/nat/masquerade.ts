/** The addresses that MASQUERADE and REDIRECT give. */
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_OUT,
  NF_NAT_RANGE_MAP_IPS,
  RT_SCOPE_UNIVERSE,
} from '../../../abi/constants.ts'
import { type IpAddress, V4_LOOPBACK, V6_LOOPBACK } from '../../address.ts'
import { selectSource4, selectSource6 } from '../../ip/source-selection.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import { connectionOf } from '../conntrack/connection.ts'
import type { Nat } from './nat.ts'
import type { NatRange } from './range.ts'

/** The source becomes the address of the device by which the packet leaves. NF_* */
export function masquerade(
  stack: IpStack,
  nat: Nat,
  packet: Packet,
  output: NetDevice | undefined,
  range: NatRange,
): number {
  const connection = connectionOf(packet)
  if (connection === undefined || output === undefined) return NF_ACCEPT
  const { source, destination } = packet
  // Who has no address yet (DHCP) keeps it.
  if (source.isAny) return NF_ACCEPT
  const address = source.isV4
    ? selectSource4(stack, output, destination, RT_SCOPE_UNIVERSE)
    : selectSource6(stack, output, destination)
  if (address === undefined || address.isAny) return NF_DROP
  connection.masqueradeDevice = output.index
  return nat.setUp(connection, withAddress(range, address), true)
}

/** The destination becomes this machine: where the packet came in, or loopback for what is sent from here. NF_* */
export function redirect(
  stack: IpStack,
  nat: Nat,
  packet: Packet,
  point: number,
  input: NetDevice | undefined,
  range: NatRange,
): number {
  const connection = connectionOf(packet)
  if (connection === undefined) return NF_ACCEPT
  const { isV4 } = packet.destination
  const address =
    point === NF_INET_LOCAL_OUT ? (isV4 ? V4_LOOPBACK : V6_LOOPBACK) : firstAddress(stack, input, isV4)
  return address === undefined ? NF_DROP : nat.setUp(connection, withAddress(range, address), false)
}

function firstAddress(stack: IpStack, device: NetDevice | undefined, isV4: boolean): IpAddress | undefined {
  if (device === undefined) return undefined
  if (device.isLoopback) return isV4 ? V4_LOOPBACK : V6_LOOPBACK
  return stack.addresses.of(device).find(entry => entry.address.isV4 === isV4 && entry.usable)?.address
}

function withAddress(range: NatRange, address: IpAddress): NatRange {
  return {
    ...range,
    flags: range.flags | NF_NAT_RANGE_MAP_IPS,
    minAddress: address,
    maxAddress: address,
  }
}
