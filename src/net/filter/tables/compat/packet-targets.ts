/** CLASSIFY, CHECKSUM, TRACE: what a packet is treated as further on. */
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  XT_CHECKSUM_OP_FILL,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_CHECKSUM_INFO, XT_CLASSIFY_TARGET_INFO } from '../../../../abi/layout.ts'
import { GSO_NONE } from '../../../packet.ts'
import type { Extension, Target } from './extension.ts'

const classifyTarget: Extension<Target> = {
  name: 'CLASSIFY',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_CLASSIFY_TARGET_INFO.size,
  points: [NF_INET_LOCAL_OUT, NF_INET_FORWARD, NF_INET_POST_ROUTING],
  parse(info) {
    const priority = info.getUint32(XT_CLASSIFY_TARGET_INFO.priority, true)
    return {
      apply({ packet }) {
        packet.priority = priority
        return NFT_CONTINUE
      },
    }
  },
}

/** For those who take packets whose checksum is only begun for wrong: DHCP clients in virtual machines. */
const checksumTarget: Extension<Target> = {
  name: 'CHECKSUM',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_CHECKSUM_INFO.size,
  tables: ['mangle'],
  parse(info) {
    if (info.getUint8(XT_CHECKSUM_INFO.operation) !== XT_CHECKSUM_OP_FILL) return -EINVAL
    return {
      apply({ packet }) {
        // What is still to be split has a checksum for each of its parts later.
        if (packet.gsoType === GSO_NONE) packet.completeChecksum()
        return NFT_CONTINUE
      },
    }
  },
}

/** As `meta nftrace`. What iptables-legacy's rules do with the packet nobody is told: no logger is bound for that, as usual in Linux. */
const traceTarget: Extension<Target> = {
  name: 'TRACE',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: 0,
  tables: ['raw'],
  parse: () => ({
    apply({ stack, packet }) {
      packet.traceId ||= stack.random.u32() || 1
      return NFT_CONTINUE
    },
  }),
}

export const packetTargets = [classifyTarget, checksumTarget, traceTarget]
