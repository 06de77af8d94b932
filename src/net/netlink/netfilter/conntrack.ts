/** NFNL_SUBSYS_CTNETLINK: the connections that conntrack knows: conntrack(8). */
import {
  CTA_LABELS,
  CTA_LABELS_MASK,
  CTA_MARK,
  CTA_MARK_MASK,
  CTA_STATS_GLOBAL_ENTRIES,
  CTA_STATS_GLOBAL_MAX_ENTRIES,
  CTA_STATUS,
  CTA_STATUS_MASK,
  CTA_TIMEOUT,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_REPLY,
  CTA_ZONE,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_GET_CTRZERO,
  IPCTNL_MSG_CT_GET_DYING,
  IPCTNL_MSG_CT_GET_STATS,
  IPCTNL_MSG_CT_GET_UNCONFIRMED,
  IPCTNL_MSG_CT_NEW,
  NETLINK_NETFILTER,
  NFNL_SUBSYS_CTNETLINK,
  NFNLGRP_CONNTRACK_DESTROY,
  NFNLGRP_CONNTRACK_NEW,
  NFNLGRP_CONNTRACK_UPDATE,
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { Connection, TableEntry } from '../../filter/conntrack/connection.ts'
import type { Conntrack, ConntrackListener } from '../../filter/conntrack/conntrack.ts'
import { LABELS_SIZE, replaceLabels } from '../../filter/conntrack/labels.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { type Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { NetlinkTable } from '../table.ts'
import { readTupleAttribute, writeConnection } from './conntrack-message.ts'
import { attributesOf, startMessage } from './header.ts'

export function conntrackReceive(request: NetlinkRequest): Status | Dump {
  const { conntrack } = (request.stack.own as InetNetwork).netfilter
  const attributes = attributesOf(request)
  switch (request.type & 0xff) {
    case IPCTNL_MSG_CT_GET:
    case IPCTNL_MSG_CT_GET_CTRZERO:
      return (request.flags & NLM_F_DUMP) !== 0
        ? dump(conntrack, request, attributes)
        : getOne(conntrack, request, attributes)
    case IPCTNL_MSG_CT_DELETE:
      return remove(conntrack, request, attributes)
    case IPCTNL_MSG_CT_NEW:
      return update(conntrack, request, attributes)
    case IPCTNL_MSG_CT_GET_STATS:
      return statistics(conntrack, request)
    case IPCTNL_MSG_CT_GET_DYING:
    case IPCTNL_MSG_CT_GET_UNCONFIRMED:
      return (request.flags & NLM_F_DUMP) !== 0 ? new ListDump([], () => {}) : -EOPNOTSUPP
  }
  return -EINVAL
}

/** Which connections a dump, or a deletion of many, is about. */
function matching(conntrack: Conntrack, family: number, attributes: Attributes): OrErrno<Connection[]> {
  const mark = attributes.be32(CTA_MARK)
  const mask = attributes.be32(CTA_MARK_MASK) ?? 0xffffffff
  const status = attributes.be32(CTA_STATUS)
  const statusMask = attributes.be32(CTA_STATUS_MASK) ?? status
  if (status === 0 && statusMask === undefined) return -EINVAL
  const zone = attributes.be16(CTA_ZONE)
  return [...conntrack.table.connections()].filter(connection => {
    const isV4 = connection.original.source.isV4
    if (family !== NFPROTO_UNSPEC && isV4 !== (family === NFPROTO_IPV4)) return false
    const { original, reply } = connection
    if (zone !== undefined && (original.zone !== zone || reply.zone !== zone)) return false
    if (mark !== undefined && (connection.mark & mask) >>> 0 !== mark) return false
    return status === undefined || (connection.status & (statusMask ?? 0)) === status
  })
}

function dump(conntrack: Conntrack, request: NetlinkRequest, attributes: Attributes): Status | Dump {
  const found = matching(conntrack, request.body[0], attributes)
  if (typeof found === 'number') return found
  const zero = (request.type & 0xff) === IPCTNL_MSG_CT_GET_CTRZERO
  const now = conntrack.runtime.now()
  return new ListDump(found, (writer, connection) => {
    writeConnection(writer, connection, IPCTNL_MSG_CT_NEW, NLM_F_MULTI, request, now)
    if (zero) connection.counters?.fill(0)
  })
}

/** The connection whose original or reply tuple is given; -EINVAL, -ENOENT. */
function find(conntrack: Conntrack, request: NetlinkRequest, attributes: Attributes): OrErrno<TableEntry> {
  const which = attributes.has(CTA_TUPLE_ORIG) ? CTA_TUPLE_ORIG : CTA_TUPLE_REPLY
  const tuple = readTupleAttribute(attributes, which, request.body[0])
  if (tuple === undefined) return -EINVAL
  return conntrack.table.find(tuple) ?? -ENOENT
}

function getOne(conntrack: Conntrack, request: NetlinkRequest, attributes: Attributes): Status {
  const entry = find(conntrack, request, attributes)
  if (typeof entry === 'number') return entry
  const writer = new MessageWriter()
  writeConnection(writer, entry.connection, IPCTNL_MSG_CT_NEW, 0, request, conntrack.runtime.now())
  return request.answer(writer)
}

function remove(conntrack: Conntrack, request: NetlinkRequest, attributes: Attributes): Status {
  if (attributes.has(CTA_TUPLE_ORIG) || attributes.has(CTA_TUPLE_REPLY)) {
    const entry = find(conntrack, request, attributes)
    if (typeof entry === 'number') return entry
    conntrack.table.remove(entry.connection)
    return 0
  }
  const found = matching(conntrack, request.body[0], attributes)
  if (typeof found === 'number') return found
  for (const connection of found) conntrack.table.remove(connection)
  return 0
}

/** Changes the mark and the time that is left. Connections that nobody has begun can't be put in. */
function update(conntrack: Conntrack, request: NetlinkRequest, attributes: Attributes): Status {
  const entry = find(conntrack, request, attributes)
  if (typeof entry === 'number') {
    return entry === -ENOENT && (request.flags & NLM_F_CREATE) !== 0 ? -EOPNOTSUPP : entry
  }
  if ((request.flags & NLM_F_EXCL) !== 0) return -EEXIST
  const { connection } = entry
  const mark = attributes.be32(CTA_MARK)
  const mask = attributes.be32(CTA_MARK_MASK) ?? 0xffffffff
  const timeout = attributes.be32(CTA_TIMEOUT)
  if (mark !== undefined) connection.mark = ((connection.mark & ~mask) | (mark & mask)) >>> 0
  if (timeout !== undefined) connection.expires = conntrack.runtime.now() + timeout * NSEC_PER_SEC
  const labels = attributes.get(CTA_LABELS)
  if (labels !== undefined) {
    const labelsMask = attributes.get(CTA_LABELS_MASK) ?? new Uint8Array(LABELS_SIZE).fill(0xff)
    if (labels.length === 0 || labels.length % 4 !== 0 || labelsMask.length < labels.length) return -EINVAL
    replaceLabels(connection, labels, labelsMask)
  }
  conntrack.listener?.connectionChanged(connection, 'update')
  return 0
}

/** `conntrack --count`. */
function statistics(conntrack: Conntrack, request: NetlinkRequest): Status {
  const writer = new MessageWriter()
  startMessage(writer, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS, 0, request, NFPROTO_UNSPEC, 0)
  writer.be32(CTA_STATS_GLOBAL_ENTRIES, conntrack.table.size)
  writer.be32(CTA_STATS_GLOBAL_MAX_ENTRIES, conntrack.settings.nf_conntrack_max)
  writer.end()
  return request.answer(writer)
}

const EVENTS = {
  new: [NFNLGRP_CONNTRACK_NEW, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL],
  update: [NFNLGRP_CONNTRACK_UPDATE, IPCTNL_MSG_CT_NEW, 0],
  destroy: [NFNLGRP_CONNTRACK_DESTROY, IPCTNL_MSG_CT_DELETE, 0],
} as const

/** Tells the members of conntrack's groups: `conntrack --event`. */
export class ConntrackNotifier implements ConntrackListener {
  readonly #sockets: NetlinkTable
  readonly #conntrack: Conntrack

  constructor(sockets: NetlinkTable, conntrack: Conntrack) {
    this.#sockets = sockets
    this.#conntrack = conntrack
  }

  connectionChanged(connection: Connection, change: keyof typeof EVENTS): void {
    const [group, type, flags] = EVENTS[change]
    if (!this.#sockets.listens(NETLINK_NETFILTER, group)) return
    const writer = new MessageWriter()
    const nobody = { sequence: 0, port: 0 }
    writeConnection(writer, connection, type, flags, nobody, this.#conntrack.runtime.now())
    this.#sockets.multicast(NETLINK_NETFILTER, group, writer.take(), undefined)
  }
}
