/** RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC: `tc qdisc`. sch_api.c says in which order what is looked at. */
import {
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RTM_DELQDISC,
  RTM_NEWQDISC,
  RTNLGRP_TC,
  TC_H_INGRESS,
  TC_H_ROOT,
  TCA_KIND,
  TCA_OPTIONS,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ELOOP, ENOENT, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { PfifoFast } from '../../qdisc/fifo.ts'
import { IngressQdisc } from '../../qdisc/ingress.ts'
import { QDISCS } from '../../qdisc/kinds.ts'
import { isClassful, major, minor, type Qdisc, QueueStatistics } from '../../qdisc/qdisc.ts'
import { type TrafficControl, trafficOf } from '../../qdisc/traffic-control.ts'
import { refuse } from '../kinds/kind.ts'
import { MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from '../route/address.ts'
import { queueing } from '../route/link-message.ts'
import {
  announce,
  dumpedIndex,
  readTraffic,
  startTraffic,
  type TrafficRequest,
  writeStatistics,
} from './request.ts'

/** Shown of each as tcm_info: who holds it, which for the root is the device too. */
const REFERENCES = 2

/** Qdiscs within each other. */
const MAX_DEPTH = 8

export function newQdisc(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const control = trafficOf(said.device)
  const { handle, parent, attributes } = said
  const { flags } = request
  const kind = attributes.string(TCA_KIND)
  let found: Qdisc | undefined
  if (parent === 0) {
    if (handle === 0) return refuse(request, 'Handle cannot be zero', EINVAL)
    found = control.find(handle)
  } else {
    const holder = holderOf(control, parent)
    if (holder === null) return refuse(request, 'Failed to find specified qdisc', ENOENT)
    found = control.at(parent)
    if (found?.handle === 0) found = undefined
    if (found === undefined || handle === 0 || found.handle !== handle) {
      if (handle !== 0) {
        if (found !== undefined && (flags & NLM_F_REPLACE) === 0)
          return refuse(request, 'NLM_F_REPLACE needed to override', EEXIST)
        if (minor(handle) !== 0) return refuse(request, 'Invalid minor handle', EINVAL)
        const other = control.find(handle)
        if (other === undefined) return create(said, control)
        return regraft(said, control, other)
      }
      if (found === undefined) return create(said, control)
      const replaces = (flags & NLM_F_CREATE) !== 0 && (flags & NLM_F_REPLACE) !== 0
      if (replaces && ((flags & NLM_F_EXCL) !== 0 || (kind !== undefined && kind !== found.kind)))
        return create(said, control)
    }
  }
  if (found === undefined) return refuse(request, 'Specified qdisc not found', ENOENT)
  if ((flags & NLM_F_EXCL) !== 0) return refuse(request, 'Exclusivity flag on, cannot modify', EEXIST)
  if (kind !== undefined && kind !== found.kind)
    return refuse(request, 'Invalid qdisc name: must match existing qdisc', EINVAL)
  const options = attributes.get(TCA_OPTIONS)
  if (options === undefined) return 0
  if (found.kind === 'htb' || found.kind === 'pfifo_fast' || found instanceof IngressQdisc)
    return refuse(request, 'Change operation not supported by specified qdisc', EINVAL)
  const status = found.configure(options, false)
  if (status === 0) {
    tell(said, found, RTM_NEWQDISC)
    control.run()
  }
  return status
}

/** The qdisc that a parent is a class of; undefined at the root and the ingress; null: there is none. */
function holderOf(control: TrafficControl, parent: number): Qdisc | undefined | null {
  if (parent === TC_H_ROOT || parent === TC_H_INGRESS) return undefined
  return control.find(parent) ?? null
}

/** One that is there may be moved to where it is already; into another place it can't go here. */
function regraft(
  { request, attributes, parent }: TrafficRequest,
  control: TrafficControl,
  other: Qdisc,
): Status {
  if ((request.flags & NLM_F_EXCL) !== 0)
    return refuse(request, 'Exclusivity flag on, cannot override', EEXIST)
  const kind = attributes.string(TCA_KIND)
  if (kind !== undefined && kind !== other.kind)
    return refuse(request, 'Invalid qdisc name: must match existing qdisc', EINVAL)
  if (other instanceof IngressQdisc) return refuse(request, 'Cannot regraft ingress or clsact Qdiscs', EINVAL)
  if (control.find(parent) === other) return refuse(request, 'Qdisc parent/child loop detected', ELOOP)
  return -EOPNOTSUPP
}

function create(said: TrafficRequest, control: TrafficControl): Status {
  const { request, parent, attributes } = said
  if ((request.flags & NLM_F_CREATE) === 0)
    return refuse(request, 'Qdisc not found. To create specify NLM_F_CREATE flag', ENOENT)
  const kind = attributes.string(TCA_KIND)
  const make = kind === undefined ? undefined : QDISCS.get(kind)
  if (make === undefined) return refuse(request, 'Specified qdisc kind is unknown', ENOENT)
  const made = make(control)
  const atIngress = parent === TC_H_INGRESS
  if (atIngress !== made instanceof IngressQdisc) {
    const reason = 'Specified parent ID is reserved for ingress and clsact Qdiscs'
    return atIngress ? refuse(request, reason, EINVAL) : -EOPNOTSUPP
  }
  if (!control.admits() || depthOf(control, parent) >= MAX_DEPTH) return -ENOSPC
  const handle = handleFor(said, control, atIngress)
  if (handle < 0) return handle
  made.handle = handle
  const status = made.configure(attributes.get(TCA_OPTIONS), true)
  if (status < 0) return status
  const placed = place(said, control, made)
  if (placed < 0) made.close()
  else tell(said, made, RTM_NEWQDISC)
  return placed
}

function handleFor(said: TrafficRequest, control: TrafficControl, atIngress: boolean): OrErrno<number> {
  if (atIngress) return major(TC_H_INGRESS)
  if (said.handle !== 0) return said.handle
  const free = control.stack.traffic.newHandle(handle => control.find(handle) !== undefined)
  return free === 0 ? -ENOSPC : free
}

function depthOf(control: TrafficControl, parent: number): number {
  let depth = 0
  for (let at = parent; at !== TC_H_ROOT && at !== TC_H_INGRESS && depth < MAX_DEPTH; depth++) {
    const holder = control.find(at)
    if (holder === undefined) break
    at = holder.parent
  }
  return depth
}

function place(
  { parent, request, device }: TrafficRequest,
  control: TrafficControl,
  made: Qdisc | undefined,
): Status {
  // Taken away it is by any number of the ingress's, but it is put only where it belongs.
  const atIngress = made === undefined ? major(parent) === major(TC_H_INGRESS) : parent === TC_H_INGRESS
  if (parent === TC_H_ROOT || atIngress) {
    control.install(parent === TC_H_ROOT ? TC_H_ROOT : TC_H_INGRESS, made)
    control.settle()
    control.stack.listener?.linkChanged(device, false)
    return 0
  }
  const holder = control.find(parent)
  if (holder === undefined || !isClassful(holder) || holder.graft === undefined) return -EOPNOTSUPP
  const found = holder.findClass(parent)
  if (found === undefined)
    return holder.kind === 'netem' ? -ENOENT : refuse(request, 'Specified class not found', ENOENT)
  // A class with classes of its own has no qdisc.
  if (holder.kind !== 'netem' && found.leaf === undefined) return -EINVAL
  holder.graft(parent, made)?.close()
  control.settle()
  return 0
}

export function deleteQdisc(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const found = findQdisc(said)
  if (typeof found === 'number') return found
  if (said.parent === 0) return refuse(request, 'Classid cannot be zero', EINVAL)
  const control = said.device.traffic
  if (found === null || control === undefined)
    return refuse(request, 'Cannot delete qdisc with handle of zero', ENOENT)
  tell(said, found, RTM_DELQDISC)
  return place(said, control, undefined)
}

/** The one that a message names; null: one that nobody has made. */
function findQdisc({ request, device, handle, parent, attributes }: TrafficRequest): OrErrno<Qdisc | null> {
  const control = device.traffic
  let found: Qdisc | null | undefined
  if (parent === 0) {
    found = control?.find(handle)
    if (found === undefined) return refuse(request, 'Failed to find qdisc with specified handle', ENOENT)
  } else {
    if (parent === TC_H_ROOT) found = control?.root ?? null
    else if (major(parent) === major(TC_H_INGRESS)) found = control?.clsact ?? null
    else {
      if (control?.find(parent) === undefined)
        return refuse(request, 'Failed to find qdisc with specified classid', ENOENT)
      found = control.at(parent)
      if (found?.handle === 0) found = null
    }
    if (found === undefined) return refuse(request, 'Cannot find specified qdisc on specified device', ENOENT)
    if (handle !== 0 && found?.handle !== handle) return refuse(request, 'Invalid handle', EINVAL)
  }
  const kind = attributes.string(TCA_KIND)
  const its = found?.kind ?? (parent === TC_H_ROOT ? queueing(device) : 'pfifo')
  if (kind !== undefined && kind !== its) return refuse(request, 'Invalid qdisc name', EINVAL)
  return found
}

export function getQdiscs(stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) {
    const said = readTraffic(stack, request)
    if (typeof said === 'number') return said
    const found = findQdisc(said)
    if (typeof found === 'number') return found
    const writer = new MessageWriter()
    if (found === null) writeDefault(writer, said.device, 0, request)
    else writeQdisc(writer, said.device, found, RTM_NEWQDISC, 0, request)
    return request.answer(writer)
  }
  const only = dumpedIndex(request)
  const lines: [NetDevice, Qdisc | undefined][] = []
  for (const device of sortedDevices(stack)) {
    if (only !== 0 && device.index !== only) continue
    if (device.traffic?.root === undefined && device.wasUp) lines.push([device, undefined])
    for (const qdisc of device.traffic?.all() ?? []) lines.push([device, qdisc])
  }
  return new ListDump(lines, (writer, [device, qdisc]) => {
    if (qdisc === undefined) writeDefault(writer, device, NLM_F_MULTI, request)
    else writeQdisc(writer, device, qdisc, RTM_NEWQDISC, NLM_F_MULTI, request)
  })
}

function writeQdisc(
  writer: MessageWriter,
  device: NetDevice,
  qdisc: Qdisc,
  type: number,
  flags: number,
  request: NetlinkRequest,
): void {
  const { handle, parent } = qdisc
  const info = parent === TC_H_ROOT ? REFERENCES : 1
  startTraffic(writer, type, flags, request, { index: device.index, handle, parent, info })
  writer.string(TCA_KIND, qdisc.kind)
  qdisc.writeOptions(writer)
  writeStatistics(writer, qdisc.statistics, qdisc, own => qdisc.writeOwnStatistics(writer, own))
  writer.end()
}

/** What a device has by itself: the numbers of a pfifo_fast are the device's. */
function writeDefault(
  writer: MessageWriter,
  device: NetDevice,
  flags: number,
  request: NetlinkRequest,
): void {
  const kind = queueing(device)
  const place = { index: device.index, handle: 0, parent: TC_H_ROOT, info: REFERENCES }
  startTraffic(writer, RTM_NEWQDISC, flags, request, place)
  writer.string(TCA_KIND, kind)
  const statistics = new QueueStatistics()
  if (kind === 'pfifo_fast') {
    new PfifoFast(trafficOf(device)).writeOptions(writer)
    statistics.bytes = device.statistics.txBytes
    statistics.packets = device.statistics.txPackets
  }
  writeStatistics(writer, statistics, { length: 0, backlog: 0 }, () => {})
  writer.end()
}

function tell({ request, device }: TrafficRequest, qdisc: Qdisc, type: number): void {
  const writer = new MessageWriter()
  writeQdisc(writer, device, qdisc, type, 0, request)
  announce(request, RTNLGRP_TC, writer)
}
