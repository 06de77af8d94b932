import { O_CLOEXEC } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from './user-error.ts'

export interface Pipe {
  readonly reader: number
  readonly writer: number
}

/** pipe2(2); both ends are the caller's to close. */
export function newPipe(addon: Addon): Pipe {
  const ends = new Int32Array(2)
  const status = addon.syscall(NR.pipe2, new Uint8Array(ends.buffer), O_CLOEXEC)
  if (status < 0) throw new UserError(`a pipe can't be made: ${errnoName(-status)}`)
  return { reader: ends[0], writer: ends[1] }
}
