/** LOG, NFLOG: tell of packets, in the kernel's log or over nfnetlink. */
import { NFPROTO_UNSPEC, NFT_CONTINUE, XT_NFLOG_F_COPY_LEN } from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_LOG_INFO, XT_NFLOG_INFO } from '../../../../abi/layout.ts'
import { fromBytes } from '../../../../base/bytes.ts'
import type { Extension, Target } from './extension.ts'

const LOG_PREFIX = 30
const NFLOG_PREFIX = 64
/** The least urgent is 7. */
const LEVELS = 8

export const logTarget: Extension<Target> = {
  name: 'LOG',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_LOG_INFO.size,
  parse(info) {
    const level = info.getUint8(XT_LOG_INFO.level)
    const flags = info.getUint8(XT_LOG_INFO.logflags)
    const prefix = readPrefix(info, XT_LOG_INFO.prefix, LOG_PREFIX)
    if (level >= LEVELS || prefix === undefined) return -EINVAL
    return {
      apply(run, { log }) {
        log.toKernel(run, level, flags, prefix)
        return NFT_CONTINUE
      },
    }
  },
}

export const nflogTarget: Extension<Target> = {
  name: 'NFLOG',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_NFLOG_INFO.size,
  parse(info) {
    const flags = info.getUint16(XT_NFLOG_INFO.flags, true)
    const prefix = readPrefix(info, XT_NFLOG_INFO.prefix, NFLOG_PREFIX)
    if ((flags & ~XT_NFLOG_F_COPY_LEN) !== 0 || prefix === undefined) return -EINVAL
    const snapshot = (flags & XT_NFLOG_F_COPY_LEN) !== 0 ? info.getUint32(XT_NFLOG_INFO.len, true) : undefined
    const group = info.getUint16(XT_NFLOG_INFO.group, true)
    const options = { group, snapshot, threshold: info.getUint16(XT_NFLOG_INFO.threshold, true) }
    return {
      apply(run, { log }) {
        log.toGroup(run, prefix, options)
        return NFT_CONTINUE
      },
    }
  },
}

/** Undefined: it doesn't end. */
function readPrefix(info: DataView, at: number, length: number): string | undefined {
  if (info.getUint8(at + length - 1) !== 0) return undefined
  const bytes = new Uint8Array(info.buffer, info.byteOffset + at, length)
  return fromBytes(bytes, 0, bytes.indexOf(0))
}
