/** The forwarding table of a VXLAN, as `bridge fdb` shows and changes it: which ends a station is behind. vxlan_fdb_add. */
import {
  NDA_DST,
  NDA_IFINDEX,
  NDA_PORT,
  NDA_VNI,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NUD_PERMANENT,
  NUD_REACHABLE,
} from '../../../abi/constants.ts'
import { EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import { addressBytes } from '../../link/bridge.ts'
import type { VxlanDevice, VxlanEnd } from '../../link/vxlan.ts'
import { refuse } from '../kinds/kind.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import type { FdbLine } from './fdb.ts'

export type StationEnd = Pick<VxlanEnd, 'address' | 'port' | 'vni' | 'device'>

const MAX_VNI = 1 << 24

export function* stationsOf(device: VxlanDevice): IterableIterator<FdbLine> {
  for (const [address, { ends, state, used, updated }] of device.stations) {
    for (const end of ends) yield { device, address: addressBytes(address), state, used, updated, end }
  }
}

/** What differs from the device's own is told. */
export function writeStation(writer: MessageWriter, device: VxlanDevice, end: StationEnd): void {
  if (!end.address.isAny) writer.bytes(NDA_DST, end.address.bytes())
  if (end.port !== device.port) writer.be16(NDA_PORT, end.port)
  if (end.vni !== device.vni) writer.u32(NDA_VNI, end.vni)
  if (end.device !== 0) writer.u32(NDA_IFINDEX, end.device)
}

function readEnd(device: VxlanDevice, attributes: Attributes): OrErrno<StationEnd> {
  const value = attributes.get(NDA_DST)
  const address =
    value?.length === 4 || value?.length === 16
      ? IpAddress.read(viewOf(value), 0, value.length === 4)
      : undefined
  if (value !== undefined && address === undefined) return -EAFNOSUPPORT
  const vni = attributes.u32(NDA_VNI) ?? device.vni
  const port = attributes.be16(NDA_PORT) ?? device.port
  const below = attributes.u32(NDA_IFINDEX) ?? 0
  if (vni >= MAX_VNI || port === 0) return -EINVAL
  if (below !== 0 && device.home.devices.byIndex(below) === undefined) return -EADDRNOTAVAIL
  return { address: address ?? device.remote, port, vni, device: below }
}

export function addStation(
  device: VxlanDevice,
  address: number,
  attributes: Attributes,
  state: number,
  request: NetlinkRequest,
): Status {
  if ((state & (NUD_PERMANENT | NUD_REACHABLE)) === 0)
    return refuse(request, 'RTM_NEWNEIGH with invalid state', EINVAL)
  if (!attributes.has(NDA_DST)) return -EINVAL
  const end = readEnd(device, attributes)
  if (typeof end === 'number') return end
  if (end.address.isV4 === device.isV6) return -EAFNOSUPPORT
  const { flags } = request
  const known = device.stations.get(address)
  if (known === undefined && (flags & NLM_F_CREATE) === 0) return -ENOENT
  if (known !== undefined && (flags & NLM_F_EXCL) !== 0) return -EEXIST
  const one = device.end(end.address, end.port, end.vni, end.device)
  const group = address === 0 || Math.floor(address / 2 ** 40) % 2 === 1
  if (known !== undefined && (flags & NLM_F_REPLACE) !== 0) {
    // Of many ends nobody could say which is meant.
    if (group) return -EOPNOTSUPP
    return device.enter(address, [one], state)
  }
  const appends = known !== undefined && (flags & NLM_F_APPEND) !== 0 && group
  if (known !== undefined && !appends) return device.enter(address, known.ends, state)
  const others = known?.ends ?? []
  if (others.some(other => same(other, end))) return 0
  return device.enter(address, [...others, one], state)
}

export function deleteStation(device: VxlanDevice, address: number, attributes: Attributes): Status {
  const end = readEnd(device, attributes)
  if (typeof end === 'number') return end
  const station = device.stations.get(address)
  if (station === undefined) return -ENOENT
  if (!attributes.has(NDA_DST)) {
    device.forget(address)
    return 0
  }
  const at = station.ends.findIndex(other => same(other, end))
  if (at < 0) return -ENOENT
  device.forgetEnd(address, at)
  return 0
}

function same(a: StationEnd, b: StationEnd): boolean {
  return a.address.equals(b.address) && a.port === b.port && a.vni === b.vni && a.device === b.device
}
