/** The kinds of interfaces that `ip link add` makes, and what makes one a port of another. */
import {
  IFLA_ADDRESS,
  IFLA_IFNAME,
} from '../../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { DummyDevice } from '../../link/dummy.ts'
import type { Attributes } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'

/** A device that is not registered yet. `target`: where it will be. */
export function createDevice(
  request: NetlinkRequest,
  _stack: IpStack,
  target: IpStack,
  kind: string,
  attributes: Attributes,
  _data: Uint8Array | undefined,
): OrErrno<NetDevice> {
  const name = attributes.string(IFLA_IFNAME) || `${kind}%d`
  const address = hardwareAddress(target, attributes)
  if (typeof address === 'number') return address
  switch (kind) {
    case 'dummy':
      return new DummyDevice(name, address)
  }
  request.reason = 'Unknown device type'
  return -EOPNOTSUPP
}

/** The one given, or a random one: locally administered, of a single station. */
function hardwareAddress(stack: IpStack, attributes: Attributes): OrErrno<Uint8Array> {
  const given = attributes.get(IFLA_ADDRESS)
  if (given !== undefined) {
    if (given.length < 6) return -EINVAL
    if ((given[0] & 1) !== 0 || given.every(byte => byte === 0)) return -EADDRNOTAVAIL
    return given.slice(0, 6)
  }
  return randomHardwareAddress(stack)
}

export function randomHardwareAddress(stack: IpStack): Uint8Array {
  const address = new Uint8Array(6)
  for (let i = 0; i < 6; i++) address[i] = stack.random.below(256)
  address[0] = (address[0] & 0xfe) | 0x02
  return address
}

/** Makes the device a port of the one with the index `master`, or of none with 0. */
export function enslave(_stack: IpStack, device: NetDevice, master: number): Status {
  if (master === 0 && device.master === undefined) return 0
  return -EINVAL
}
