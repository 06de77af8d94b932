/** string: a text that stands in the packet, its headers included. */
import {
  NFPROTO_UNSPEC,
  XT_STRING_FLAG_IGNORECASE,
  XT_STRING_FLAG_INVERT,
  XT_STRING_MAX_ALGO_NAME_SIZE,
  XT_STRING_MAX_PATTERN_SIZE,
} from '../../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../../abi/errno.ts'
import { XT_STRING_INFO } from '../../../../abi/layout.ts'
import { fromBytes } from '../../../../base/bytes.ts'
import { TextSearch } from '../../text-search.ts'
import type { Extension, Match } from './extension.ts'

/** All of them find the same. */
const ALGORITHMS: ReadonlySet<string> = new Set(['bm', 'kmp'])
/** So many bytes (a power of two) take as long as a rule. */
const STEP_SHIFT = 7
const FLAGS = XT_STRING_FLAG_INVERT | XT_STRING_FLAG_IGNORECASE

export const stringMatch: Extension<Match> = {
  name: 'string',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_STRING_INFO.size,
  userSize: XT_STRING_INFO.config,
  parse(info) {
    const bytes = new Uint8Array(info.buffer, info.byteOffset, info.byteLength)
    const from = info.getUint16(XT_STRING_INFO.from_offset, true)
    const to = info.getUint16(XT_STRING_INFO.to_offset, true)
    const flags = info.getUint8(XT_STRING_INFO.flags)
    const length = info.getUint8(XT_STRING_INFO.patlen)
    const { algo, pattern } = XT_STRING_INFO
    const end = bytes.subarray(algo, algo + XT_STRING_MAX_ALGO_NAME_SIZE).indexOf(0)
    if (from > to || end < 0 || length > XT_STRING_MAX_PATTERN_SIZE || (flags & ~FLAGS) !== 0) return -EINVAL
    if (!ALGORITHMS.has(fromBytes(bytes, algo, algo + end))) return -ENOENT
    if (length === 0) return -EINVAL
    const search = new TextSearch(
      bytes.slice(pattern, pattern + length),
      (flags & XT_STRING_FLAG_IGNORECASE) !== 0,
    )
    const inverted = (flags & XT_STRING_FLAG_INVERT) !== 0
    return {
      matches(run) {
        const { bytes: data, network, end } = run.packet
        const last = Math.min(network + to, end)
        run.steps -= Math.max(last - network - from, 0) >> STEP_SHIFT
        return search.isIn(data, network + from, last) !== inverted
      },
    }
  },
}
