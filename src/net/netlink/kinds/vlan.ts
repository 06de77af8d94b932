/** `ip link add link eth0 name eth0.5 type vlan id 5`: vlan_newlink. */
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  IFLA_LINK,
  IFLA_MTU,
  IFLA_VLAN_EGRESS_QOS,
  IFLA_VLAN_FLAGS,
  IFLA_VLAN_ID,
  IFLA_VLAN_INGRESS_QOS,
  IFLA_VLAN_PROTOCOL,
  IFLA_VLAN_QOS_MAPPING,
  VLAN_FLAG_BRIDGE_BINDING,
  VLAN_FLAG_GVRP,
  VLAN_FLAG_LOOSE_BINDING,
  VLAN_FLAG_MVRP,
  VLAN_FLAG_REORDER_HDR,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPROTONOSUPPORT, ERANGE } from '../../../abi/errno.ts'
import { IFLA_VLAN_FLAGS as FLAGS, IFLA_VLAN_QOS_MAPPING as MAPPING } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { NetDevice } from '../../link/device.ts'
import { checkNesting } from '../../link/nesting.ts'
import { findVlan, VlanDevice } from '../../link/vlan.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { type LinkKind, type LinkRequest, refuse } from './kind.ts'

const VLAN_VID_MASK = 0xfff
const KNOWN_FLAGS =
  VLAN_FLAG_REORDER_HDR | VLAN_FLAG_GVRP | VLAN_FLAG_LOOSE_BINDING | VLAN_FLAG_MVRP | VLAN_FLAG_BRIDGE_BINDING
/** More priorities are nobody's. */
const MAX_PRIORITIES = 256

export const vlanKind: LinkKind = {
  create(link: LinkRequest): OrErrno<VlanDevice> {
    const { request, own, attributes, data } = link
    const valid = validate(data, request)
    if (valid < 0) return valid
    const id = data.u16(IFLA_VLAN_ID)
    if (id === undefined) return refuse(request, 'VLAN id not specified', EINVAL)
    const index = attributes.u32(IFLA_LINK)
    if (index === undefined) return refuse(request, 'link not specified', EINVAL)
    const lower = own.devices.byIndex(index)
    if (lower === undefined) return refuse(request, 'link does not exist', ENODEV)
    const protocol = data.be16(IFLA_VLAN_PROTOCOL) ?? ETH_P_8021Q
    if (lower.isLoopback || lower.headerLength === 0)
      return refuse(request, 'VLANs not supported on device', EOPNOTSUPP)
    if (findVlan(lower, protocol, id) !== undefined)
      return refuse(request, 'VLAN device already exists', EEXIST)
    if ((attributes.u32(IFLA_MTU) ?? 0) > lower.mtu) return -EINVAL
    const nesting = checkNesting(undefined, lower)
    if (nesting < 0) return nesting
    const device = new VlanDevice(link.name, lower, link.address ?? lower.address.slice(), id, protocol)
    apply(device, data)
    return device
  },

  change(device: NetDevice, data: Attributes, request: NetlinkRequest): Status {
    const valid = validate(data, request)
    if (valid < 0) return valid
    apply(device as VlanDevice, data)
    return 0
  },

  write(writer: MessageWriter, device: NetDevice): void {
    const vlan = device as VlanDevice
    writer.be16(IFLA_VLAN_PROTOCOL, vlan.protocol)
    writer.u16(IFLA_VLAN_ID, vlan.id)
    const at = writer.attribute(IFLA_VLAN_FLAGS, FLAGS.size)
    writer.set32(at + FLAGS.flags, vlan.options)
    writer.set32(at + FLAGS.mask, 0xffffffff)
    writeMapping(writer, IFLA_VLAN_INGRESS_QOS, vlan.ingress)
    writeMapping(writer, IFLA_VLAN_EGRESS_QOS, vlan.egress)
  },
}

/** vlan_validate. */
function validate(data: Attributes, request: NetlinkRequest): Status {
  const protocol = data.be16(IFLA_VLAN_PROTOCOL)
  if (protocol !== undefined && protocol !== ETH_P_8021Q && protocol !== ETH_P_8021AD)
    return refuse(request, 'Invalid VLAN protocol', EPROTONOSUPPORT)
  if ((data.u16(IFLA_VLAN_ID) ?? 0) >= VLAN_VID_MASK) return refuse(request, 'Invalid VLAN id', ERANGE)
  const flags = data.get(IFLA_VLAN_FLAGS)
  if (flags === undefined) return 0
  if (flags.length < FLAGS.size) return -EINVAL
  const view = viewOf(flags)
  const wanted = view.getUint32(FLAGS.flags, true) & view.getUint32(FLAGS.mask, true)
  return (wanted & ~KNOWN_FLAGS) !== 0 ? refuse(request, 'Invalid VLAN flags', EINVAL) : 0
}

/** vlan_changelink. */
function apply(device: VlanDevice, data: Attributes): void {
  const flags = data.get(IFLA_VLAN_FLAGS)
  if (flags !== undefined) {
    const view = viewOf(flags)
    const mask = view.getUint32(FLAGS.mask, true)
    device.options = (device.options & ~mask) | (view.getUint32(FLAGS.flags, true) & mask)
  }
  for (const [from, to] of readMapping(data.nested(IFLA_VLAN_INGRESS_QOS))) device.ingress.set(from & 7, to)
  for (const [from, to] of readMapping(data.nested(IFLA_VLAN_EGRESS_QOS))) {
    if (device.egress.size < MAX_PRIORITIES) device.egress.set(from, to & 7)
  }
}

function* readMapping(list: Attributes | undefined): IterableIterator<[number, number]> {
  for (const { type, value } of list?.list ?? []) {
    if (type !== IFLA_VLAN_QOS_MAPPING || value.length < MAPPING.size) continue
    const view = viewOf(value)
    yield [view.getUint32(MAPPING.from, true), view.getUint32(MAPPING.to, true)]
  }
}

function writeMapping(writer: MessageWriter, type: number, map: ReadonlyMap<number, number>): void {
  if (map.size === 0) return
  const list = writer.nest(type)
  for (const [from, to] of map) {
    const at = writer.attribute(IFLA_VLAN_QOS_MAPPING, MAPPING.size)
    writer.set32(at + MAPPING.from, from)
    writer.set32(at + MAPPING.to, to)
  }
  writer.close(list)
}
