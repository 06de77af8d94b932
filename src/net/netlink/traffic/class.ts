/** RTM_NEWTCLASS, RTM_DELTCLASS, RTM_GETTCLASS: `tc class`. tc_ctl_tclass. */
import {
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  RTM_DELTCLASS,
  RTM_NEWTCLASS,
  RTNLGRP_TC,
  TC_H_ROOT,
  TCA_KIND,
  TCA_OPTIONS,
  TCA_STATS2,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { type ClassfulQdisc, isClassful, major, type TrafficClass } from '../../qdisc/qdisc.ts'
import { refuse } from '../kinds/kind.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { dumpNothing } from '../route/route.ts'
import {
  announce,
  dumpedIndex,
  readTraffic,
  startTraffic,
  type TrafficRequest,
  writeStatistics,
} from './request.ts'

interface Place {
  readonly qdisc: ClassfulQdisc
  /** TC_H_ROOT or a class. */
  readonly parent: number
  /** 0: any. */
  readonly id: number
}

/** The qdisc that a message is about: by the parent's major number, the class's, or the root. */
function findPlace({ device, handle, parent }: TrafficRequest): OrErrno<Place> {
  const control = device.traffic
  let up = parent
  let number = major(handle)
  if (parent !== TC_H_ROOT) {
    const above = major(parent)
    if (number !== 0 && above !== 0) {
      if (number !== above) return -EINVAL
    } else if (number === 0) number = above !== 0 ? above : (control?.root?.handle ?? 0)
    if (parent !== 0) up = major(parent) === 0 ? number + parent : parent
  } else if (number === 0) number = control?.root?.handle ?? 0
  const qdisc = control?.find(number)
  if (qdisc === undefined) return -ENOENT
  if (!isClassful(qdisc)) return -EINVAL
  let id = handle
  if (id === 0) {
    if (up === TC_H_ROOT) id = number
  } else if (major(id) === 0) id = number + id
  return { qdisc, parent: up, id }
}

export function newClass(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const place = findPlace(said)
  if (typeof place === 'number') return place
  const { qdisc, parent, id } = place
  const existing = qdisc.findClass(id)
  if (existing === undefined && (request.flags & NLM_F_CREATE) === 0)
    return refuse(request, 'Class not found', ENOENT)
  if (existing !== undefined && (request.flags & NLM_F_EXCL) !== 0) return -EEXIST
  if (qdisc.changeClass === undefined) return -EOPNOTSUPP
  if (existing === undefined && !qdisc.control.admits()) return -ENOSPC
  const options = said.attributes.get(TCA_OPTIONS)
  if (options === undefined) return -EINVAL
  const changed = qdisc.changeClass(existing, id, parent, new Attributes(options))
  if (typeof changed === 'number') return changed
  qdisc.control.settle()
  tell(said, qdisc, changed, RTM_NEWTCLASS)
  qdisc.control.run()
  return 0
}

export function deleteClass(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const place = findPlace(said)
  if (typeof place === 'number') return place
  const { qdisc, id } = place
  const existing = qdisc.findClass(id)
  if (existing === undefined) return -ENOENT
  if (qdisc.deleteClass === undefined) return -EOPNOTSUPP
  const status = qdisc.deleteClass(existing)
  qdisc.control.settle()
  if (status === 0) tell(said, qdisc, existing, RTM_DELTCLASS)
  return status === -EBUSY ? refuse(request, 'HTB class in use', EBUSY) : status
}

export function getClasses(stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) {
    const said = readTraffic(stack, request)
    if (typeof said === 'number') return said
    const place = findPlace(said)
    if (typeof place === 'number') return place
    const existing = place.qdisc.findClass(place.id)
    if (existing === undefined) return -ENOENT
    const writer = new MessageWriter()
    writeClass(writer, said.device, place.qdisc, existing, RTM_NEWTCLASS, 0, request)
    return request.answer(writer)
  }
  const device = stack.devices.byIndex(dumpedIndex(request))
  const said = device === undefined ? undefined : readTraffic(stack, request)
  if (device?.traffic === undefined || said === undefined || typeof said === 'number')
    return dumpNothing(request)
  const lines: [ClassfulQdisc, TrafficClass][] = []
  for (const qdisc of device.traffic.all()) {
    if (!isClassful(qdisc) || (said.parent !== 0 && major(said.parent) !== qdisc.handle)) continue
    for (const each of qdisc.classes()) lines.push([qdisc, each])
  }
  return new ListDump(lines, (writer, [qdisc, each]) =>
    writeClass(writer, device, qdisc, each, RTM_NEWTCLASS, NLM_F_MULTI, request),
  )
}

function writeClass(
  writer: MessageWriter,
  device: NetDevice,
  qdisc: ClassfulQdisc,
  each: TrafficClass,
  type: number,
  flags: number,
  request: NetlinkRequest,
): void {
  const { id: handle, parent, leaf } = each
  const info = leaf?.handle ?? 0
  startTraffic(writer, type, flags, request, { index: device.index, handle, parent, info })
  writer.string(TCA_KIND, qdisc.kind)
  qdisc.writeClassOptions(writer, each)
  const waiting = leaf ?? { length: 0, backlog: 0 }
  if (each.statistics === undefined) writer.close(writer.nest(TCA_STATS2))
  else
    writeStatistics(writer, each.statistics, waiting, own => qdisc.writeClassStatistics?.(writer, each, own))
  writer.end()
}

function tell(
  { request, device }: TrafficRequest,
  qdisc: ClassfulQdisc,
  each: TrafficClass,
  type: number,
): void {
  const writer = new MessageWriter()
  writeClass(writer, device, qdisc, each, type, 0, request)
  announce(request, RTNLGRP_TC, writer)
}
