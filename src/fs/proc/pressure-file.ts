/** Files of pressure stall information: /proc/pressure/*, and those of cgroups. Who writes one gets a trigger, which poll(2) tells of. */
import { CAP_SYS_RESOURCE, POLLERR, POLLPRI } from '../../abi/constants.ts'
import { EBUSY, EINVAL } from '../../abi/errno.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoSrc } from '../../base/io.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { type PressureSource, PressureTrigger } from '../../kernel/cgroup/pressure.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Path } from '../../vfs/path.ts'
import { PseudoFile } from '../pseudo/file.ts'
import { type CustomNode, custom, ro } from '../pseudo/node.ts'

const US = 1000
const LEAST_WINDOW = 500_000
const MOST_WINDOW = 10_000_000
/** What those without CAP_SYS_RESOURCE may choose is a multiple of this. */
const AVERAGE_PERIOD = 2_000_000
/** psi_write takes so many bytes, the last of which it takes for the terminator. */
const MAX_TEXT = 32

interface PressureOf<T> {
  kernel(subject: T): Kernel
  source(subject: T): PressureSource
  format(subject: T): string
  /** Of /proc, where a write is cut by its last byte. */
  readonly terminated: boolean
}

export function pressureFile<T extends object>(of: PressureOf<T>, mode: number): CustomNode<T> {
  return custom((subject, path, flags, cred) => new PressureFile(path, flags, cred, of, subject), mode)
}

class PressureFile<T extends object> extends PseudoFile<T> {
  readonly #of: PressureOf<T>
  readonly #subject: T
  #trigger: PressureTrigger | undefined = undefined

  constructor(path: Path, flags: number, cred: Credentials, of: PressureOf<T>, subject: T) {
    super(path, flags, cred, ro(of.format), subject)
    this.#of = of
    this.#subject = subject
  }

  override writeAt(from: IoSrc, _offset: number): number {
    const length = from.remaining
    if (length === 0) return this.#of.terminated ? -EINVAL : 0
    const bytes = new Uint8Array(Math.min(length, MAX_TEXT))
    const n = from.take(bytes)
    if (n < 0) return n
    const text = fromBytes(bytes, 0, this.#of.terminated ? n - 1 : n)
    if (this.#trigger !== undefined) return -EBUSY
    const trigger = this.#parse(text)
    if (typeof trigger === 'number') return trigger
    this.#trigger = trigger
    return length
  }

  /** psi_trigger_create: '<some|full> <threshold µs> <window µs>'. */
  #parse(text: string): PressureTrigger | number {
    const match = /^(some|full)\s+(\d+)\s+(\d+)/.exec(text)
    if (match === null) return -EINVAL
    const threshold = Number(match[2])
    const window = Number(match[3])
    if (window < LEAST_WINDOW || window > MOST_WINDOW) return -EINVAL
    if (!this.cred.effective.has(CAP_SYS_RESOURCE) && window % AVERAGE_PERIOD !== 0) return -EINVAL
    if (threshold === 0 || threshold > window) return -EINVAL
    const source = this.#of.source(this.#subject)
    return new PressureTrigger(
      this.#of.kernel(this.#subject),
      source,
      match[1] === 'full',
      threshold * US,
      window * US,
    )
  }

  override get waitQueue(): WaitQueue | undefined {
    return this.#trigger?.queue
  }
  /** Without a trigger it looks like an error. */
  override poll(): number {
    if (this.#trigger === undefined) return super.poll() | POLLERR | POLLPRI
    return this.#trigger.take() ? super.poll() | POLLPRI : super.poll()
  }
  override release(): void {
    this.#trigger?.end()
    super.release()
  }
}
