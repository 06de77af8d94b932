/** The kinds of interfaces that `ip link add` makes, and what makes one a port of another. */
import {
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_LINKINFO,
  VETH_INFO_PEER,
} from '../../../abi/constants.ts'
import { EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, EOPNOTSUPP } from '../../../abi/errno.ts'
import { IFINFOMSG } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { BridgeDevice } from '../../link/bridge.ts'
import type { NetDevice } from '../../link/device.ts'
import { DummyDevice } from '../../link/dummy.ts'
import { randomMac, type VethDevice, vethPair } from '../../link/veth.ts'
import { Attributes } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { namespaceOf } from './namespace.ts'

/** A device that is not registered yet; what comes with it is. `target`: where it will be. */
export function createDevice(
  request: NetlinkRequest,
  target: IpStack,
  kind: string,
  attributes: Attributes,
): OrErrno<NetDevice> {
  const name = attributes.string(IFLA_IFNAME) || `${kind}%d`
  const address = hardwareAddress(target, attributes)
  if (typeof address === 'number') return address
  switch (kind) {
    case 'dummy':
      return new DummyDevice(name, address)
    case 'bridge':
      return new BridgeDevice(name, address)
    case 'veth':
      return createVeth(request, target, name, address, attributes)
  }
  request.reason = 'Unknown device type'
  return -EOPNOTSUPP
}

/** The one given, or a random one: locally administered, of a single station. */
function hardwareAddress(stack: IpStack, attributes: Attributes): OrErrno<Uint8Array> {
  const given = attributes.get(IFLA_ADDRESS)
  if (given === undefined) return randomMac(stack.random)
  if (given.length < 6) return -EINVAL
  if ((given[0] & 1) !== 0 || given.every(byte => byte === 0)) return -EADDRNOTAVAIL
  return given.slice(0, 6)
}

/** The other end is described like a link of its own, and may be in another namespace. */
function createVeth(
  request: NetlinkRequest,
  target: IpStack,
  name: string,
  address: Uint8Array,
  attributes: Attributes,
): OrErrno<VethDevice> {
  const peerInfo = attributes.nested(IFLA_LINKINFO)?.nested(IFLA_INFO_DATA)?.get(VETH_INFO_PEER)
  if (peerInfo !== undefined && peerInfo.length < IFINFOMSG.size) return -EINVAL
  const about = new Attributes(peerInfo ?? new Uint8Array(0), peerInfo === undefined ? 0 : IFINFOMSG.size)
  const home = namespaceOf(request.task, about, request.stack.ip!)
  if (typeof home === 'number') return home
  const peerName = about.string(IFLA_IFNAME) || 'veth%d'
  const peerAddress = hardwareAddress(home, about)
  if (typeof peerAddress === 'number') return peerAddress
  if (target.devices.byName(name) !== undefined) return -EEXIST
  const [device, peer] = vethPair(target.random, name, peerName)
  device.address = address
  peer.address = peerAddress
  const index =
    peerInfo === undefined
      ? 0
      : new DataView(peerInfo.buffer, peerInfo.byteOffset).getInt32(IFINFOMSG.ifi_index, true)
  const status = home.devices.register(peer, Math.max(index, 0))
  return status < 0 ? status : device
}

/** Makes the device a port of the one with the index `master`, or of none with 0. */
export function enslave(stack: IpStack, device: NetDevice, master: number): Status {
  const before = device.master
  if (before?.index === master) return 0
  if (before instanceof BridgeDevice) {
    const status = before.removePort(device)
    if (status < 0) return status
  }
  if (master !== 0) {
    const bridge = stack.devices.byIndex(master)
    if (bridge === undefined) return -ENODEV
    if (!(bridge instanceof BridgeDevice)) return -EOPNOTSUPP
    const status = bridge.addPort(device)
    if (status < 0) return status
  }
  stack.listener?.linkChanged(device, false)
  return 0
}
