/** The kinds of interfaces that `ip link add` makes, and what makes one a port of another. */
import { IFLA_IFNAME, IFLA_INFO_DATA, IFLA_LINKINFO } from '../../../abi/constants.ts'
import { ENODEV, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { DummyDevice } from '../../link/dummy.ts'
import { IfbDevice } from '../../link/ifb.ts'
import { Attributes } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { bondKind } from './bond.ts'
import { bridgeKind } from './bridge.ts'
import { greKind, gretapKind } from './gre.ts'
import { ipipKind, sitKind } from './ip-tunnel.ts'
import { ipvlanKind } from './ipvlan.ts'
import { addressFor, givenAddress, type LinkKind, refuse } from './kind.ts'
import { macvlanKind } from './macvlan.ts'
import { tunKind } from './tun.ts'
import { vethKind } from './veth.ts'
import { vlanKind } from './vlan.ts'
import { vxlanKind } from './vxlan.ts'

const dummyKind: LinkKind = { create: link => new DummyDevice(link.name, addressFor(link)) }
const ifbKind: LinkKind = { create: link => new IfbDevice(link.name, addressFor(link)) }

const KINDS: ReadonlyMap<string, LinkKind> = new Map([
  ['bond', bondKind],
  ['bridge', bridgeKind],
  ['dummy', dummyKind],
  ['gre', greKind],
  ['gretap', gretapKind],
  ['ifb', ifbKind],
  ['ipip', ipipKind],
  ['ipvlan', ipvlanKind],
  ['macvlan', macvlanKind],
  ['sit', sitKind],
  ['tun', tunKind],
  ['veth', vethKind],
  ['vlan', vlanKind],
  ['vxlan', vxlanKind],
])

export function kindOf(device: NetDevice): LinkKind | undefined {
  return KINDS.get(device.kind)
}

/** A device that is not registered yet; what comes with it is. `target`: where it will be. */
export function createDevice(
  request: NetlinkRequest,
  target: IpStack,
  kind: string,
  attributes: Attributes,
): OrErrno<NetDevice> {
  const made = KINDS.get(kind)
  if (made === undefined) return refuse(request, 'Unknown device type', EOPNOTSUPP)
  const address = givenAddress(attributes)
  if (typeof address === 'number') return address
  const data = attributes.nested(IFLA_LINKINFO)?.nested(IFLA_INFO_DATA) ?? new Attributes(new Uint8Array(0))
  const name = attributes.string(IFLA_IFNAME) || `${kind}%d`
  return made.create({ request, own: request.stack.ip!, target, name, address, attributes, data })
}

/** Makes the device a port of the one with the index `master`, or of none with 0. */
export function enslave(stack: IpStack, device: NetDevice, master: number): Status {
  const before = device.master
  if (before?.index === master) return 0
  if (before !== undefined) {
    const status = before.removePort(device)
    if (status < 0) return status
  }
  if (master !== 0) {
    const bridge = stack.devices.byIndex(master)
    if (bridge === undefined) return -ENODEV
    const status = bridge.addPort(device)
    if (status < 0) return status
  }
  stack.listener?.linkChanged(device, false)
  return 0
}
