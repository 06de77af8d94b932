/** The targets of x_tables that there are. */
import {
  NF_ACCEPT,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import {
  NF_NAT_IPV4_MULTI_RANGE,
  NF_NAT_RANGE,
  NF_NAT_RANGE2,
  XT_CONNMARK_TGINFO1,
  XT_MARK_TGINFO2,
} from '../../../../abi/layout.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { connectionOf } from '../../conntrack/connection.ts'
import { masquerade, redirect } from '../../nat/masquerade.ts'
import type { NatRange } from '../../nat/range.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Target } from './extension.ts'
import { logTarget, nflogTarget } from './log.ts'
import { readMultiRange, readRange } from './nat-range.ts'
import { ctTargets, notrackTarget } from './notrack.ts'
import { reject6Target, rejectTarget } from './reject.ts'
import { tcpmssTargets } from './tcpmss.ts'

type ApplyNat = (run: Evaluation, netfilter: Netfilter, range: NatRange) => number
interface Layout {
  readonly revision: number
  readonly family: number
  readonly size: number
  read(info: DataView, isV4: boolean): OrErrno<NatRange>
}

const MULTI_RANGE: Layout = {
  revision: 0,
  family: NFPROTO_IPV4,
  size: NF_NAT_IPV4_MULTI_RANGE.size,
  read: readMultiRange,
}
const RANGE_V6: Layout = {
  revision: 0,
  family: NFPROTO_IPV6,
  size: NF_NAT_RANGE.size,
  read: (info, isV4) => readRange(info, isV4, false),
}
const RANGE: Layout = {
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: NF_NAT_RANGE.size,
  read: (info, isV4) => readRange(info, isV4, false),
}
const RANGE2: Layout = {
  revision: 2,
  family: NFPROTO_UNSPEC,
  size: NF_NAT_RANGE2.size,
  read: (info, isV4) => readRange(info, isV4, true),
}

function natTarget(
  name: string,
  layout: Layout,
  points: readonly number[],
  apply: ApplyNat,
): Extension<Target> {
  const { revision, family, size } = layout
  return {
    ...{ name, revision, family, size, points },
    chainType: 'nat',
    table: 'nat',
    usesConntrack: true,
    parse(info, context) {
      const range = layout.read(info, context.family === NFPROTO_IPV4)
      if (typeof range === 'number') return range
      return { apply: (run, netfilter) => apply(run, netfilter, range) }
    },
  }
}

function setUp(source: boolean): ApplyNat {
  return ({ packet }, { nat }, range) => {
    const connection = connectionOf(packet)
    return connection === undefined ? NF_ACCEPT : nat.setUp(connection, range, source)
  }
}
const toOutput: ApplyNat = (run, { nat }, range) => masquerade(run.stack, nat, run.packet, run.output, range)
const toInput: ApplyNat = (run, { nat }, range) =>
  redirect(run.stack, nat, run.packet, run.point, run.input, range)

const LEAVING = [NF_INET_POST_ROUTING]
const SOURCE_POINTS = [NF_INET_POST_ROUTING, NF_INET_LOCAL_IN]
const DESTINATION_POINTS = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT]

const markTarget: Extension<Target> = {
  name: 'MARK',
  revision: 2,
  family: NFPROTO_UNSPEC,
  size: XT_MARK_TGINFO2.size,
  parse(info) {
    const mark = info.getUint32(XT_MARK_TGINFO2.mark, true)
    const mask = info.getUint32(XT_MARK_TGINFO2.mask, true)
    return {
      apply({ packet }) {
        packet.mark = ((packet.mark & ~mask) ^ mark) >>> 0
        return NFT_CONTINUE
      },
    }
  },
}

/** XT_CONNMARK_SET, XT_CONNMARK_SAVE, XT_CONNMARK_RESTORE. */
const SET = 0
const SAVE = 1
const RESTORE = 2

const connmarkTarget: Extension<Target> = {
  name: 'CONNMARK',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_CONNMARK_TGINFO1.size,
  usesConntrack: true,
  parse(info) {
    const mark = info.getUint32(XT_CONNMARK_TGINFO1.ctmark, true)
    const connectionMask = info.getUint32(XT_CONNMARK_TGINFO1.ctmask, true)
    const packetMask = info.getUint32(XT_CONNMARK_TGINFO1.nfmask, true)
    const mode = info.getUint8(XT_CONNMARK_TGINFO1.mode)
    if (mode > RESTORE) return -EINVAL
    return {
      apply({ packet }) {
        const connection = connectionOf(packet)
        if (connection === undefined) return NFT_CONTINUE
        const { mark: old } = connection
        if (mode === SET) connection.mark = ((old & ~connectionMask) ^ mark) >>> 0
        else if (mode === SAVE) connection.mark = ((old & ~connectionMask) ^ (packet.mark & packetMask)) >>> 0
        else packet.mark = ((packet.mark & ~packetMask) ^ (old & connectionMask)) >>> 0
        return NFT_CONTINUE
      },
    }
  },
}

export const TARGETS: readonly Extension<Target>[] = [
  ...[MULTI_RANGE, RANGE_V6].map(layout => natTarget('MASQUERADE', layout, LEAVING, toOutput)),
  ...[MULTI_RANGE, RANGE_V6].map(layout => natTarget('REDIRECT', layout, DESTINATION_POINTS, toInput)),
  ...[MULTI_RANGE, RANGE, RANGE2].map(layout => natTarget('SNAT', layout, SOURCE_POINTS, setUp(true))),
  ...[MULTI_RANGE, RANGE, RANGE2].map(layout => natTarget('DNAT', layout, DESTINATION_POINTS, setUp(false))),
  ...[rejectTarget, reject6Target, markTarget, connmarkTarget],
  ...[logTarget, nflogTarget, notrackTarget, ...ctTargets, ...tcpmssTargets],
]
