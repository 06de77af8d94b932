/** RTM_GETQDISC: each interface has the queueing discipline that it was born with, and no other can be set. */
import { AF_UNSPEC, NLM_F_DUMP, NLM_F_MULTI, RTM_NEWQDISC } from '../../../abi/constants.ts'
import { EOPNOTSUPP } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from './address.ts'
import { queueing } from './link-message.ts'

/** struct tcmsg: family, ifindex at 4, handle, parent, info. */
const TCMSG = { size: 20, ifindex: 4, parent: 12, info: 16 }
const TCA_KIND = 1
const TC_H_ROOT = 0xffffffff

export function getQdiscs(stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) return -EOPNOTSUPP
  const { sequence, port } = request
  return new ListDump(sortedDevices(stack), (writer, device) => {
    writer.start(RTM_NEWQDISC, NLM_F_MULTI, sequence, port)
    const at = writer.struct(TCMSG.size)
    writer.set8(at, AF_UNSPEC)
    writer.set32(at + TCMSG.ifindex, device.index)
    writer.set32(at + TCMSG.parent, TC_H_ROOT)
    writer.set32(at + TCMSG.info, 2)
    writer.string(TCA_KIND, queueing(device))
    writer.end()
  })
}
