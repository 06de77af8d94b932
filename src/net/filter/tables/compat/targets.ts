/** The targets of x_tables that there are. */
import {
  D_SHIFT_RIGHT,
  NF_ACCEPT,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_NAT_RANGE_MAP_IPS,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  XT_CONNMARK_RESTORE,
  XT_CONNMARK_SAVE,
  XT_CONNMARK_SET,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import {
  NF_NAT_IPV4_MULTI_RANGE,
  NF_NAT_RANGE,
  NF_NAT_RANGE2,
  XT_CONNMARK_TGINFO1,
  XT_CONNMARK_TGINFO2,
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
import { nfqueueTargets } from './nfqueue.ts'
import { ctTargets, notrackTarget } from './notrack.ts'
import { packetTargets } from './packet-targets.ts'
import { reject6Target, rejectTarget } from './reject.ts'
import { setTargets } from './set.ts'
import { tcpHeaderTargets } from './tcp-header.ts'
import { tcpmssTargets } from './tcpmss.ts'
import { teeTargets } from './tee.ts'
import { tosTargets } from './tos.ts'
import { transparentTargets } from './transparent.ts'
import { ttlTargets } from './ttl.ts'

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

/** Of NETMAP, which needs addresses. */
const NETWORK_V4: Layout = { ...MULTI_RANGE, read: info => withAddresses(readMultiRange(info)) }
const NETWORK_V6: Layout = {
  ...RANGE_V6,
  read: info => withAddresses(readRange(info, false, false)),
}
function withAddresses(range: OrErrno<NatRange>): OrErrno<NatRange> {
  return typeof range === 'number' || (range.flags & NF_NAT_RANGE_MAP_IPS) !== 0 ? range : -EINVAL
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
    tables: ['nat'],
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

/** NETMAP: the network's part of an address becomes another one, the host's stays. */
const toNetwork: ApplyNat = ({ packet, point }, { nat }, range) => {
  const connection = connectionOf(packet)
  if (connection === undefined) return NF_ACCEPT
  const source = SOURCE_POINTS.includes(point)
  const { minAddress: low, maxAddress: high } = range
  const address = (source ? packet.source : packet.destination).withNetwork(low!, high!)
  return nat.setUp(connection, { ...range, minAddress: address, maxAddress: address }, source)
}

const LEAVING = [NF_INET_POST_ROUTING]
const SOURCE_POINTS = [NF_INET_POST_ROUTING, NF_INET_LOCAL_IN]
const DESTINATION_POINTS = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT]
const ALL_POINTS = [...SOURCE_POINTS, ...DESTINATION_POINTS]

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

/** Revision 2 shifts the mark, too. */
function connmarkTarget(revision: number): Extension<Target> {
  const shifts = revision === 2
  return {
    ...{ name: 'CONNMARK', revision, family: NFPROTO_UNSPEC, usesConntrack: true },
    size: shifts ? XT_CONNMARK_TGINFO2.size : XT_CONNMARK_TGINFO1.size,
    parse(info) {
      const mark = info.getUint32(XT_CONNMARK_TGINFO1.ctmark, true)
      const connectionMask = info.getUint32(XT_CONNMARK_TGINFO1.ctmask, true)
      const packetMask = info.getUint32(XT_CONNMARK_TGINFO1.nfmask, true)
      const mode = info.getUint8(shifts ? XT_CONNMARK_TGINFO2.mode : XT_CONNMARK_TGINFO1.mode)
      const bits = shifts ? info.getUint8(XT_CONNMARK_TGINFO2.shift_bits) : 0
      const isRight = shifts && info.getUint8(XT_CONNMARK_TGINFO2.shift_dir) === D_SHIFT_RIGHT
      if (mode > XT_CONNMARK_RESTORE) return -EINVAL
      const shift = (value: number) => {
        if (bits > 31) return 0
        return isRight ? value >>> bits : (value << bits) >>> 0
      }
      return {
        apply({ packet }) {
          const connection = connectionOf(packet)
          if (connection === undefined) return NFT_CONTINUE
          const { mark: old } = connection
          if (mode === XT_CONNMARK_SET) connection.mark = shift(((old & ~connectionMask) ^ mark) >>> 0)
          else if (mode === XT_CONNMARK_SAVE)
            connection.mark = ((old & ~connectionMask) ^ shift((packet.mark & packetMask) >>> 0)) >>> 0
          else packet.mark = ((packet.mark & ~packetMask) ^ shift((old & connectionMask) >>> 0)) >>> 0
          return NFT_CONTINUE
        },
      }
    },
  }
}
export const TARGETS: readonly Extension<Target>[] = [
  ...[MULTI_RANGE, RANGE_V6].map(layout => natTarget('MASQUERADE', layout, LEAVING, toOutput)),
  ...[MULTI_RANGE, RANGE_V6].map(layout => natTarget('REDIRECT', layout, DESTINATION_POINTS, toInput)),
  ...[MULTI_RANGE, RANGE, RANGE2].map(layout => natTarget('SNAT', layout, SOURCE_POINTS, setUp(true))),
  ...[MULTI_RANGE, RANGE, RANGE2].map(layout => natTarget('DNAT', layout, DESTINATION_POINTS, setUp(false))),
  ...[NETWORK_V4, NETWORK_V6].map(layout => natTarget('NETMAP', layout, ALL_POINTS, toNetwork)),
  ...[rejectTarget, reject6Target, markTarget, ...[1, 2].map(connmarkTarget)],
  ...[logTarget, nflogTarget, notrackTarget, ...ctTargets, ...tcpmssTargets],
  ...[...ttlTargets, ...tosTargets, ...packetTargets, ...setTargets, ...transparentTargets],
  ...[...nfqueueTargets, ...teeTargets, ...tcpHeaderTargets],
]
