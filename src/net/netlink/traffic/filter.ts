/** RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER: `tc filter`. cls_api.c. */
import {
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  RTM_DELTFILTER,
  RTM_NEWTFILTER,
  RTNLGRP_TC,
  TC_H_ROOT,
  TCA_ACT_KIND,
  TCA_ACT_OPTIONS,
  TCA_CHAIN,
  TCA_KIND,
  TCA_OPTIONS,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { ActionList, readActions } from '../../qdisc/actions/action.ts'
import { type Filter, type FilterBlock, type FilterChange, FilterGroup } from '../../qdisc/filter.ts'
import { IngressQdisc } from '../../qdisc/ingress.ts'
import { ACTIONS, CLASSIFIERS } from '../../qdisc/kinds.ts'
import { isClassful } from '../../qdisc/qdisc.ts'
import { refuse } from '../kinds/kind.ts'
import { Attributes, MessageWriter, NESTED } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { dumpNothing } from '../route/route.ts'
import { announce, dumpedIndex, readTraffic, startTraffic, type TrafficRequest } from './request.ts'

/** The first preference that is given out, 49152; each further one is just before those that are there. */
const FIRST_PREFERENCE = 0xc000
const MAX_CHAIN = 0x0fffffff

interface Place {
  readonly block: FilterBlock
  readonly parent: number
  readonly chain: number
  /** 0: none was said. */
  readonly preference: number
  readonly protocol: number
}

/** __tcf_qdisc_find, and what the message says beside. */
function findPlace({ request, device, parent, info, attributes }: TrafficRequest): OrErrno<Place> {
  const control = device.traffic
  const qdisc = parent === 0 ? control?.root : control?.find(parent)
  if (qdisc === undefined) return refuse(request, "Parent Qdisc doesn't exists", EINVAL)
  if (!isClassful(qdisc)) return refuse(request, 'Qdisc not classful', EINVAL)
  const at = parent === 0 || parent === TC_H_ROOT ? qdisc.handle : parent
  const block = qdisc.filtersOf(at)
  if (block === undefined) {
    if (qdisc instanceof IngressQdisc) return -EINVAL
    const known = at === qdisc.handle || qdisc.findClass(at) !== undefined
    return known ? -EOPNOTSUPP : refuse(request, "Specified class doesn't exist", EINVAL)
  }
  const chain = attributes.u32(TCA_CHAIN) ?? 0
  if (chain > MAX_CHAIN) return refuse(request, 'Specified chain index exceeds upper limit', EINVAL)
  const protocol = ((info & 0xff) << 8) | ((info >>> 8) & 0xff)
  return { block, parent: at, chain, preference: info >>> 16, protocol }
}

export function newFilter(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const { attributes, handle } = said
  const { flags } = request
  let preference = said.info >>> 16
  if (preference === 0 && (flags & NLM_F_CREATE) === 0)
    return refuse(request, 'Filter command cannot be performed on non-existent filter', ENOENT)
  const place = findPlace(said)
  if (typeof place === 'number') return place
  const { block, chain, protocol } = place
  const groups = block.chains.get(chain) ?? []
  const kind = attributes.string(TCA_KIND)
  if (preference === 0) preference = (groups[0]?.preference ?? FIRST_PREFERENCE + 1) - 1
  if (preference === 0) return -ENOSPC
  let group = groups.find(each => each.preference === preference)
  if (group !== undefined && protocol !== 0 && group.protocol !== protocol)
    return refuse(request, 'Specified priority/protocol already in use', EINVAL)
  let made = false
  if (group === undefined) {
    if (kind === undefined || protocol === 0)
      return refuse(request, 'Filter kind and protocol must be specified', EINVAL)
    if ((flags & NLM_F_CREATE) === 0)
      return refuse(request, 'Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter', ENOENT)
    const make = CLASSIFIERS.get(kind)
    if (make === undefined) return refuse(request, 'TC classifier not found', ENOENT)
    group = new FilterGroup(kind, protocol, preference, make(block))
    made = true
  } else if (kind !== undefined && kind !== group.kind) {
    return refuse(request, 'Specified filter kind does not match existing one', EINVAL)
  }
  if (!block.admits()) return -ENOSPC
  const known = group.classifier.find(handle)
  if (known === undefined && !made && handle !== 0 && (flags & NLM_F_CREATE) === 0)
    return refuse(request, 'Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter', ENOENT)
  if (known !== undefined && (flags & NLM_F_EXCL) !== 0)
    return refuse(request, 'Filter already exists', EEXIST)
  const options = new Attributes(attributes.get(TCA_OPTIONS) ?? new Uint8Array(0))
  const filter = group.classifier.change(handle, options, changeOf(stack, request))
  if (typeof filter === 'number') {
    if (made) group.classifier.close?.()
    return filter
  }
  if (made) block.add(chain, group)
  block.settle()
  block.parent = place.parent
  tell(said, place, group, filter, RTM_NEWTFILTER)
  return 0
}

function changeOf(stack: IpStack, request: NetlinkRequest): FilterChange {
  return {
    exclusive: (request.flags & NLM_F_EXCL) !== 0,
    create: (request.flags & NLM_F_CREATE) !== 0,
    actions: (options, act, police) => {
      const list = options.nested(act) ?? policeList(options, police)
      if (list === undefined) return new ActionList([], stack.traffic.actions)
      const actions = readActions(stack, list, ACTIONS)
      if (typeof actions !== 'number') return new ActionList(actions, stack.traffic.actions)
      return actions === -ENOENT ? refuse(request, 'Failed to load TC action module', ENOENT) : actions
    },
    refuse: (reason, errno) => refuse(request, reason, errno),
  }
}

/** `police` without the word `action`: a list of that one alone. */
function policeList(options: Attributes, type: number): Attributes | undefined {
  const police = type === 0 ? undefined : options.get(type)
  if (police === undefined) return undefined
  const writer = new MessageWriter()
  const nest = writer.nest(1, NESTED)
  writer.string(TCA_ACT_KIND, 'police')
  writer.bytes(TCA_ACT_OPTIONS, police)
  writer.close(nest)
  return new Attributes(writer.take())
}

export function deleteFilter(stack: IpStack, request: NetlinkRequest): Status {
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  const { attributes, handle } = said
  const kind = attributes.string(TCA_KIND)
  if (said.info >>> 16 === 0 && ((said.info & 0xffff) !== 0 || handle !== 0 || kind !== undefined))
    return refuse(request, 'Cannot flush filters with protocol, handle or kind set', ENOENT)
  const place = findPlace(said)
  if (typeof place === 'number') return place
  const { block, chain, preference, protocol } = place
  const groups = block.chains.get(chain)
  if (groups === undefined) {
    if (preference === 0) return 0
    return refuse(request, 'Cannot find specified filter chain', chain === 0 ? ENOENT : EINVAL)
  }
  if (preference === 0) {
    for (const group of [...groups]) removeGroup(said, place, group)
    return 0
  }
  const group = groups.find(each => each.preference === preference)
  if (group === undefined || (protocol !== 0 && group.protocol !== protocol))
    return refuse(request, 'Filter with specified priority/protocol not found', ENOENT)
  if (kind !== undefined && kind !== group.kind)
    return refuse(request, 'Specified filter kind does not match existing one', EINVAL)
  if (handle === 0) {
    removeGroup(said, place, group)
    return 0
  }
  const filter = group.classifier.find(handle)
  if (filter === undefined) return refuse(request, 'Specified filter handle not found', ENOENT)
  tell(said, place, group, filter, RTM_DELTFILTER)
  const status = group.classifier.remove(filter)
  block.settle()
  if (status === 0 && group.classifier.size === 0) block.remove(chain, group)
  return status
}

function removeGroup(said: TrafficRequest, place: Place, group: FilterGroup): void {
  tell(said, place, group, undefined, RTM_DELTFILTER)
  place.block.remove(place.chain, group)
}

export function getFilters(stack: IpStack, request: NetlinkRequest): Status | Dump {
  const isDump = (request.flags & NLM_F_DUMP) !== 0
  if (isDump && stack.devices.byIndex(dumpedIndex(request)) === undefined) return dumpNothing(request)
  const said = readTraffic(stack, request)
  if (typeof said === 'number') return said
  return isDump ? dumpFilters(said) : getOne(said)
}

function getOne(said: TrafficRequest): Status {
  const { request, handle } = said
  if (said.info >>> 16 === 0) return refuse(request, 'Invalid filter command with priority of zero', ENOENT)
  const place = findPlace(said)
  if (typeof place === 'number') return place
  const groups = place.block.chains.get(place.chain)
  if (groups === undefined) return refuse(request, 'Cannot find specified filter chain', EINVAL)
  const group = groups.find(each => each.preference === place.preference)
  if (group === undefined || group.protocol !== place.protocol)
    return refuse(request, 'Filter with specified priority/protocol not found', ENOENT)
  const filter = group.classifier.find(handle)
  if (filter === undefined) return refuse(request, 'Specified filter handle not found', ENOENT)
  const writer = new MessageWriter()
  writeFilter(writer, said.device, place, group, filter, RTM_NEWTFILTER, 0, request)
  return request.answer(writer)
}

/** For each kind at a preference a line of its own, and then its filters. */
function dumpFilters(said: TrafficRequest): Dump | Status {
  const { request, device, parent, attributes } = said
  const control = device.traffic
  const at = parent === 0 ? (control?.root?.handle ?? 0) : parent
  const qdisc = parent === 0 ? control?.root : control?.find(parent)
  const block = qdisc !== undefined && isClassful(qdisc) ? qdisc.filtersOf(at) : undefined
  const wantedChain = attributes.u32(TCA_CHAIN)
  const preference = said.info >>> 16
  const protocol = ((said.info & 0xff) << 8) | ((said.info >>> 8) & 0xff)
  const lines: [Place, FilterGroup, Filter | undefined][] = []
  for (const [chain, groups] of [...(block?.chains ?? [])].sort(([a], [b]) => a - b)) {
    if (wantedChain !== undefined && chain !== wantedChain) continue
    for (const group of groups) {
      if (preference !== 0 && group.preference !== preference) continue
      if (protocol !== 0 && group.protocol !== protocol) continue
      const place = { block: block!, parent: block!.parent, chain, preference, protocol }
      lines.push([place, group, undefined])
      for (const filter of group.classifier.filters()) lines.push([place, group, filter])
    }
  }
  return new ListDump(lines, (writer, [place, group, filter]) =>
    writeFilter(writer, device, place, group, filter, RTM_NEWTFILTER, NLM_F_MULTI, request),
  )
}

function writeFilter(
  writer: MessageWriter,
  { index }: NetDevice,
  { parent, chain }: Place,
  { kind, protocol, preference }: FilterGroup,
  filter: Filter | undefined,
  type: number,
  flags: number,
  request: NetlinkRequest,
): void {
  const wire = ((protocol & 0xff) << 8) | (protocol >> 8)
  const info = ((preference << 16) | wire) >>> 0
  startTraffic(writer, type, flags, request, { index, handle: filter?.handle ?? 0, parent, info })
  writer.string(TCA_KIND, kind)
  writer.u32(TCA_CHAIN, chain)
  if (filter !== undefined) {
    const options = writer.nest(TCA_OPTIONS)
    filter.write(writer)
    writer.close(options)
  }
  writer.end()
}

function tell(
  { request, device }: TrafficRequest,
  place: Place,
  group: FilterGroup,
  filter: Filter | undefined,
  type: number,
): void {
  const writer = new MessageWriter()
  writeFilter(writer, device, place, group, filter, type, 0, request)
  announce(request, RTNLGRP_TC, writer)
}
