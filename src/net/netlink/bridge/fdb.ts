/** RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of AF_BRIDGE: forwarding tables of bridges and VXLANs. `bridge fdb`. */
import {
  AF_BRIDGE,
  ETH_ALEN,
  IFLA_MASTER,
  NDA_CACHEINFO,
  NDA_LLADDR,
  NDA_MASTER,
  NDA_VLAN,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NTF_MASTER,
  NTF_SELF,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_REACHABLE,
  RTM_NEWNEIGH,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENODEV, ENOENT, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import { NDA_CACHEINFO as CACHEINFO, IFINFOMSG, NDMSG } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { addressAt, addressBytes, BridgeDevice, type BridgePort, type Learned } from '../../link/bridge.ts'
import type { NetDevice } from '../../link/device.ts'
import { VxlanDevice } from '../../link/vxlan.ts'
import { bridgePort } from '../kinds/bridge-port.ts'
import { refuse } from '../kinds/kind.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from '../route/address.ts'
import { addStation, deleteStation, type StationEnd, stationsOf, writeStation } from './vxlan-fdb.ts'

/** VLAN_VID_MASK - 1 */
const MAX_VLAN = 4094
/** Ages are told in hundredths of a second. */
const TICK = 1e7

/** One line of `bridge fdb`. */
export interface FdbLine {
  /** Whose it is: a port, or the device that has the table. */
  readonly device: NetDevice
  readonly address: Uint8Array
  /** NUD_* */
  readonly state: number
  readonly bridge?: BridgeDevice
  /** 0 or undefined: of none. */
  readonly vlan?: number
  /** Monotonic ns; undefined: it has no age. */
  readonly used?: number
  readonly updated?: number
  /** Of a VXLAN. */
  readonly end?: StationEnd
}

export function getFdb(stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) return getOne(stack, request)
  const { body, view, sequence, port } = request
  const said = filterOf(request)
  const master = said.master === 0 ? undefined : stack.devices.byIndex(said.master)
  if (said.master !== 0 && master === undefined) return -ENODEV
  const lines: FdbLine[] = []
  for (const device of sortedDevices(stack)) {
    if (said.device !== 0 && device.index !== said.device) continue
    if (master !== undefined && device !== master && device.master !== master) continue
    for (const line of linesOf(device)) lines.push(line)
  }
  const now = stack.runtime.now()
  return new ListDump(lines, (writer, line) => writeLine(writer, line, NLM_F_MULTI, sequence, port, now))

  /** The header is a neighbour's, or, from programs that don't ask for strictness, may be an interface's. */
  function filterOf({ socket }: NetlinkRequest): { device: number; master: number } {
    const isNeighbour = socket.strict || body.length < IFINFOMSG.size || body.length === NDMSG.size + 8
    if (isNeighbour) {
      if (body.length < NDMSG.size) return { device: 0, master: 0 }
      const master = new Attributes(body, NDMSG.size).u32(NDA_MASTER) ?? 0
      return { device: view.getUint32(NDMSG.ndm_ifindex, true), master }
    }
    const master = new Attributes(body, IFINFOMSG.size).u32(IFLA_MASTER) ?? 0
    return { device: view.getUint32(IFINFOMSG.ifi_index, true), master }
  }
}

function* linesOf(device: NetDevice): IterableIterator<FdbLine> {
  const port = bridgePort(device)
  if (port !== undefined) yield* portLines(...port)
  for (const key of device.multicastList.keys()) {
    const address = Uint8Array.from(key.split(':'), byte => Number.parseInt(byte, 16))
    yield { device, address, state: NUD_PERMANENT }
  }
  if (device instanceof BridgeDevice) {
    yield { device, bridge: device, address: device.address, state: NUD_PERMANENT }
  } else if (device instanceof VxlanDevice) {
    yield* stationsOf(device)
  }
}

function* portLines(bridge: BridgeDevice, port: BridgePort): IterableIterator<FdbLine> {
  for (const [address, entry] of bridge.learned()) {
    if (entry.port === port) yield lineOf(bridge, address, entry)
  }
  yield { device: port.device, bridge, address: port.device.address, state: NUD_PERMANENT }
}

