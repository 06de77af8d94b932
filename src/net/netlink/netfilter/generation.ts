/** NFT_MSG_NEWGEN: how often the rules have changed. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFPROTO_UNSPEC,
  NFT_MSG_NEWGEN,
  NFTA_GEN_ID,
  NFTA_GEN_PROC_NAME,
  NFTA_GEN_PROC_PID,
} from '../../../abi/constants.ts'
import type { Ruleset } from '../../filter/tables/ruleset.ts'
import type { MessageWriter } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { startMessage } from './header.ts'

/** With who asks, or has changed them. */
export function writeGeneration(
  writer: MessageWriter,
  { generation }: Ruleset,
  request: NetlinkRequest,
): void {
  const { task } = request
  startMessage(writer, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, 0, request, NFPROTO_UNSPEC, generation)
  writer.be32(NFTA_GEN_ID, generation)
  writer.be32(NFTA_GEN_PROC_PID, task.pid.in(task.pidNs))
  writer.string(NFTA_GEN_PROC_NAME, task.comm)
  writer.end()
}
