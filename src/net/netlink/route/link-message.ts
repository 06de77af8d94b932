/** RTM_NEWLINK and RTM_DELLINK: what rtnetlink(7) tells of an interface. rtnl_fill_ifinfo. */
import {
  AF_INET6,
  AF_UNSPEC,
  IF_OPER_DOWN,
  IF_OPER_LOWERLAYERDOWN,
  IF_OPER_UNKNOWN,
  IF_OPER_UP,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_ALLMULTI,
  IFLA_ALT_IFNAME,
  IFLA_BROADCAST,
  IFLA_CARRIER,
  IFLA_CARRIER_CHANGES,
  IFLA_CARRIER_DOWN_COUNT,
  IFLA_CARRIER_UP_COUNT,
  IFLA_GRO_MAX_SIZE,
  IFLA_GROUP,
  IFLA_GSO_MAX_SEGS,
  IFLA_GSO_MAX_SIZE,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INET6_ADDR_GEN_MODE,
  IFLA_INET6_FLAGS,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_LINKMODE,
  IFLA_MAP,
  IFLA_MASTER,
  IFLA_MAX_MTU,
  IFLA_MIN_MTU,
  IFLA_MTU,
  IFLA_NUM_RX_QUEUES,
  IFLA_NUM_TX_QUEUES,
  IFLA_OPERSTATE,
  IFLA_PROMISCUITY,
  IFLA_PROP_LIST,
  IFLA_PROTO_DOWN,
  IFLA_QDISC,
  IFLA_STATS,
  IFLA_STATS64,
  IFLA_TSO_MAX_SEGS,
  IFLA_TSO_MAX_SIZE,
  IFLA_TXQLEN,
} from '../../../abi/constants.ts'
import { IFINFOMSG, RTNL_LINK_IFMAP, RTNL_LINK_STATS, RTNL_LINK_STATS64 } from '../../../abi/layout.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { bondSlave, writeSlave } from '../kinds/bond.ts'
import { bridgePort, writePort } from '../kinds/bridge-port.ts'
import { kindOf } from '../kinds/kinds.ts'
import { type MessageWriter, NESTED } from '../message.ts'

const GSO_MAX_SEGS = 65535

/** Operational states: RFC 2863. Drivers that tell of no carrier are 'unknown'. */
export function operState(device: NetDevice): number {
  if (device.kind === 'tun' && !device.carrier) return IF_OPER_DOWN
  if (!device.carrierKnown && device.carrier) return device.up ? IF_OPER_UNKNOWN : IF_OPER_DOWN
  if (device.isLoopback || device.kind === 'dummy' || device.kind === 'tun' || device.kind === 'ifb') {
    return device.up ? IF_OPER_UNKNOWN : device.isLoopback ? IF_OPER_UNKNOWN : IF_OPER_DOWN
  }
  if (!device.up) return IF_OPER_DOWN
  if (device.carrier) return IF_OPER_UP
  // Over another one, it is that one that is down.
  return device.linkIndex !== undefined && device.linkIndex !== device.index
    ? IF_OPER_LOWERLAYERDOWN
    : IF_OPER_DOWN
}

/** IFLA_QDISC: the root's kind. */
export function queueing(device: NetDevice): string {
  const { traffic } = device
  if (traffic?.root !== undefined) return traffic.root.kind
  if (!device.wasUp) return 'noop'
  const queued = device.kind === '' || device.kind === 'tun' || device.kind === 'ifb'
  return device.isLoopback || !queued ? 'noqueue' : 'pfifo_fast'
}

