/** RouteNotifier: tells the groups of NETLINK_ROUTE of what changes in a stack: `ip monitor`. */
import {
  AF_INET,
  NETLINK_KOBJECT_UEVENT,
  NETLINK_ROUTE,
  RT_TABLE_LOCAL,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELNSID,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNSID,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  RTN_LOCAL,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV6_RULE,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_NEXTHOP,
  RTNLGRP_NSID,
} from '../../../abi/constants.ts'
import type { FibRoute } from '../../ip/fib.ts'
import type { InterfaceAddress } from '../../ip/interface-address.ts'
import type { Neighbour } from '../../ip/neighbour.ts'
import type { NextHopListener, NextHopObject } from '../../ip/next-hop-objects.ts'
import type { StackListener } from '../../ip/transport.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { MessageWriter } from '../message.ts'
import type { NetlinkTable } from '../table.ts'
import { interfaceEvent } from '../uevent.ts'
import { announceAddress } from './address.ts'
import { writeLink } from './link-message.ts'
import { announceNeighbour } from './neighbour.ts'
import { announceNextHop } from './next-hop.ts'
import { writeNsId } from './ns-id.ts'
import { announceRoute } from './route.ts'
import { announceRule, type RuleChange } from './rule.ts'

export class RouteNotifier implements StackListener, NextHopListener {
  readonly #table: NetlinkTable
  readonly #stack: IpStack
  /** Those that have been told of. */
  readonly #known = new WeakSet<NetDevice>()
  #events = 0

  constructor(table: NetlinkTable, stack: IpStack) {
    this.#table = table
    this.#stack = stack
    stack.nextHops.listener = this
  }

  nextHopChanged(object: NextHopObject, gone: boolean): void {
    if (!this.#table.listens(NETLINK_ROUTE, RTNLGRP_NEXTHOP)) return
    this.#send(RTNLGRP_NEXTHOP, announceNextHop(object, gone))
  }

  linkChanged(device: NetDevice, gone: boolean): void {
    const isNew = !this.#known.has(device)
    if (gone) this.#known.delete(device)
    else this.#known.add(device)
    if (gone || isNew) this.#event(gone ? 'remove' : 'add', device)
    if (!this.#table.listens(NETLINK_ROUTE, RTNLGRP_LINK)) return
    const writer = new MessageWriter()
    const change = gone || isNew ? 0xffffffff : 0
    writeLink(writer, this.#stack, device, gone ? RTM_DELLINK : RTM_NEWLINK, 0, 0, 0, change)
    this.#send(RTNLGRP_LINK, writer.take())
  }

  addressChanged(entry: InterfaceAddress, gone: boolean): void {
    const group = entry.address.isV4 ? RTNLGRP_IPV4_IFADDR : RTNLGRP_IPV6_IFADDR
    if (!this.#table.listens(NETLINK_ROUTE, group)) return
    this.#send(group, announceAddress(this.#stack, entry, gone))
  }

  routeChanged(route: FibRoute, gone: boolean): void {
    const group = route.destination.isV4 ? RTNLGRP_IPV4_ROUTE : RTNLGRP_IPV6_ROUTE
    if (!this.#table.listens(NETLINK_ROUTE, group)) return
    // A route without a way any more ended with its device or address; Linux tells of some of them, users of all.
    if (route.nextHops.length === 0 && route.type === RTN_LOCAL && route.table === RT_TABLE_LOCAL) return
    this.#send(group, announceRoute(route, gone ? RTM_DELROUTE : RTM_NEWROUTE))
  }

  ruleChanged({ rule, family }: RuleChange, gone: boolean): void {
    const group = family === AF_INET ? RTNLGRP_IPV4_RULE : RTNLGRP_IPV6_RULE
    if (!this.#table.listens(NETLINK_ROUTE, group)) return
    this.#send(group, announceRule(rule, family, gone ? RTM_DELRULE : RTM_NEWRULE))
  }

  neighbourChanged(entry: Neighbour, gone: boolean): void {
    if (!this.#table.listens(NETLINK_ROUTE, RTNLGRP_NEIGH)) return
    this.#send(RTNLGRP_NEIGH, announceNeighbour(this.#stack, entry, gone ? RTM_DELNEIGH : RTM_NEWNEIGH))
  }

  namespaceIdChanged(id: number, gone: boolean): void {
    if (!this.#table.listens(NETLINK_ROUTE, RTNLGRP_NSID)) return
    const writer = new MessageWriter()
    writeNsId(writer, id, gone ? RTM_DELNSID : RTM_NEWNSID, 0, 0, 0)
    this.#send(RTNLGRP_NSID, writer.take())
  }

  #send(group: number, bytes: Uint8Array): void {
    this.#table.multicast(NETLINK_ROUTE, group, bytes, undefined)
  }
  #event(action: string, device: NetDevice): void {
    this.#events++
    if (!this.#table.listens(NETLINK_KOBJECT_UEVENT, 1)) return
    this.#table.multicast(NETLINK_KOBJECT_UEVENT, 1, interfaceEvent(action, device, this.#events), undefined)
  }
}
