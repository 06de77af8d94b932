/** CT: in which zone the packet is to be tracked, or that it is not to be; NOTRACK, its older name for the latter. */
import {
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  XT_CT_MASK,
  XT_CT_NOTRACK,
  XT_CT_ZONE_DIR_ORIG,
  XT_CT_ZONE_DIR_REPL,
  XT_CT_ZONE_MARK,
} from '../../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../../abi/errno.ts'
import { XT_CT_TARGET_INFO_V1 } from '../../../../abi/layout.ts'
import { UNTRACKED } from '../../conntrack/connection.ts'
import { Template, ZONE_BOTH, ZONE_ORIGINAL, ZONE_REPLY } from '../../conntrack/template.ts'
import type { Extension, ExtensionContext, Target } from './extension.ts'

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

/** Revisions 1 and 2 differ in flags only. Helpers and timeouts are none there; all connections are told of all events. */
export const ctTargets: readonly Extension<Target>[] = [1, 2].map(revision => ({
  name: 'CT',
  revision,
  family: NFPROTO_UNSPEC,
  size: XT_CT_TARGET_INFO_V1.size,
  userSize: XT_CT_TARGET_INFO_V1.ct,
  tables: ['raw'],
  points: POINTS,
  parse(info, context) {
    const flags = info.getUint16(XT_CT_TARGET_INFO_V1.flags, true)
    if ((flags & ~XT_CT_MASK) !== 0) return -EINVAL
    if ((flags & XT_CT_NOTRACK) !== 0) return untrack
    if (info.getUint8(XT_CT_TARGET_INFO_V1.helper) !== 0) return -ENOENT
    if (info.getUint8(XT_CT_TARGET_INFO_V1.timeout) !== 0) return -ENOENT
    return zoneTarget(context, info.getUint16(XT_CT_TARGET_INFO_V1.zone, true), flags)
  },
}))

function zoneTarget({ netfilter, family }: ExtensionContext, zone: number, flags: number): Target {
  const directions = zoneDirections(flags)
  const template = new Template(zone, directions)
  const byMark = (flags & XT_CT_ZONE_MARK) !== 0
  return {
    attach: () => netfilter.conntrack.use(family),
    detach: () => netfilter.conntrack.unuse(family),
    apply({ packet }) {
      const wanted = byMark ? new Template(packet.mark & 0xffff, directions) : template
      wanted.attach(packet)
      return NFT_CONTINUE
    },
  }
}

function zoneDirections(flags: number): number {
  switch (flags & (XT_CT_ZONE_DIR_ORIG | XT_CT_ZONE_DIR_REPL)) {
    case XT_CT_ZONE_DIR_ORIG:
      return ZONE_ORIGINAL
    case XT_CT_ZONE_DIR_REPL:
      return ZONE_REPLY
  }
  return ZONE_BOTH
}
