/** `ip link add vx0 type vxlan id 5 dstport 4789 …`: vxlan_newlink. */
import {
  IFLA_VXLAN_AGEING,
  IFLA_VXLAN_COLLECT_METADATA,
  IFLA_VXLAN_GBP,
  IFLA_VXLAN_GPE,
  IFLA_VXLAN_GROUP,
  IFLA_VXLAN_GROUP6,
  IFLA_VXLAN_ID,
  IFLA_VXLAN_L2MISS,
  IFLA_VXLAN_L3MISS,
  IFLA_VXLAN_LEARNING,
  IFLA_VXLAN_LIMIT,
  IFLA_VXLAN_LINK,
  IFLA_VXLAN_LOCAL,
  IFLA_VXLAN_LOCAL6,
  IFLA_VXLAN_PORT,
  IFLA_VXLAN_PORT_RANGE,
  IFLA_VXLAN_PROXY,
  IFLA_VXLAN_REMCSUM_RX,
  IFLA_VXLAN_REMCSUM_TX,
  IFLA_VXLAN_RSC,
  IFLA_VXLAN_TOS,
  IFLA_VXLAN_TTL,
  IFLA_VXLAN_UDP_CSUM,
  IFLA_VXLAN_UDP_ZERO_CSUM6_RX,
  IFLA_VXLAN_UDP_ZERO_CSUM6_TX,
  NUD_NOARP,
  NUD_PERMANENT,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENODEV, EOPNOTSUPP, ERANGE } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import type { NetDevice } from '../../link/device.ts'
import { checkNesting } from '../../link/nesting.ts'
import { DEFAULT_STATION, VxlanDevice } from '../../link/vxlan.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { addressFor, type LinkKind, type LinkRequest, refuse } from './kind.ts'

/** The one from before there was a standard. */
const DEFAULT_PORT = 8472
const MAX_VNI = 1 << 24
/** What only some drivers or routers of labels need. */
const LEFT_OUT = [
  ...[IFLA_VXLAN_PROXY, IFLA_VXLAN_RSC, IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS, IFLA_VXLAN_COLLECT_METADATA],
  ...[IFLA_VXLAN_REMCSUM_TX, IFLA_VXLAN_REMCSUM_RX],
]

export const vxlanKind: LinkKind = {
  create(link: LinkRequest): OrErrno<VxlanDevice> {
    const { request, own, data } = link
    const id = data.u32(IFLA_VXLAN_ID)
    if (id === undefined)
      return refuse(request, 'Required attributes not provided to perform the operation', EINVAL)
    if (id >= MAX_VNI) return refuse(request, 'VXLAN VNI must be lower than 16777215', ERANGE)
    const valid = validate(data, request)
    if (valid < 0) return valid
    const port = data.be16(IFLA_VXLAN_PORT) ?? DEFAULT_PORT
    for (const other of own.tunnels) {
      if (other instanceof VxlanDevice && other.vni === id && other.port === port)
        return refuse(request, 'A VXLAN device with the specified VNI already exists', EEXIST)
    }
    const device = new VxlanDevice(link.name, own, id, port, addressFor(link))
    const status = apply(device, data, request)
    if (status < 0) {
      device.close()
      return status
    }
    const below = own.devices.byIndex(device.underlay)
    if (below !== undefined) device.mtu = Math.max(below.mtu - device.overhead, device.minMtu)
    return device
  },

  change(device: NetDevice, data: Attributes, request: NetlinkRequest): Status {
    const vxlan = device as VxlanDevice
    const same = (data.u32(IFLA_VXLAN_ID) ?? vxlan.vni) === vxlan.vni
    if (!same) return refuse(request, 'Cannot change VNI', EOPNOTSUPP)
    if ((data.be16(IFLA_VXLAN_PORT) ?? vxlan.port) !== vxlan.port)
      return refuse(request, 'Cannot change port number', EOPNOTSUPP)
    const valid = validate(data, request)
    return valid < 0 ? valid : apply(vxlan, data, request)
  },

  write(writer: MessageWriter, device: NetDevice): void {
    const vxlan = device as VxlanDevice
    const { remote, local, ports } = vxlan
    writer.u32(IFLA_VXLAN_ID, vxlan.vni)
    if (!remote.isAny) writer.bytes(remote.isV4 ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, remote.bytes())
    if (vxlan.underlay !== 0) writer.u32(IFLA_VXLAN_LINK, vxlan.underlay)
    if (!local.isAny) writer.bytes(local.isV4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local.bytes())
    writer.u8(IFLA_VXLAN_TTL, vxlan.ttl)
    writer.u8(IFLA_VXLAN_TOS, vxlan.tos)
    writer.u8(IFLA_VXLAN_LEARNING, vxlan.learning ? 1 : 0)
    for (const type of LEFT_OUT) writer.u8(type, 0)
    writer.u32(IFLA_VXLAN_AGEING, vxlan.ageing)
    writer.u32(IFLA_VXLAN_LIMIT, vxlan.limit)
    writer.be16(IFLA_VXLAN_PORT, vxlan.port)
    writer.u8(IFLA_VXLAN_UDP_CSUM, vxlan.checksum4 ? 1 : 0)
    writer.u8(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, vxlan.noChecksum6 ? 1 : 0)
    writer.u8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 0)
    writer.be32(IFLA_VXLAN_PORT_RANGE, ports[0] * 0x10000 + ports[1])
  },
}

