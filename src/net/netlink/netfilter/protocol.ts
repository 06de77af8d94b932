/**
 * NETLINK_NETFILTER: the subsystems of nfnetlink. The upper byte of a message's type is its subsystem. Messages of nf_tables
 * that change something come in batches only.
 */
import {
  CAP_NET_ADMIN,
  NFNL_SUBSYS_CTNETLINK,
  NFNL_SUBSYS_IPSET,
  NFNL_SUBSYS_NFT_COMPAT,
  NFNL_SUBSYS_NFTABLES,
  NFNL_SUBSYS_QUEUE,
  NFNL_SUBSYS_ULOG,
  NFNLGRP_MAX,
} from '../../../abi/constants.ts'
import { EINVAL, EPERM } from '../../../abi/errno.ts'
import { NFGENMSG } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { InetNetwork } from '../../inet/network.ts'
import type { Acknowledgement, Dump, NetlinkProtocol, NetlinkRequest } from '../protocol.ts'
import type { NetlinkSocket } from '../socket.ts'
import { isBatch, receiveBatch } from './batch.ts'
import { compatReceive } from './compat.ts'
import { conntrackReceive } from './conntrack.ts'
import { ipsetReceive } from './ipset.ts'
import { forgetListener, logReceive } from './log.ts'
import { forgetQueues, queueReceive } from './queue.ts'
import { tablesReceive } from './receive.ts'

type Receive = (request: NetlinkRequest) => Status | Dump

const SUBSYSTEMS: ReadonlyMap<number, Receive> = new Map<number, Receive>([
  [NFNL_SUBSYS_NFTABLES, tablesReceive],
  [NFNL_SUBSYS_NFT_COMPAT, compatReceive],
  [NFNL_SUBSYS_CTNETLINK, conntrackReceive],
  [NFNL_SUBSYS_ULOG, logReceive],
  [NFNL_SUBSYS_QUEUE, queueReceive],
  [NFNL_SUBSYS_IPSET, ipsetReceive],
])

export const netfilterProtocol: NetlinkProtocol = {
  groups: NFNLGRP_MAX,
  anyoneListens: false,
  anyoneSends: false,

  receive(request: NetlinkRequest): Status | Dump {
    if (!request.socket.capable(request.task, CAP_NET_ADMIN)) return -EPERM
    if (request.body.length < NFGENMSG.size) return 0
    const subsystem = SUBSYSTEMS.get(request.type >> 8)
    return subsystem === undefined ? -EINVAL : subsystem(request)
  },

  released(socket: NetlinkSocket): void {
    const { usedNetfilter } = socket.stack.own as InetNetwork
    if (usedNetfilter === undefined) return
    forgetListener(usedNetfilter.log, socket)
    forgetQueues(usedNetfilter.queues, socket)
  },

  batch(requests: readonly NetlinkRequest[]): readonly Acknowledgement[] | undefined {
    const [first] = requests
    if (first === undefined || !isBatch(first)) return undefined
    if (!first.socket.capable(first.task, CAP_NET_ADMIN)) return [{ request: first, status: -EPERM }]
    return receiveBatch(requests)
  },
}
