/**
 * Host side: how the launcher of a sandbox comes to know that something changes in a network namespace that was taken
 * over (native/launcher/follow.c). To be called in that namespace, when all that is there has been taken.
 */
import {
  AF_NETLINK,
  NETLINK_ROUTE,
  RTMGRP_IPV4_IFADDR,
  RTMGRP_IPV4_ROUTE,
  RTMGRP_IPV6_IFADDR,
  RTMGRP_IPV6_ROUTE,
  RTMGRP_LINK,
  SOCK_RAW,
} from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import { SOCKADDR_NL } from '../abi/layout.ts'
import { failed } from '../base/result.ts'
import { compareNetworks, isEmptyChange } from '../net/setup/change.ts'
import { readNetwork } from '../net/setup/read.ts'
import type { NetworkRecord } from '../net/setup/record.ts'
import { RouteQuery } from '../net/setup/route-query.ts'
import type { Addon } from '../platform/addon.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { pollIn } from '../platform/poll-in.ts'
import { parseAnswer } from './control-answer.ts'
import { monotonicMs } from './monotonic.ts'

/** Its name in the namespace (native/launcher/network.c). */
const LAUNCHER = '@caisson-network'
const TIMEOUT_MS = 2000

const GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE

/**
 * An engine makes an interface step by step, and looks at its addresses and routes on the way: it must be done before they
 * are taken. One that is never quiet must not keep us waiting for ever.
 */
const QUIET_MS = 200
const PATIENCE_MS = 3000

/** A socket that is readable when something changes in the thread's network namespace, or an errno. */
export function openNetworkEvents(sockets: LinuxSockets): number {
  const fd = sockets.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
  if (fd < 0) return fd
  const address = new Uint8Array(SOCKADDR_NL.size)
  const view = new DataView(address.buffer)
  view.setUint16(SOCKADDR_NL.nl_family, AF_NETLINK, true)
  view.setUint32(SOCKADDR_NL.nl_groups, GROUPS, true)
  const status = sockets.bind(fd, address)
  if (status >= 0) return fd
  sockets.close(fd)
  return status
}

/** Waits, without anything else, until it has been quiet there for a while. `fd`: as of openNetworkEvents. */
export function awaitQuiet(addon: Addon, sockets: LinuxSockets, fd: number): void {
  const end = monotonicMs() + PATIENCE_MS
  const room = new Uint8Array(1)
  while (monotonicMs() < end && pollIn(addon, [fd], QUIET_MS) === 0) {
    // What was missed (ENOBUFS) is gone with the error.
    for (let status = 0; status !== -EAGAIN; status = sockets.receive(fd, room, 0, false));
  }
}

/** Whether the launcher watches from now on. `taken` and `kept` as of compareNetworks: what has changed already is told. */
export function watchNetwork(addon: Addon, taken: NetworkRecord, kept: boolean): boolean {
  const sockets = new LinuxSockets(addon)
  const fd = openNetworkEvents(sockets)
  if (fd < 0) return false
  try {
    // After that, or what comes in between would be missed.
    const word = hasChanged(sockets, taken, kept) ? 'changed' : 'quiet'
    const line = Buffer.from(`${word}\n`)
    const outcome = addon.controlAsk(LAUNCHER, line, Int32Array.of(fd), TIMEOUT_MS, true)
    if (outcome instanceof Promise || outcome.error !== 0) return false
    addon.close(outcome.connection)
    return parseAnswer(outcome.line) !== undefined
  } finally {
    sockets.close(fd)
  }
}

function hasChanged(sockets: LinuxSockets, taken: NetworkRecord, kept: boolean): boolean {
  const query = RouteQuery.open(sockets)
  if (failed(query)) return true
  try {
    const now = readNetwork(query)
    return failed(now) || !isEmptyChange(compareNetworks(taken, now, kept))
  } finally {
    query.close()
  }
}
