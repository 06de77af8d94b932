/** hashlimit: a rate for each address, port, or both (../../hash-limit.ts). */
import {
  IFNAMSIZ,
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
  XT_HASHLIMIT_BYTE_SHIFT,
  XT_HASHLIMIT_BYTES,
  XT_HASHLIMIT_HASH_DIP,
  XT_HASHLIMIT_HASH_DPT,
  XT_HASHLIMIT_HASH_SIP,
  XT_HASHLIMIT_HASH_SPT,
  XT_HASHLIMIT_INVERT,
  XT_HASHLIMIT_SCALE,
  XT_HASHLIMIT_SCALE_v2,
} from '../../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../../abi/errno.ts'
import {
  HASHLIMIT_CFG1,
  HASHLIMIT_CFG2,
  HASHLIMIT_CFG3,
  XT_HASHLIMIT_MTINFO1,
  XT_HASHLIMIT_MTINFO2,
  XT_HASHLIMIT_MTINFO3,
} from '../../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { take64 } from '../../../../base/words.ts'
import { hasPorts } from '../../conntrack/tuple.ts'
import { costOfChunk, type HashLimit, type HashLimitConfig, type HashLimits } from '../../hash-limit.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, ExtensionContext, Match } from './extension.ts'
import { readName } from './name.ts'

const ADDRESSES_AND_PORTS =
  XT_HASHLIMIT_HASH_DIP | XT_HASHLIMIT_HASH_DPT | XT_HASHLIMIT_HASH_SIP | XT_HASHLIMIT_HASH_SPT
/** What is left out: matching on a rate that is measured over an interval (`--hashlimit-rate-match`). */
const KNOWN = ADDRESSES_AND_PORTS | XT_HASHLIMIT_INVERT | XT_HASHLIMIT_BYTES
const NAME_MAX = 255

/** How one revision's struct lies. */
interface Layout {
  readonly revision: number
  readonly info: {
    readonly size: number
    readonly name: number
    readonly cfg: number
    readonly hinfo: number
  }
  readonly config: typeof HASHLIMIT_CFG1 | typeof HASHLIMIT_CFG2 | typeof HASHLIMIT_CFG3
  readonly nameLength: number
  readonly scale: number
}
const LAYOUTS: readonly Layout[] = [
  {
    ...{ revision: 1, info: XT_HASHLIMIT_MTINFO1, config: HASHLIMIT_CFG1, nameLength: IFNAMSIZ },
    scale: XT_HASHLIMIT_SCALE,
  },
  {
    ...{ revision: 2, info: XT_HASHLIMIT_MTINFO2, config: HASHLIMIT_CFG2, nameLength: NAME_MAX },
    scale: XT_HASHLIMIT_SCALE_v2,
  },
  {
    ...{ revision: 3, info: XT_HASHLIMIT_MTINFO3, config: HASHLIMIT_CFG3, nameLength: NAME_MAX },
    scale: XT_HASHLIMIT_SCALE_v2,
  },
]

export const hashlimitMatches: readonly Extension<Match>[] = LAYOUTS.map(layout => ({
  ...{ name: 'hashlimit', revision: layout.revision, family: NFPROTO_UNSPEC, size: layout.info.size },
  userSize: layout.info.hinfo,
  parse: (info, context) => parse(info, context, layout),
}))

function parse(
  view: DataView,
  { netfilter, family }: ExtensionContext,
  { revision, info, config, nameLength, scale }: Layout,
): OrErrno<Match> {
  const at = (field: number) => info.cfg + field
  const u32 = (field: number) => view.getUint32(at(field), true)
  const wide = (field: number) => (revision === 1 ? u32(field) : take64(view, at(field)))
  const name = readName(view, info.name, nameLength)
  if (name === undefined) return -EINVAL
  const mode = u32(config.mode)
  const expire = u32(config.expire)
  if (u32(config.gc_interval) === 0 || expire === 0) return -EINVAL
  const bits = family === NFPROTO_IPV4 ? 32 : 128
  const sourceLength = view.getUint8(at(config.srcmask))
  const destinationLength = view.getUint8(at(config.dstmask))
  if (sourceLength > bits || destinationLength > bits || (mode & ~KNOWN) !== 0) return -EINVAL
  const average = wide(config.avg)
  const burst = wide(config.burst)
  let rate: Pick<HashLimitConfig, 'cost' | 'cap' | 'refills'>
  if ((mode & XT_HASHLIMIT_BYTES) !== 0) {
    if (average === 0) return -EINVAL
    const cost = costOfChunk(average)
    rate = { cost, cap: NSEC_PER_SEC, refills: burst }
  } else {
    const cost = (average * NSEC_PER_SEC) / scale
    if (burst === 0 || average === 0 || cost * burst > Number.MAX_SAFE_INTEGER) return -ERANGE
    rate = { cost, cap: cost * burst, refills: 0 }
  }
  const limit = { mode, sourceLength, destinationLength, max: u32(config.max), expire, ...rate }
  return new HashLimitMatch(netfilter.hashLimits, `${family} ${name}`, limit)
}

class HashLimitMatch implements Match {
  readonly #limits: HashLimits
  readonly #name: string
  readonly #config: HashLimitConfig
  #limit: HashLimit | undefined = undefined

  constructor(limits: HashLimits, name: string, config: HashLimitConfig) {
    this.#limits = limits
    this.#name = name
    this.#config = config
  }
  attach(): void {
    this.#limit = this.#limits.use(this.#name, this.#config)
  }
  detach(): void {
    this.#limits.unuse(this.#name)
  }

  matches(run: Evaluation): boolean {
    const { mode } = this.#config
    const limit = this.#limit!
    const key = keyOf(run, limit.config)
    if (key === undefined) return false
    const { packet, stack } = run
    const units =
      (mode & XT_HASHLIMIT_BYTES) === 0 ? 1 : ((packet.end - packet.network) >> XT_HASHLIMIT_BYTE_SHIFT) + 1
    const within = limit.allows(key, units, stack.runtime.now())
    if (within === undefined) {
      run.dropped = true
      return false
    }
    return within !== ((mode & XT_HASHLIMIT_INVERT) !== 0)
  }
}

/** As the rule that was first wants it. Undefined: it has no ports where there should be some. */
function keyOf(
  { packet }: Evaluation,
  { mode, sourceLength, destinationLength }: HashLimitConfig,
): string | undefined {
  const { source, destination, view, transport, transportProtocol, end } = packet
  let key = ''
  if ((mode & XT_HASHLIMIT_HASH_DIP) !== 0) key += destination.masked(destinationLength).key
  if ((mode & XT_HASHLIMIT_HASH_SIP) !== 0) key += source.masked(sourceLength).key
  if ((mode & (XT_HASHLIMIT_HASH_DPT | XT_HASHLIMIT_HASH_SPT)) === 0) return key
  // Other protocols' packets count as of port 0.
  if (!hasPorts(transportProtocol)) return `${key}${NO_PORTS}`
  if (transport < 0 || end - transport < 4) return undefined
  if ((mode & XT_HASHLIMIT_HASH_SPT) !== 0) key += String.fromCharCode(view.getUint16(transport))
  if ((mode & XT_HASHLIMIT_HASH_DPT) !== 0) key += String.fromCharCode(view.getUint16(transport + 2))
  return key
}
const NO_PORTS = '\0'