function validate(data: Attributes, request: NetlinkRequest): Status {
  // UDP over IPv6 has a checksum here, or is not taken.
  const refused = [...LEFT_OUT, IFLA_VXLAN_UDP_ZERO_CSUM6_RX].some(type => (data.u8(type) ?? 0) !== 0)
  if (refused || data.has(IFLA_VXLAN_GBP) || data.has(IFLA_VXLAN_GPE)) return -EOPNOTSUPP
  const range = data.get(IFLA_VXLAN_PORT_RANGE)
  if (range !== undefined && (range.length < 4 || viewOf(range).getUint16(2) < viewOf(range).getUint16(0)))
    return refuse(request, 'Invalid source port range', EINVAL)
  return 0
}

/** vxlan_nl2conf. */
function apply(device: VxlanDevice, data: Attributes, request: NetlinkRequest): Status {
  const remote = readEnd(data, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6) ?? device.remote
  const local = readEnd(data, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6) ?? device.local
  if (local.isMulticast) return refuse(request, 'Local address cannot be multicast', EINVAL)
  if (!remote.isAny && !local.isAny && remote.isV4 !== local.isV4)
    return refuse(request, 'Local and remote address must be from the same family', EINVAL)
  const underlay = data.u32(IFLA_VXLAN_LINK) ?? device.underlay
  const below = device.home.devices.byIndex(underlay)
  if (underlay !== 0 && below === undefined)
    return refuse(request, 'Invalid local interface, device not found', ENODEV)
  if (remote.isMulticast && underlay === 0)
    return refuse(request, 'Local interface required for multicast remote destination', EINVAL)
  const nesting = below === undefined ? 0 : checkNesting(device, below)
  if (nesting < 0) return nesting
  device.remote = remote
  device.local = local
  device.layOver(below)
  device.ttl = data.u8(IFLA_VXLAN_TTL) ?? device.ttl
  device.tos = data.u8(IFLA_VXLAN_TOS) ?? device.tos
  device.learning = (data.u8(IFLA_VXLAN_LEARNING) ?? (device.learning ? 1 : 0)) !== 0
  device.ageing = data.u32(IFLA_VXLAN_AGEING) ?? device.ageing
  device.limit = data.u32(IFLA_VXLAN_LIMIT) ?? device.limit
  device.checksum4 = (data.u8(IFLA_VXLAN_UDP_CSUM) ?? (device.checksum4 ? 1 : 0)) !== 0
  device.noChecksum6 = (data.u8(IFLA_VXLAN_UDP_ZERO_CSUM6_TX) ?? (device.noChecksum6 ? 1 : 0)) !== 0
  const range = data.get(IFLA_VXLAN_PORT_RANGE)
  if (range !== undefined) device.ports = [viewOf(range).getUint16(0), viewOf(range).getUint16(2)]
  if (!remote.isAny) device.enter(DEFAULT_STATION, [device.end(remote)], NUD_PERMANENT | NUD_NOARP)
  return 0
}

function readEnd(data: Attributes, type4: number, type6: number): IpAddress | undefined {
  const v4 = data.get(type4)
  if (v4 !== undefined && v4.length >= 4) return IpAddress.read(viewOf(v4), 0, true)
  const v6 = data.get(type6)
  return v6 !== undefined && v6.length >= 16 ? IpAddress.read(viewOf(v6), 0, false) : undefined
}
