/** sctp: ports, and the kinds of chunks: RFC 9260. */
import {
  IPPROTO_SCTP,
  NFPROTO_UNSPEC,
  XT_SCTP_CHUNK_TYPES,
  XT_SCTP_DEST_PORTS,
  XT_SCTP_SRC_PORTS,
  XT_SCTP_VALID_FLAGS,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_SCTP_INFO as INFO, XT_SCTP_FLAG_INFO } from '../../../../abi/layout.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'

/** Which of the kinds that are asked for must be there: some, all, or nothing else. */
const SCTP_CHUNK_MATCH_ANY = 1
const SCTP_CHUNK_MATCH_ALL = 2
const SCTP_CHUNK_MATCH_ONLY = 4
const HEADER = 12
const CHUNK_HEADER = 4
/** XT_NUM_SCTP_FLAGS */
const MAX_FLAGS = 4
const TYPES_WORDS = 8

export const sctpMatch: Extension<Match> = {
  name: 'sctp',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: INFO.size,
  protocol: IPPROTO_SCTP,
  parse(info) {
    const flags = info.getUint32(INFO.flags, true)
    const inverted = info.getUint32(INFO.invflags, true)
    const how = info.getUint32(INFO.chunk_match_type, true)
    const count = info.getInt32(INFO.flag_count, true)
    if ((flags & ~XT_SCTP_VALID_FLAGS) !== 0 || (inverted & ~XT_SCTP_VALID_FLAGS) !== 0) return -EINVAL
    if ((inverted & ~flags) !== 0 || count > MAX_FLAGS || count < 0) return -EINVAL
    const known =
      how === SCTP_CHUNK_MATCH_ALL || how === SCTP_CHUNK_MATCH_ANY || how === SCTP_CHUNK_MATCH_ONLY
    if ((flags & XT_SCTP_CHUNK_TYPES) !== 0 && !known) return -EINVAL
    const fits = (flag: number, found: () => boolean) =>
      (flags & flag) === 0 || found() !== ((inverted & flag) !== 0)
    const within = (at: number, port: number) =>
      port >= info.getUint16(at, true) && port <= info.getUint16(at + 2, true)
    return {
      matches(run) {
        const { view, transport, end } = run.packet
        if (transport < 0 || end - transport < HEADER) {
          run.dropped ||= transport >= 0
          return false
        }
        return (
          fits(XT_SCTP_SRC_PORTS, () => within(INFO.spts, view.getUint16(transport))) &&
          fits(XT_SCTP_DEST_PORTS, () => within(INFO.dpts, view.getUint16(transport + 2))) &&
          fits(XT_SCTP_CHUNK_TYPES, () => chunksFit(run, info, how, count))
        )
      },
    }
  },
}

function chunksFit(run: Evaluation, info: DataView, how: number, count: number): boolean {
  const { view, transport, end } = run.packet
  const left = new Uint32Array(TYPES_WORDS)
  for (let i = 0; i < TYPES_WORDS; i++) left[i] = info.getUint32(INFO.chunkmap + 4 * i, true)
  const asked = (type: number) =>
    (info.getUint32(INFO.chunkmap + 4 * (type >> 5), true) & (1 << (type & 31))) !== 0
  let at = transport + HEADER
  do {
    const length = at + CHUNK_HEADER <= end ? view.getUint16(at + 2) : 0
    if (length === 0) {
      run.dropped = true
      return false
    }
    const type = view.getUint8(at)
    if (asked(type)) {
      const fits = flagsFit(info, count, type, view.getUint8(at + 1))
      if (how === SCTP_CHUNK_MATCH_ANY && fits) return true
      if (how === SCTP_CHUNK_MATCH_ALL && fits) left[type >> 5] &= ~(1 << (type & 31))
      if (how === SCTP_CHUNK_MATCH_ONLY && !fits) return false
    } else if (how === SCTP_CHUNK_MATCH_ONLY) return false
    at += (length + 3) & ~3
  } while (at < end)
  if (how === SCTP_CHUNK_MATCH_ALL) return left.every(word => word === 0)
  return how === SCTP_CHUNK_MATCH_ONLY
}

/** What is asked of the flags of chunks of this type, if anything is. */
function flagsFit(info: DataView, count: number, type: number, flags: number): boolean {
  for (let i = 0; i < count; i++) {
    const at = INFO.flag_info + i * XT_SCTP_FLAG_INFO.size
    if (info.getUint8(at + XT_SCTP_FLAG_INFO.chunktype) === type)
      return (
        (flags & info.getUint8(at + XT_SCTP_FLAG_INFO.flag_mask)) ===
        info.getUint8(at + XT_SCTP_FLAG_INFO.flag)
      )
  }
  return true
}