export function writeLink(
  writer: MessageWriter,
  stack: IpStack,
  device: NetDevice,
  type: number,
  flags: number,
  sequence: number,
  port: number,
  change = 0,
): void {
  writer.start(type, flags, sequence, port)
  const at = writer.struct(IFINFOMSG.size)
  writer.set8(at + IFINFOMSG.ifi_family, AF_UNSPEC)
  writer.set16(at + IFINFOMSG.ifi_type, device.type)
  writer.set32(at + IFINFOMSG.ifi_index, device.index)
  writer.set32(at + IFINFOMSG.ifi_flags, device.shownFlags)
  writer.set32(at + IFINFOMSG.ifi_change, change)
  writer.string(IFLA_IFNAME, device.name)
  writer.u32(IFLA_TXQLEN, device.txQueueLength)
  writer.u8(IFLA_OPERSTATE, operState(device))
  writer.u8(IFLA_LINKMODE, 0)
  writer.u32(IFLA_MTU, device.mtu)
  writer.u32(IFLA_MIN_MTU, device.isLoopback ? 0 : device.minMtu)
  writer.u32(IFLA_MAX_MTU, device.isLoopback ? 0 : device.maxMtu)
  writer.u32(IFLA_GROUP, device.group)
  writer.u32(IFLA_PROMISCUITY, device.promiscuity)
  writer.u32(IFLA_ALLMULTI, device.allMulticast)
  writer.u32(IFLA_NUM_TX_QUEUES, 1)
  writer.u32(IFLA_GSO_MAX_SEGS, GSO_MAX_SEGS)
  writer.u32(IFLA_GSO_MAX_SIZE, device.features.gsoMaxSize)
  writer.u32(IFLA_GRO_MAX_SIZE, device.features.gsoMaxSize)
  writer.u32(IFLA_TSO_MAX_SIZE, device.features.gsoMaxSize)
  writer.u32(IFLA_TSO_MAX_SEGS, GSO_MAX_SEGS)
  writer.u32(IFLA_NUM_RX_QUEUES, 1)
  const { linkIndex: below, linkStack } = device
  // The other end of a cable may have the same index in another namespace.
  const elsewhere = linkStack !== undefined && linkStack !== stack
  if (below !== undefined && (below !== device.index || elsewhere)) writer.u32(IFLA_LINK, below)
  if (device.master !== undefined) writer.u32(IFLA_MASTER, device.master.index)
  writer.u8(IFLA_CARRIER, device.carrier ? 1 : 0)
  writer.string(IFLA_QDISC, queueing(device))
  if (device.alias !== '') writer.string(IFLA_IFALIAS, device.alias)
  writer.u32(IFLA_CARRIER_CHANGES, 0)
  writer.u32(IFLA_CARRIER_UP_COUNT, 0)
  writer.u32(IFLA_CARRIER_DOWN_COUNT, 0)
  writer.u8(IFLA_PROTO_DOWN, 0)
  writer.attribute(IFLA_MAP, RTNL_LINK_IFMAP.size)
  if (device.headerLength > 0 || device.hasAddress) {
    writer.bytes(IFLA_ADDRESS, device.address)
    writer.bytes(IFLA_BROADCAST, device.isLoopback ? new Uint8Array(6) : device.broadcast)
  }
  writeStatistics(writer, device)
  if (device.kind !== '' || device.master !== undefined) {
    const info = writer.nest(IFLA_LINKINFO)
    if (device.kind !== '') writer.string(IFLA_INFO_KIND, device.kind)
    const kind = kindOf(device)
    if (kind?.write !== undefined) {
      const data = writer.nest(IFLA_INFO_DATA)
      kind.write(writer, device)
      writer.close(data)
    }
    const slave = bondSlave(device)
    if (slave !== undefined) {
      writer.string(IFLA_INFO_SLAVE_KIND, slave[0].kind)
      const data = writer.nest(IFLA_INFO_SLAVE_DATA)
      writeSlave(writer, ...slave)
      writer.close(data)
    }
    const port = bridgePort(device)
    if (port !== undefined) {
      writer.string(IFLA_INFO_SLAVE_KIND, port[0].kind)
      const data = writer.nest(IFLA_INFO_SLAVE_DATA)
      writePort(writer, ...port)
      writer.close(data)
    }
    writer.close(info)
  }
  if (elsewhere) writer.u32(IFLA_LINK_NETNSID, stack.namespaceIds.numberOf(linkStack))
  writeAlternativeNames(writer, device)
  const families = writer.nest(IFLA_AF_SPEC)
  if (stack.ipv6Enabled(device)) {
    const inet6 = writer.nest(AF_INET6)
    writer.u32(IFLA_INET6_FLAGS, device.running ? 0x80000000 : 0)
    writer.u8(IFLA_INET6_ADDR_GEN_MODE, stack.sysctls.ipv6Conf.of(device.index).addr_gen_mode)
    writer.close(inet6)
  }
  writer.close(families)
  writer.end()
}

function writeAlternativeNames(writer: MessageWriter, device: NetDevice): void {
  if (device.alternativeNames.length === 0) return
  const list = writer.nest(IFLA_PROP_LIST, NESTED)
  for (const name of device.alternativeNames) writer.string(IFLA_ALT_IFNAME, name)
  writer.close(list)
}

function writeStatistics(writer: MessageWriter, device: NetDevice): void {
  const s = device.statistics
  const values: readonly [keyof typeof RTNL_LINK_STATS, number][] = [
    ['rx_packets', s.rxPackets],
    ['tx_packets', s.txPackets],
    ['rx_bytes', s.rxBytes],
    ['tx_bytes', s.txBytes],
    ['rx_errors', s.rxErrors],
    ['tx_errors', s.txErrors],
    ['rx_dropped', s.rxDropped],
    ['tx_dropped', s.txDropped],
    ['multicast', s.multicast],
    ['collisions', s.collisions],
  ]
  const wide = writer.attribute(IFLA_STATS64, RTNL_LINK_STATS64.size)
  for (const [name, value] of values) writer.set64(wide + RTNL_LINK_STATS64[name], value)
  const narrow = writer.attribute(IFLA_STATS, RTNL_LINK_STATS.size)
  for (const [name, value] of values) writer.set32(narrow + RTNL_LINK_STATS[name], value)
}
