/** CT --notrack, and NOTRACK, its older name: the packet is not to be tracked. */
import {
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  XT_CT_NOTRACK,
  XT_CT_NOTRACK_ALIAS,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import { XT_CT_TARGET_INFO_V1 } from '../../../../abi/layout.ts'
import { UNTRACKED } from '../../conntrack/connection.ts'
import type { Extension, Target } from './extension.ts'

const POINTS = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT]

const untrack: Target = {
  apply({ packet }) {
    packet.connection ??= UNTRACKED
    return NFT_CONTINUE
  },
}

export const notrackTarget: Extension<Target> = {
  name: 'NOTRACK',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: 0,
  tables: ['raw'],
  points: POINTS,
  parse: () => untrack,
}

/** Revisions 1 and 2 differ in flags only. Zones, helpers, timeouts and events of its own there are none of. */
export const ctTargets: readonly Extension<Target>[] = [1, 2].map(revision => ({
  name: 'CT',
  revision,
  family: NFPROTO_UNSPEC,
  size: XT_CT_TARGET_INFO_V1.size,
  userSize: XT_CT_TARGET_INFO_V1.ct,
  tables: ['raw'],
  points: POINTS,
  parse(info) {
    const flags = info.getUint16(XT_CT_TARGET_INFO_V1.flags, true)
    if ((flags & ~(XT_CT_NOTRACK | XT_CT_NOTRACK_ALIAS)) !== 0) return -EINVAL
    return (flags & XT_CT_NOTRACK) === 0 ? -EOPNOTSUPP : untrack
  },
}))
