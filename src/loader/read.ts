/** Reading an executable's headers. */
import { BufferDst } from '../base/io.ts'
import type { File } from '../vfs/file.ts'

/** Fills `into` from `offset` on as far as the file goes: the count, or a negative errno. */
export function readFully(file: File, into: Uint8Array, offset: number): number {
  let done = 0
  while (done < into.length) {
    const read = file.readAt(new BufferDst(into.subarray(done)), offset + done)
    if (read < 0) return read
    if (read === 0) break
    done += read
  }
  return done
}
