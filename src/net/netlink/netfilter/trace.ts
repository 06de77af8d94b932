/** NFT_MSG_TRACE: which rules a packet passes that one of them has marked (`meta nftrace set 1`): `nft monitor trace`. */
import {
  NETLINK_NETFILTER,
  NFNL_SUBSYS_NFTABLES,
  NFNLGRP_NFTRACE,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_GOTO,
  NFT_JUMP,
  NFT_MSG_TRACE,
  NFT_TRACETYPE_POLICY,
  NFTA_TRACE_CHAIN,
  NFTA_TRACE_ID,
  NFTA_TRACE_IIF,
  NFTA_TRACE_IIFTYPE,
  NFTA_TRACE_LL_HEADER,
  NFTA_TRACE_MARK,
  NFTA_TRACE_NETWORK_HEADER,
  NFTA_TRACE_NFPROTO,
  NFTA_TRACE_OIF,
  NFTA_TRACE_OIFTYPE,
  NFTA_TRACE_POLICY,
  NFTA_TRACE_RULE_HANDLE,
  NFTA_TRACE_TABLE,
  NFTA_TRACE_TRANSPORT_HEADER,
  NFTA_TRACE_TYPE,
  NFTA_TRACE_VERDICT,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
} from '../../../abi/constants.ts'
import { connectionOf, directionOf } from '../../filter/conntrack/connection.ts'
import type { Chain, Rule } from '../../filter/tables/chain.ts'
import type { Evaluation } from '../../filter/tables/evaluation.ts'
import { stateBit } from '../../filter/tables/expressions/ct.ts'
import type { RuleTracer } from '../../filter/tables/tracer.ts'
import type { Packet } from '../../packet.ts'
import { MessageWriter } from '../message.ts'
import type { NetlinkTable } from '../table.ts'
import { startMessage } from './header.ts'

/** Of Linux 6.16 and later, which older headers have not. */
const NFTA_TRACE_CT_ID = 18
const NFTA_TRACE_CT_DIRECTION = 19
const NFTA_TRACE_CT_STATUS = 20
const NFTA_TRACE_CT_STATE = 21
/** How much of each header is shown. */
const LINK_BYTES = 20
const NETWORK_BYTES = 40
const TRANSPORT_BYTES = 20
const UNASKED = { sequence: 0, port: 0 }

export class TraceNotifier implements RuleTracer {
  readonly #sockets: NetlinkTable

  constructor(sockets: NetlinkTable) {
    this.#sockets = sockets
  }

  traced(
    run: Evaluation,
    type: number,
    chain: Chain,
    rule: Rule | undefined,
    verdict: number,
    first: boolean,
  ): void {
    if (!this.#sockets.listens(NETLINK_NETFILTER, NFNLGRP_NFTRACE)) return
    const { packet, base } = run
    const writer = new MessageWriter()
    startMessage(writer, NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE, 0, UNASKED, base.chain.table.family, 0)
    writer.be32(NFTA_TRACE_NFPROTO, run.isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6)
    writer.be32(NFTA_TRACE_TYPE, type)
    writer.be32(NFTA_TRACE_ID, packet.traceId)
    writer.string(NFTA_TRACE_CHAIN, chain.name)
    writer.string(NFTA_TRACE_TABLE, chain.table.name)
    if (rule !== undefined) writer.be64(NFTA_TRACE_RULE_HANDLE, rule.handle)
    if (type === NFT_TRACETYPE_POLICY) writer.be32(NFTA_TRACE_POLICY, base.policy)
    else writeOutcome(writer, run, verdict)
    if (packet.mark !== 0) writer.be32(NFTA_TRACE_MARK, packet.mark)
    if (first) writePacket(writer, run)
    writer.end()
    this.#sockets.multicast(NETLINK_NETFILTER, NFNLGRP_NFTRACE, writer.take(), undefined)
  }
}

function writeOutcome(writer: MessageWriter, { target }: Evaluation, verdict: number): void {
  const nest = writer.nest(NFTA_TRACE_VERDICT)
  writer.be32(NFTA_VERDICT_CODE, verdict)
  const goes = verdict === NFT_JUMP || verdict === NFT_GOTO
  if (goes && target !== undefined) writer.string(NFTA_VERDICT_CHAIN, target.name)
  writer.close(nest)
}

function writeConnection(writer: MessageWriter, packet: Packet): void {
  if (packet.connection === undefined) return
  writer.be32(NFTA_TRACE_CT_STATE, stateBit(packet))
  const connection = connectionOf(packet)
  if (connection === undefined) return
  writer.u8(NFTA_TRACE_CT_DIRECTION, directionOf(packet))
  writer.be32(NFTA_TRACE_CT_ID, connection.id)
  writer.be32(NFTA_TRACE_CT_STATUS, connection.status)
}

function writePacket(writer: MessageWriter, { packet, input, output }: Evaluation): void {
  if (input !== undefined) {
    writer.be32(NFTA_TRACE_IIF, input.index)
    writer.be16(NFTA_TRACE_IIFTYPE, input.type)
  }
  if (output !== undefined) {
    writer.be32(NFTA_TRACE_OIF, output.index)
    writer.be16(NFTA_TRACE_OIFTYPE, output.type)
  }
  const { bytes, link, network, transport, end } = packet
  const put = (type: number, from: number, to: number, most: number) => {
    const last = Math.min(to, from + most, end)
    if (last > from) writer.bytes(type, bytes.subarray(from, last))
  }
  const hasTransport = transport >= network
  put(NFTA_TRACE_NETWORK_HEADER, network, hasTransport ? transport : end, NETWORK_BYTES)
  if (hasTransport) put(NFTA_TRACE_TRANSPORT_HEADER, transport, end, TRANSPORT_BYTES)
  if (link >= 0 && link < network) put(NFTA_TRACE_LL_HEADER, link, network, LINK_BYTES)
  writeConnection(writer, packet)
}
