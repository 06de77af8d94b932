/** What the messages of tc(8) have in common: struct tcmsg in front, a device, statistics behind. */
import {
  AF_UNSPEC,
  TCA_STATS,
  TCA_STATS_APP,
  TCA_STATS_BASIC,
  TCA_STATS_QUEUE,
  TCA_STATS2,
  TCA_XSTATS,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV } from '../../../abi/errno.ts'
import { GNET_STATS_BASIC, GNET_STATS_QUEUE, TC_STATS, TCMSG } from '../../../abi/layout.ts'
import type { OrErrno } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import type { QueueStatistics } from '../../qdisc/qdisc.ts'
import { Attributes, type MessageWriter } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'

export interface TrafficRequest {
  readonly request: NetlinkRequest
  readonly device: NetDevice
  readonly handle: number
  readonly parent: number
  readonly info: number
  readonly attributes: Attributes
}

export function readTraffic(stack: IpStack, request: NetlinkRequest): OrErrno<TrafficRequest> {
  const { body, view } = request
  if (body.length < TCMSG.size) return -EINVAL
  const device = stack.devices.byIndex(view.getInt32(TCMSG.tcm_ifindex, true))
  if (device === undefined) return -ENODEV
  return {
    request,
    device,
    handle: view.getUint32(TCMSG.tcm_handle, true),
    parent: view.getUint32(TCMSG.tcm_parent, true),
    info: view.getUint32(TCMSG.tcm_info, true),
    attributes: new Attributes(body, TCMSG.size),
  }
}

/** The device that a dump is of; 0 or undefined: none was said. */
export function dumpedIndex({ body, view }: NetlinkRequest): number {
  return body.length < TCMSG.size ? 0 : view.getInt32(TCMSG.tcm_ifindex, true)
}

export function startTraffic(
  writer: MessageWriter,
  type: number,
  flags: number,
  { sequence, port }: NetlinkRequest,
  place: { readonly index: number; readonly handle: number; readonly parent: number; readonly info: number },
): void {
  writer.start(type, flags, sequence, port)
  const at = writer.struct(TCMSG.size)
  writer.set8(at + TCMSG.tcm_family, AF_UNSPEC)
  writer.set32(at + TCMSG.tcm_ifindex, place.index)
  writer.set32(at + TCMSG.tcm_handle, place.handle)
  writer.set32(at + TCMSG.tcm_parent, place.parent)
  writer.set32(at + TCMSG.tcm_info, place.info)
}

/** Both forms: TCA_STATS2, and TCA_STATS for old programs. `own`: what the kind has of its own. */
export function writeStatistics(
  writer: MessageWriter,
  statistics: QueueStatistics,
  waiting: { readonly length: number; readonly backlog: number },
  own: (type: number) => void,
): void {
  const { bytes, packets, drops, overlimits, requeues } = statistics
  const nest = writer.nest(TCA_STATS2)
  const basic = writer.attribute(TCA_STATS_BASIC, GNET_STATS_BASIC.size)
  writer.set64(basic + GNET_STATS_BASIC.bytes, bytes)
  writer.set32(basic + GNET_STATS_BASIC.packets, packets)
  const queue = writer.attribute(TCA_STATS_QUEUE, GNET_STATS_QUEUE.size)
  writer.set32(queue + GNET_STATS_QUEUE.qlen, waiting.length)
  writer.set32(queue + GNET_STATS_QUEUE.backlog, waiting.backlog)
  writer.set32(queue + GNET_STATS_QUEUE.drops, drops)
  writer.set32(queue + GNET_STATS_QUEUE.requeues, requeues)
  writer.set32(queue + GNET_STATS_QUEUE.overlimits, overlimits)
  own(TCA_STATS_APP)
  writer.close(nest)
  const old = writer.attribute(TCA_STATS, TC_STATS.size)
  writer.set64(old + TC_STATS.bytes, bytes)
  writer.set32(old + TC_STATS.packets, packets)
  writer.set32(old + TC_STATS.drops, drops)
  writer.set32(old + TC_STATS.overlimits, overlimits)
  writer.set32(old + TC_STATS.qlen, waiting.length)
  writer.set32(old + TC_STATS.backlog, waiting.backlog)
  own(TCA_XSTATS)
}

/** Tells RTNLGRP_TC. */
export function announce(request: NetlinkRequest, group: number, writer: MessageWriter): void {
  const table = request.stack.own?.netlink
  const { protocol } = request.socket
  if (table?.listens(protocol, group)) table.multicast(protocol, group, writer.take(), undefined)
}
