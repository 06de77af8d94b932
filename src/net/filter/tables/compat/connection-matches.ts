/** connbytes, connlabel, helper: of the packet's connection as a whole. */
import {
  NFPROTO_UNSPEC,
  XT_CONNBYTES_AVGPKT,
  XT_CONNBYTES_BYTES,
  XT_CONNBYTES_DIR_BOTH,
  XT_CONNBYTES_PKTS,
  XT_CONNLABEL_MAXBIT,
  XT_CONNLABEL_OP_INVERT,
  XT_CONNLABEL_OP_SET,
} from '../../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../../abi/errno.ts'
import { XT_CONNBYTES_INFO, XT_CONNLABEL_MTINFO, XT_HELPER_INFO } from '../../../../abi/layout.ts'
import { take64 } from '../../../../base/words.ts'
import { connectionOf } from '../../conntrack/connection.ts'
import { hasLabel, setLabel } from '../../conntrack/labels.ts'
import type { Extension, Match } from './extension.ts'

export const connbytesMatch: Extension<Match> = {
  name: 'connbytes',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_CONNBYTES_INFO.size,
  usesConntrack: true,
  parse(info, { netfilter }) {
    const from = take64(info, XT_CONNBYTES_INFO.from)
    const to = take64(info, XT_CONNBYTES_INFO.to)
    const what = info.getUint8(XT_CONNBYTES_INFO.what)
    const direction = info.getUint8(XT_CONNBYTES_INFO.direction)
    if (what > XT_CONNBYTES_AVGPKT || direction > XT_CONNBYTES_DIR_BOTH) return -EINVAL
    // Only what is counted can be asked for.
    netfilter.conntrack.settings.nf_conntrack_acct = 1
    return {
      matches({ packet }) {
        const counters = connectionOf(packet)?.counters
        if (counters === undefined) return false
        const sum = (which: number) =>
          direction === XT_CONNBYTES_DIR_BOTH
            ? counters[which] + counters[2 + which]
            : counters[2 * direction + which]
        let value = sum(what === XT_CONNBYTES_PKTS ? 0 : 1)
        if (what !== XT_CONNBYTES_PKTS && what !== XT_CONNBYTES_BYTES)
          value = sum(0) === 0 ? 0 : Math.floor(value / sum(0))
        // A range that ends before it begins is what is left out.
        return to >= from ? value >= from && value <= to : value < to || value > from
      },
    }
  },
}

export const connlabelMatch: Extension<Match> = {
  name: 'connlabel',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_CONNLABEL_MTINFO.size,
  usesConntrack: true,
  parse(info) {
    const bit = info.getUint16(XT_CONNLABEL_MTINFO.bit, true)
    const options = info.getUint16(XT_CONNLABEL_MTINFO.options, true)
    const known = XT_CONNLABEL_OP_INVERT | XT_CONNLABEL_OP_SET
    if ((options & ~known) !== 0) return -EINVAL
    if (bit > XT_CONNLABEL_MAXBIT) return -ERANGE
    const invert = (options & XT_CONNLABEL_OP_INVERT) !== 0
    const sets = (options & XT_CONNLABEL_OP_SET) !== 0
    return {
      matches({ packet }) {
        const connection = connectionOf(packet)
        if (connection === undefined) return invert
        if (sets) setLabel(connection, bit)
        return hasLabel(connection, bit) !== invert
      },
    }
  },
}

/** There are no helpers, so no connection has come from one. */
export const helperMatch: Extension<Match> = {
  name: 'helper',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_HELPER_INFO.size,
  usesConntrack: true,
  parse(info) {
    const invert = info.getInt32(XT_HELPER_INFO.invert, true) !== 0
    return { matches: () => invert }
  },
}