function lineOf(bridge: BridgeDevice, address: number, entry: Learned): FdbLine {
  const { state, seen, updated, port, vlan } = entry
  return { device: port.device, bridge, address: addressBytes(address), state, used: seen, updated, vlan }
}

function writeLine(
  writer: MessageWriter,
  line: FdbLine,
  flags: number,
  sequence: number,
  port: number,
  now: number,
): void {
  const { device, bridge, used, updated, end } = line
  writer.start(RTM_NEWNEIGH, flags, sequence, port)
  const at = writer.struct(NDMSG.size)
  writer.set8(at + NDMSG.ndm_family, AF_BRIDGE)
  writer.set32(at + NDMSG.ndm_ifindex, device.index)
  writer.set16(at + NDMSG.ndm_state, line.state)
  writer.set8(at + NDMSG.ndm_flags, bridge === undefined ? NTF_SELF : 0)
  writer.bytes(NDA_LLADDR, line.address)
  if (bridge !== undefined) writer.u32(NDA_MASTER, bridge.index)
  if ((line.vlan ?? 0) !== 0) writer.u16(NDA_VLAN, line.vlan!)
  if (end !== undefined) writeStation(writer, device as VxlanDevice, end)
  if (bridge !== undefined || end !== undefined) {
    const age = (since: number | undefined) => Math.max(Math.floor((now - (since ?? now)) / TICK), 0)
    const info = writer.attribute(NDA_CACHEINFO, CACHEINFO.size)
    writer.set32(info + CACHEINFO.ndm_used, age(used))
    writer.set32(info + CACHEINFO.ndm_updated, age(updated))
  }
  writer.end()
}

/** What a request to change or to show one entry names. */
interface Named {
  readonly device: NetDevice
  readonly address: number
  /** Undefined: of all VLANs of the port. */
  readonly vlan: number | undefined
  readonly attributes: Attributes
  readonly state: number
  /** In the table of the bridge that the device is a port of, and in the device's own. */
  readonly inBridge: boolean
  readonly inDevice: boolean
}

function parse(stack: IpStack, request: NetlinkRequest): OrErrno<Named> {
  const { body, view } = request
  if (body.length < NDMSG.size) return -EINVAL
  const index = view.getInt32(NDMSG.ndm_ifindex, true)
  if (index === 0) return refuse(request, 'invalid ifindex', EINVAL)
  const device = stack.devices.byIndex(index)
  if (device === undefined) return refuse(request, 'unknown ifindex', ENODEV)
  const attributes = new Attributes(body, NDMSG.size)
  const address = attributes.get(NDA_LLADDR)
  if (address?.length !== ETH_ALEN) return refuse(request, 'invalid address', EINVAL)
  if (device.headerLength === 0) return refuse(request, 'FDB add only supported for Ethernet devices', EINVAL)
  const vlan = attributes.u16(NDA_VLAN)
  if (vlan !== undefined && (vlan === 0 || vlan > MAX_VLAN)) return refuse(request, 'invalid vlan id', EINVAL)
  const flags = view.getUint8(NDMSG.ndm_flags)
  return {
    device,
    address: addressAt(address, 0),
    vlan,
    attributes,
    state: view.getUint16(NDMSG.ndm_state, true),
    inBridge: flags === 0 || (flags & NTF_MASTER) !== 0,
    inDevice: (flags & NTF_SELF) !== 0,
  }
}

export function newFdb(stack: IpStack, request: NetlinkRequest): Status {
  const named = parse(stack, request)
  if (typeof named === 'number') return named
  const port = bridgePort(named.device)
  let status: Status = -EOPNOTSUPP
  if (named.inBridge && port !== undefined) {
    status = addToBridge(request, ...port, named)
    if (status < 0) return status
  }
  if (named.inDevice && named.device instanceof VxlanDevice) {
    const { device, address, attributes, state } = named
    status = addStation(device, address, attributes, state, request)
  }
  return status
}

