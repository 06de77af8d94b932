/** NETLINK_ROUTE: which message goes where: rtnetlink(7). rtnetlink_rcv_msg. */
import {
  AF_BRIDGE,
  AF_INET,
  AF_INET6,
  AF_PACKET,
  AF_UNSPEC,
  CAP_NET_ADMIN,
  NLM_F_DUMP,
  RTM_DELADDR,
  RTM_DELADDRLABEL,
  RTM_DELLINK,
  RTM_DELLINKPROP,
  RTM_DELNEIGH,
  RTM_DELNEXTHOP,
  RTM_DELQDISC,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_DELTCLASS,
  RTM_DELTFILTER,
  RTM_GETADDR,
  RTM_GETADDRLABEL,
  RTM_GETANYCAST,
  RTM_GETLINK,
  RTM_GETMULTICAST,
  RTM_GETNEIGH,
  RTM_GETNEIGHTBL,
  RTM_GETNETCONF,
  RTM_GETNEXTHOP,
  RTM_GETNSID,
  RTM_GETQDISC,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_GETTCLASS,
  RTM_GETTFILTER,
  RTM_NEWADDR,
  RTM_NEWADDRLABEL,
  RTM_NEWLINK,
  RTM_NEWLINKPROP,
  RTM_NEWNEIGH,
  RTM_NEWNEXTHOP,
  RTM_NEWNSID,
  RTM_NEWQDISC,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  RTM_NEWTCLASS,
  RTM_NEWTFILTER,
  RTM_SETLINK,
  RTNLGRP_MAX,
} from '../../../abi/constants.ts'
import { EOPNOTSUPP, EPERM } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { deleteFdb, getFdb, newFdb } from '../bridge/fdb.ts'
import { deleteBridgeLink, getBridgeLinks, setBridgeLink } from '../bridge/links.ts'
import type { Dump, NetlinkProtocol, NetlinkRequest } from '../protocol.ts'
import { deleteClass, getClasses, newClass } from '../traffic/class.ts'
import { deleteFilter, getFilters, newFilter } from '../traffic/filter.ts'
import { deleteQdisc, getQdiscs, newQdisc } from '../traffic/qdisc.ts'
import { deleteAddress, getAddresses, newAddress } from './address.ts'
import { changeAddressLabel, getAddressLabels } from './address-label.ts'
import { changeProperties } from './alternative-names.ts'
import { deleteLink, getLinks, newLink, setLink } from './link.ts'
import { deleteNeighbour, getNeighbours, newNeighbour } from './neighbour.ts'
import { getNeighbourTables } from './neighbour-table.ts'
import { getNetconf } from './netconf.ts'
import { deleteNextHop, getNextHops, newNextHop } from './next-hop.ts'
import { getNsId, newNsId } from './ns-id.ts'
import { deleteRoute, dumpNothing, dumpRoutes, getRoute, newRoute } from './route.ts'
import { deleteRule, dumpRules, newRule } from './rule.ts'

/** RTM_MAX: the last message type, whether or not it is known here. */
const LAST_TYPE = 123
/** Of a message type, counted from RTM_BASE: new, delete, get, set. */
const KIND_MASK = 3
const KIND_GET = 2

type Handler = (stack: IpStack, request: NetlinkRequest, family: number) => Status | Dump

export const routeProtocol: NetlinkProtocol = {
  groups: RTNLGRP_MAX,
  anyoneListens: true,
  anyoneSends: false,

  receive(request: NetlinkRequest): Status | Dump {
    const { type, body, stack, socket, task } = request
    if (type > LAST_TYPE) return -EOPNOTSUPP
    // Each has at least a struct rtgenmsg: the family.
    if (body.length < 1) return 0
    if ((type & KIND_MASK) !== KIND_GET && !socket.capable(task, CAP_NET_ADMIN)) return -EPERM
    const handler = HANDLERS.get(type)
    return handler === undefined ? -EOPNOTSUPP : handler(stack.ip!, request, body[0])
  },
}

/** For both IP families; the others have nothing of the kind. */
function ipOnly(handler: Handler): Handler {
  return (stack, request, family) =>
    family === AF_INET || family === AF_INET6 ? handler(stack, request, family) : -EOPNOTSUPP
}

