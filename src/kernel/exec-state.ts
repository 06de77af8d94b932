/** A program that is loaded and waits for the other threads of its process to end (exec.ts): owned by the execing task. */
import type { Credentials } from '../base/credentials.ts'
import type { LoadedProgram } from '../loader/program.ts'
import type { Mm } from '../mm/mm.ts'
import type { PlatformThread } from '../platform/platform.ts'
import { HeldProgress } from './task.ts'

export class PendingExec extends HeldProgress {
  readonly thread: PlatformThread
  readonly mm: Mm
  readonly loaded: LoadedProgram
  readonly cred: Credentials
  readonly secure: boolean
  /** The new name: the last part of the path. */
  readonly comm: string
  committed = false

  constructor(
    thread: PlatformThread,
    mm: Mm,
    loaded: LoadedProgram,
    cred: Credentials,
    secure: boolean,
    comm: string,
  ) {
    super()
    this.thread = thread
    this.mm = mm
    this.loaded = loaded
    this.cred = cred
    this.secure = secure
    this.comm = comm
  }

  /** The call is over: without success the new address space goes. */
  override end(): void {
    if (!this.committed) this.mm.put()
  }
}