/** br_fdb_add. */
function addToBridge(
  request: NetlinkRequest,
  bridge: BridgeDevice,
  port: BridgePort,
  { address, state, vlan }: Named,
): Status {
  if ((state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE)) === 0)
    return refuse(request, 'bridge: RTM_NEWNEIGH with invalid state', EINVAL)
  if (address === 0) return refuse(request, 'bridge: RTM_NEWNEIGH with invalid ether address', EINVAL)
  if (vlan !== undefined && !port.vlans.untagged.has(vlan))
    return refuse(request, 'bridge: RTM_NEWNEIGH with unconfigured vlan', EINVAL)
  const known = bridge.station(address, vlan)
  if (known === undefined) {
    if ((request.flags & NLM_F_CREATE) === 0) return -ENOENT
  } else if ((request.flags & NLM_F_EXCL) !== 0) return -EEXIST
  const kept =
    (state & NUD_PERMANENT) !== 0 ? NUD_PERMANENT : (state & NUD_NOARP) !== 0 ? NUD_NOARP : NUD_REACHABLE
  return vlansFor(bridge, port, vlan).every(each => bridge.enter(address, port, kept, each)) ? 0 : -ENOSPC
}

/** Without one being said it is of all that the port is in, too. */
function vlansFor(bridge: BridgeDevice, port: BridgePort, vlan: number | undefined): readonly number[] {
  if (vlan !== undefined) return [vlan]
  return bridge.vlanFiltering ? [0, ...port.vlans.untagged.keys()] : [0]
}

export function deleteFdb(stack: IpStack, request: NetlinkRequest): Status {
  const named = parse(stack, request)
  if (typeof named === 'number') return named
  const { device, address, attributes } = named
  const port = bridgePort(device)
  let status: Status = -EOPNOTSUPP
  if (named.inBridge && port !== undefined) {
    const [bridge] = port
    const vlans = vlansFor(...port, named.vlan)
    const found = vlans.filter(each => bridge.station(address, each)?.port === port[1])
    status = found.length > 0 ? 0 : -ENOENT
    if (status < 0) return status
    for (const each of found) bridge.forget(address, each)
  }
  if (named.inDevice && device instanceof VxlanDevice) status = deleteStation(device, address, attributes)
  return status
}

function getOne(stack: IpStack, request: NetlinkRequest): Status {
  const { body, view } = request
  if (body.length < NDMSG.size) return -EINVAL
  const attributes = new Attributes(body, NDMSG.size)
  const address = attributes.get(NDA_LLADDR)
  if (address?.length !== ETH_ALEN) return refuse(request, 'Invalid network address', EINVAL)
  const index = view.getInt32(NDMSG.ndm_ifindex, true) || (attributes.u32(NDA_MASTER) ?? 0)
  if (index === 0) return refuse(request, 'No device or master specified', EINVAL)
  const device = stack.devices.byIndex(index)
  if (device === undefined) return refuse(request, 'Unknown device ifindex', ENODEV)
  const vlan = attributes.u16(NDA_VLAN) ?? 0
  const line = find(device, addressAt(address, 0), view.getUint8(NDMSG.ndm_flags), vlan)
  if (line === undefined) return refuse(request, 'Fdb entry not found', ENOENT)
  const writer = new MessageWriter()
  writeLine(writer, line, 0, request.sequence, request.port, stack.runtime.now())
  return request.answer(writer)
}

function find(device: NetDevice, address: number, flags: number, vlan: number): FdbLine | undefined {
  if (device instanceof VxlanDevice && (flags & NTF_MASTER) === 0) {
    for (const line of stationsOf(device)) if (addressAt(line.address, 0) === address) return line
    return undefined
  }
  const bridge = device instanceof BridgeDevice ? device : device.master
  if (!(bridge instanceof BridgeDevice)) return undefined
  const entry = bridge.station(address, vlan)
  if (entry !== undefined) return lineOf(bridge, address, entry)
  for (const { device: own } of bridge.ports) {
    if (addressAt(own.address, 0) === address)
      return { device: own, bridge, address: own.address, state: NUD_PERMANENT }
  }
  return undefined
}
