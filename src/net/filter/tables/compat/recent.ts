/** recent: when an address was seen, by lists that have names (../../recent.ts). */
import {
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
  XT_RECENT_CHECK,
  XT_RECENT_DEST,
  XT_RECENT_MODIFIERS,
  XT_RECENT_NAME_LEN,
  XT_RECENT_REAP,
  XT_RECENT_REMOVE,
  XT_RECENT_SET,
  XT_RECENT_TTL,
  XT_RECENT_UPDATE,
  XT_RECENT_VALID_FLAGS,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_RECENT_MTINFO, XT_RECENT_MTINFO_V1 } from '../../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { IpAddress } from '../../../address.ts'
import { hopLimitOf } from '../../header-fields.ts'
import { MAX_STAMPS, type RecentList, type RecentLists, stampsFor } from '../../recent.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, ExtensionContext, Match } from './extension.ts'
import { readName } from './name.ts'

const WHAT = XT_RECENT_SET | XT_RECENT_REMOVE | XT_RECENT_CHECK | XT_RECENT_UPDATE

/** The structs differ only in that the newer one has a mask, at its end. */
export const recentMatches: readonly Extension<Match>[] = [XT_RECENT_MTINFO, XT_RECENT_MTINFO_V1].map(
  ({ size }, revision) => ({
    ...{ name: 'recent', revision, family: NFPROTO_UNSPEC, size },
    parse(info, context) {
      const isV4 = context.family === NFPROTO_IPV4
      const mask = revision === 0 ? undefined : IpAddress.read(info, XT_RECENT_MTINFO_V1.mask, isV4)
      return parse(info, context, mask)
    },
  }),
)

function parse(
  info: DataView,
  { netfilter, family }: ExtensionContext,
  mask: IpAddress | undefined,
): OrErrno<Match> {
  const seconds = info.getUint32(XT_RECENT_MTINFO.seconds, true)
  const hits = info.getUint32(XT_RECENT_MTINFO.hit_count, true)
  const flags = info.getUint8(XT_RECENT_MTINFO.check_set)
  if ((flags & ~XT_RECENT_VALID_FLAGS) !== 0) return -EINVAL
  const what = flags & WHAT
  if (what === 0 || (what & (what - 1)) !== 0) return -EINVAL
  const changes = (what & (XT_RECENT_SET | XT_RECENT_REMOVE)) !== 0
  if (changes && (seconds !== 0 || hits !== 0 || (flags & XT_RECENT_MODIFIERS) !== 0)) return -EINVAL
  if ((flags & XT_RECENT_REAP) !== 0 && seconds === 0) return -EINVAL
  if (hits >= MAX_STAMPS) return -EINVAL
  const name = readName(info, XT_RECENT_MTINFO.name, XT_RECENT_NAME_LEN)
  if (name === undefined) return -EINVAL
  return new Recent(netfilter.recent, {
    ...{ seconds, hits, flags, mask, family },
    invert: info.getUint8(XT_RECENT_MTINFO.invert) !== 0,
    list: name,
    ofDestination: info.getUint8(XT_RECENT_MTINFO.side) === XT_RECENT_DEST,
  })
}

interface Question {
  readonly seconds: number
  readonly hits: number
  /** XT_RECENT_* */
  readonly flags: number
  readonly invert: boolean
  readonly list: string
  readonly family: number
  readonly ofDestination: boolean
  readonly mask: IpAddress | undefined
}

class Recent implements Match {
  readonly #lists: RecentLists
  readonly #question: Question
  #list: RecentList | undefined = undefined

  constructor(lists: RecentLists, question: Question) {
    this.#lists = lists
    this.#question = question
  }
  attach(): void {
    const { list, hits, mask } = this.#question
    this.#list = this.#lists.use(list, stampsFor(hits), mask)
  }
  detach(): void {
    this.#lists.unuse(this.#question.list)
  }

  matches({ stack, packet, output }: Evaluation): boolean {
    const { flags, invert, ofDestination, seconds, hits } = this.#question
    const list = this.#list!
    const now = stack.runtime.now()
    const address = list.masked(ofDestination ? packet.destination : packet.source)
    // Of what is forwarded as it was when it came in.
    const ttl = hopLimitOf(packet) + (output !== undefined && packet.owner === undefined ? 1 : 0)
    const entry = list.find(address, (flags & XT_RECENT_TTL) !== 0 ? ttl : 0)
    if ((flags & XT_RECENT_SET) !== 0) {
      list.see(address, ttl, now)
      return !invert
    }
    if (entry === undefined) return invert
    if ((flags & XT_RECENT_REMOVE) !== 0) {
      list.remove(address)
      return !invert
    }
    const since = seconds === 0 ? Number.NEGATIVE_INFINITY : now - seconds * NSEC_PER_SEC
    const found = entry.seenSince(since) >= Math.max(hits, 1) !== invert
    if ((flags & XT_RECENT_REAP) !== 0)
      list.reap(since, (flags & XT_RECENT_UPDATE) !== 0 && found ? entry : undefined)
    if ((flags & XT_RECENT_UPDATE) !== 0 && found) list.see(address, ttl, now)
    return found
  }
}
