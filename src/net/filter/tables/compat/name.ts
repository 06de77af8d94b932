/** Names that matches give to what they share. */
import { fromBytes } from '../../../../base/bytes.ts'

/** xt_check_proc_name: on Linux they are names of files, too. Undefined: it can't be one, or it doesn't end. */
export function readName(info: DataView, at: number, length: number): string | undefined {
  const bytes = new Uint8Array(info.buffer, info.byteOffset + at, length)
  const end = bytes.indexOf(0)
  if (end <= 0) return undefined
  const name = fromBytes(bytes, 0, end)
  return name === '.' || name === '..' || name.includes('/') ? undefined : name
}
