/** RTM_GETNEIGHTBL: `ip ntable`: what the tables of neighbours are held to, by themselves and for each device. neightbl_dump_info. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NDTA_GC_INTERVAL,
  NDTA_NAME,
  NDTA_PARMS,
  NDTA_THRESH1,
  NDTA_THRESH2,
  NDTA_THRESH3,
  NDTPA_ANYCAST_DELAY,
  NDTPA_APP_PROBES,
  NDTPA_BASE_REACHABLE_TIME,
  NDTPA_DELAY_PROBE_TIME,
  NDTPA_GC_STALETIME,
  NDTPA_IFINDEX,
  NDTPA_LOCKTIME,
  NDTPA_MCAST_PROBES,
  NDTPA_MCAST_REPROBES,
  NDTPA_PROXY_DELAY,
  NDTPA_PROXY_QLEN,
  NDTPA_QUEUE_LEN,
  NDTPA_QUEUE_LENBYTES,
  NDTPA_REACHABLE_TIME,
  NDTPA_REFCNT,
  NDTPA_RETRANS_TIME,
  NDTPA_UCAST_PROBES,
  NLM_F_DUMP,
  NLM_F_MULTI,
  RTM_NEWNEIGHTBL,
} from '../../../abi/constants.ts'
import { EOPNOTSUPP } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { NeighConf } from '../../ip/sysctl.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from './address.ts'

/** struct ndtmsg */
const HEADER = 4
/** SKB_TRUESIZE(ETH_FRAME_LEN): by which lengths in bytes become numbers of packets. */
const PACKET_SIZE = 2111
const CLOCK_TICK = 10
/** What can't be set here: answers for others are given at once. */
const PROXY_QUEUE = 64
const PROXY_DELAY = 800
const ANYCAST_DELAY = 1000

interface Line {
  readonly family: number
  /** 0: the table itself. */
  readonly device: number
}

export function getNeighbourTables(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) return -EOPNOTSUPP
  const lines: Line[] = []
  for (const each of [AF_INET, AF_INET6]) {
    if (family !== AF_UNSPEC && family !== each) continue
    lines.push({ family: each, device: 0 })
    for (const device of sortedDevices(stack)) lines.push({ family: each, device: device.index })
  }
  return new ListDump(lines, (writer, line) => writeTable(writer, stack, line, request))
}

function writeTable(
  writer: MessageWriter,
  stack: IpStack,
  { family, device }: Line,
  { sequence, port }: NetlinkRequest,
): void {
  const set = family === AF_INET ? stack.sysctls.ipv4Neigh : stack.sysctls.ipv6Neigh
  writer.start(RTM_NEWNEIGHTBL, NLM_F_MULTI, sequence, port)
  writer.set8(writer.struct(HEADER), family)
  writer.string(NDTA_NAME, family === AF_INET ? 'arp_cache' : 'ndisc_cache')
  if (device === 0) {
    const { defaults } = set
    writer.u64(NDTA_GC_INTERVAL, defaults.gc_interval * 1000)
    writer.u32(NDTA_THRESH1, defaults.gc_thresh1)
    writer.u32(NDTA_THRESH2, defaults.gc_thresh2)
    writer.u32(NDTA_THRESH3, defaults.gc_thresh3)
  }
  writeParameters(writer, device === 0 ? set.defaults : set.of(device), device)
  writer.end()
}

/** Times are in milliseconds. */
function writeParameters(writer: MessageWriter, conf: NeighConf, device: number): void {
  const nest = writer.nest(NDTA_PARMS)
  if (device !== 0) writer.u32(NDTPA_IFINDEX, device)
  writer.u32(NDTPA_REFCNT, 1)
  writer.u32(NDTPA_QUEUE_LENBYTES, conf.unres_qlen_bytes)
  writer.u32(NDTPA_QUEUE_LEN, Math.ceil(conf.unres_qlen_bytes / PACKET_SIZE))
  writer.u32(NDTPA_PROXY_QLEN, PROXY_QUEUE)
  writer.u32(NDTPA_APP_PROBES, 0)
  writer.u32(NDTPA_UCAST_PROBES, conf.ucast_solicit)
  writer.u32(NDTPA_MCAST_PROBES, conf.mcast_solicit)
  writer.u32(NDTPA_MCAST_REPROBES, 0)
  writer.u64(NDTPA_REACHABLE_TIME, conf.base_reachable_time_ms)
  writer.u64(NDTPA_BASE_REACHABLE_TIME, conf.base_reachable_time_ms)
  writer.u64(NDTPA_GC_STALETIME, conf.gc_stale_time * 1000)
  writer.u64(NDTPA_DELAY_PROBE_TIME, conf.delay_first_probe_time * 1000)
  writer.u64(NDTPA_RETRANS_TIME, conf.retrans_time_ms)
  writer.u64(NDTPA_ANYCAST_DELAY, ANYCAST_DELAY)
  writer.u64(NDTPA_PROXY_DELAY, PROXY_DELAY)
  writer.u64(NDTPA_LOCKTIME, conf.locktime * CLOCK_TICK)
  writer.close(nest)
}
