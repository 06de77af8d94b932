/** Files of pressure stall information: /proc/pressure/*, and those of cgroups. Who writes one gets a trigger, which poll(2) tells of. */
import { CAP_SYS_RESOURCE, POLLERR, POLLPRI } from '../../abi/constants.ts'
import { EBUSY, EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { type PressureSource, PressureTrigger } from '../../kernel/cgroup/pressure.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Path } from '../../vfs/path.ts'
import { PseudoFile } from '../pseudo/file.ts'
import { type CustomNode, custom, rw } from '../pseudo/node.ts'

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
    super(
      path,
      flags,
      cred,
      rw(of.format, (_subject, text) => this.#setTrigger(text)),
      subject,
    )
    this.#of = of
    this.#subject = subject
  }

  #setTrigger(text: string): Status {
    const { terminated } = this.#of
    if (text === '') return terminated ? -EINVAL : 0
    if (this.#trigger !== undefined) return -EBUSY
    const trigger = this.#parse(text.slice(0, MAX_TEXT).slice(0, terminated ? -1 : undefined))
    if (failed(trigger)) return trigger
    this.#trigger = trigger
    return 0
  }

  /** psi_trigger_create: '<some|full> <threshold µs> <window µs>'. */
  #parse(text: string): OrErrno<PressureTrigger> {
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