function isDump(request: NetlinkRequest): boolean {
  return (request.flags & NLM_F_DUMP) !== 0
}

/** A dump of a family that has none is one of all. */
function dumpFamily(family: number): number {
  return family === AF_INET || family === AF_INET6 ? family : AF_UNSPEC
}

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [
    RTM_GETLINK,
    (stack, request, family) =>
      family === AF_BRIDGE && isDump(request) ? getBridgeLinks(stack, request) : getLinks(stack, request),
  ],
  [RTM_NEWLINK, (stack, request) => newLink(stack, request)],
  [
    RTM_SETLINK,
    (stack, request, family) =>
      family === AF_BRIDGE ? setBridgeLink(stack, request) : setLink(stack, request),
  ],
  [
    RTM_DELLINK,
    (stack, request, family) =>
      family === AF_BRIDGE ? deleteBridgeLink(stack, request) : deleteLink(stack, request),
  ],
  [RTM_NEWLINKPROP, changeProperties],
  [RTM_DELLINKPROP, changeProperties],
  [
    RTM_GETADDR,
    (stack, request, family) => {
      if (isDump(request)) return getAddresses(stack, request, dumpFamily(family))
      return family === AF_INET6 ? getAddresses(stack, request, family) : -EOPNOTSUPP
    },
  ],
  [RTM_NEWADDR, ipOnly(newAddress)],
  [RTM_DELADDR, ipOnly(deleteAddress)],
  [
    RTM_GETROUTE,
    (stack, request, family) => {
      if (isDump(request))
        return isIp(family) ? dumpRoutes(stack, request, dumpFamily(family)) : dumpNothing(request)
      return family === AF_INET || family === AF_INET6 ? getRoute(stack, request, family) : -EOPNOTSUPP
    },
  ],
  [RTM_NEWROUTE, ipOnly(newRoute)],
  [RTM_DELROUTE, ipOnly(deleteRoute)],
  [
    RTM_GETNEIGH,
    (stack, request, family) => {
      if (family === AF_BRIDGE) return getFdb(stack, request)
      return getNeighbours(stack, request, isDump(request) ? dumpFamily(family) : family)
    },
  ],
  [
    RTM_NEWNEIGH,
    (stack, request, family) =>
      family === AF_BRIDGE ? newFdb(stack, request) : newNeighbour(stack, request, family),
  ],
  [
    RTM_DELNEIGH,
    (stack, request, family) =>
      family === AF_BRIDGE ? deleteFdb(stack, request) : deleteNeighbour(stack, request, family),
  ],
  [
    RTM_GETRULE,
    (stack, request, family) => (isDump(request) ? dumpRules(stack, request, family) : -EOPNOTSUPP),
  ],
  [RTM_NEWRULE, newRule],
  [RTM_DELRULE, deleteRule],
  [RTM_GETNETCONF, getNetconf],
  [RTM_NEWNSID, newNsId],
  [RTM_GETNSID, getNsId],
  [RTM_GETQDISC, getQdiscs],
  [RTM_NEWADDRLABEL, changeAddressLabel],
  [RTM_DELADDRLABEL, changeAddressLabel],
  [RTM_GETADDRLABEL, getAddressLabels],
  [RTM_GETNEIGHTBL, getNeighbourTables],
  [RTM_NEWNEXTHOP, newNextHop],
  [RTM_DELNEXTHOP, deleteNextHop],
  [RTM_GETNEXTHOP, getNextHops],
  [RTM_NEWQDISC, newQdisc],
  [RTM_DELQDISC, deleteQdisc],
  [RTM_NEWTCLASS, newClass],
  [RTM_DELTCLASS, deleteClass],
  [RTM_GETTCLASS, getClasses],
  [RTM_NEWTFILTER, newFilter],
  [RTM_DELTFILTER, deleteFilter],
  [RTM_GETTFILTER, getFilters],
  [RTM_GETMULTICAST, (_stack, request) => dumpNothing(request)],
  [RTM_GETANYCAST, (_stack, request) => dumpNothing(request)],
])

function isIp(family: number): boolean {
  return family === AF_UNSPEC || family === AF_PACKET || family === AF_INET || family === AF_INET6
}
