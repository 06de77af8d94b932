/** RTM_GETNETCONF: per-interface settings, `ip netconf`. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NETCONFA_FORWARDING,
  NETCONFA_IFINDEX,
  NETCONFA_IFINDEX_ALL,
  NETCONFA_IFINDEX_DEFAULT,
  NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN,
  NETCONFA_MC_FORWARDING,
  NETCONFA_PROXY_NEIGH,
  NETCONFA_RP_FILTER,
  NLM_F_DUMP,
  NLM_F_MULTI,
  RTM_NEWNETCONF,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, align4, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from './address.ts'

export function getNetconf(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  const { sequence, port } = request
  if ((request.flags & NLM_F_DUMP) !== 0) {
    const indices = [
      ...sortedDevices(stack).map(device => device.index),
      NETCONFA_IFINDEX_ALL,
      NETCONFA_IFINDEX_DEFAULT,
    ]
    const entries: [number, number][] = []
    for (const each of family === AF_UNSPEC ? [AF_INET, AF_INET6] : [family]) {
      if (each !== AF_INET && each !== AF_INET6) return -EOPNOTSUPP
      for (const index of indices) entries.push([each, index])
    }
    return new ListDump(entries, (writer, [each, index]) =>
      writeNetconf(writer, stack, each, index, NLM_F_MULTI, sequence, port),
    )
  }
  if (family !== AF_INET && family !== AF_INET6) return -EOPNOTSUPP
  const index = new Attributes(request.body, align4(1)).u32(NETCONFA_IFINDEX)
  if (index === undefined) return -EINVAL
  const special = (index | 0) === NETCONFA_IFINDEX_ALL || (index | 0) === NETCONFA_IFINDEX_DEFAULT
  if (!special && stack.devices.byIndex(index) === undefined) return -ENODEV
  const writer = new MessageWriter()
  writeNetconf(writer, stack, family, index | 0, 0, sequence, port)
  return request.answer(writer)
}

function writeNetconf(
  writer: MessageWriter,
  stack: IpStack,
  family: number,
  index: number,
  flags: number,
  sequence: number,
  port: number,
): void {
  const { ipv4Conf, ipv6Conf } = stack.sysctls
  writer.start(RTM_NEWNETCONF, flags, sequence, port)
  writer.set8(writer.struct(4), family)
  writer.u32(NETCONFA_IFINDEX, index)
  if (family === AF_INET) {
    const conf =
      index === NETCONFA_IFINDEX_ALL
        ? ipv4Conf.all
        : index === NETCONFA_IFINDEX_DEFAULT
          ? ipv4Conf.defaults
          : ipv4Conf.of(index)
    writer.u32(NETCONFA_FORWARDING, conf.forwarding)
    writer.u32(NETCONFA_RP_FILTER, conf.rp_filter)
    writer.u32(NETCONFA_MC_FORWARDING, 0)
    writer.u32(NETCONFA_PROXY_NEIGH, conf.proxy_arp)
    writer.u32(NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN, conf.ignore_routes_with_linkdown)
  } else {
    const conf =
      index === NETCONFA_IFINDEX_ALL
        ? ipv6Conf.all
        : index === NETCONFA_IFINDEX_DEFAULT
          ? ipv6Conf.defaults
          : ipv6Conf.of(index)
    writer.u32(NETCONFA_FORWARDING, conf.forwarding)
    writer.u32(NETCONFA_MC_FORWARDING, 0)
    writer.u32(NETCONFA_PROXY_NEIGH, conf.proxy_ndp)
    writer.u32(NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN, conf.ignore_routes_with_linkdown)
  }
  writer.end()
}
