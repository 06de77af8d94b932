/** The matches of x_tables that there are. */
import { NFPROTO_UNSPEC } from '../../../../abi/constants.ts'
import { XT_COMMENT_INFO, XT_MARK_MTINFO1 } from '../../../../abi/layout.ts'
import { addrtypeMatch } from './addrtype.ts'
import { bpfMatches } from './bpf.ts'
import { connbytesMatch, connlabelMatch, helperMatch } from './connection-matches.ts'
import { connlimitMatch } from './connlimit.ts'
import { connmarkMatch, conntrackMatch, stateMatch } from './conntrack.ts'
import type { Extension, Match } from './extension.ts'
import { extensionHeaderMatches } from './extension-headers.ts'
import { hashlimitMatches } from './hashlimit.ts'
import { limitMatch } from './limit.ts'
import { macMatch } from './mac.ts'
import { ownerMatch } from './owner.ts'
import { iprangeMatch, lengthMatch, pkttypeMatch, statisticMatch } from './packet.ts'
import { icmp6Match, icmpMatch, multiportMatch, tcpMatch, udpliteMatch, udpMatch } from './protocols.ts'
import { recentMatches } from './recent.ts'
import { rpfilterMatch } from './rpfilter.ts'
import { sctpMatch } from './sctp.ts'
import { securityHeaderMatches } from './security-headers.ts'
import { setMatches } from './set.ts'
import { stringMatch } from './string.ts'
import { surroundingsMatches } from './surroundings.ts'
import { tcpmssMatch } from './tcpmss.ts'
import { tosMatches } from './tos.ts'
import { socketMatches } from './transparent.ts'
import { ttlMatches } from './ttl.ts'
import { u32Match } from './u32.ts'

const commentMatch: Extension<Match> = {
  name: 'comment',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_COMMENT_INFO.size,
  parse: () => ({ matches: () => true }),
}

const markMatch: Extension<Match> = {
  name: 'mark',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_MARK_MTINFO1.size,
  parse(info) {
    const mark = info.getUint32(XT_MARK_MTINFO1.mark, true)
    const mask = info.getUint32(XT_MARK_MTINFO1.mask, true)
    const invert = info.getUint8(XT_MARK_MTINFO1.invert) !== 0
    return { matches: ({ packet }) => ((packet.mark & mask) >>> 0 === mark) !== invert }
  },
}

export const MATCHES: readonly Extension<Match>[] = [
  ...[
    addrtypeMatch,
    commentMatch,
    conntrackMatch,
    stateMatch,
    connmarkMatch,
    connlimitMatch,
    markMatch,
    limitMatch,
  ],
  ...[ownerMatch, tcpMatch, udpMatch, udpliteMatch, multiportMatch, icmpMatch, icmp6Match],
  ...[iprangeMatch, lengthMatch, macMatch, pkttypeMatch, statisticMatch],
  ...[...recentMatches, ...hashlimitMatches, connbytesMatch, helperMatch, stringMatch, u32Match],
  ...[...ttlMatches, ...tosMatches, tcpmssMatch, rpfilterMatch, ...securityHeaderMatches],
  ...[...extensionHeaderMatches, ...surroundingsMatches, ...setMatches, ...socketMatches],
  ...[...bpfMatches, sctpMatch, connlabelMatch],
]
