/** The records that getdents64(2) of the host returns. */
import { fromBytes } from '../../base/bytes.ts'

/** struct linux_dirent64: d_ino u64, d_off s64, d_reclen u16, d_type u8, d_name. */
const RECLEN = 16
const TYPE = 18
const NAME = 19

/** Calls `sink` for each record of bytes[0, length), '.' and '..' left out. */
export function parseDirents(
  bytes: Uint8Array,
  length: number,
  sink: (name: string, ino: number, type: number) => void,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  for (let at = 0; at + NAME < length; ) {
    const end = at + view.getUint16(at + RECLEN, true)
    if (end <= at + NAME || end > length) return
    let stop = at + NAME
    while (stop < end && bytes[stop] !== 0) stop++
    const name = fromBytes(bytes, at + NAME, stop)
    if (name !== '.' && name !== '..') {
      sink(name, view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true), bytes[at + TYPE])
    }
    at = end
  }
}
