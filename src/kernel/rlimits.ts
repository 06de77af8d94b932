/** Resource limits of a process: setrlimit(2). RLIM_INFINITY is Infinity here and all ones for the guest. */
import {
  RLIM_NLIMITS,
  RLIMIT_CORE,
  RLIMIT_MEMLOCK,
  RLIMIT_MSGQUEUE,
  RLIMIT_NICE,
  RLIMIT_NOFILE,
  RLIMIT_RTPRIO,
  RLIMIT_SIGPENDING,
  RLIMIT_STACK,
} from '../abi/constants.ts'

export class Rlimits {
  readonly #soft: number[]
  readonly #hard: number[]

  constructor(soft: readonly number[], hard: readonly number[]) {
    this.#soft = [...soft]
    this.#hard = [...hard]
  }

  /** The limit in force (rlim_cur), such as `rlimits.soft(RLIMIT_NOFILE)`. */
  soft(resource: number): number {
    return this.#soft[resource]
  }
  hard(resource: number): number {
    return this.#hard[resource]
  }
  set(resource: number, soft: number, hard: number): void {
    this.#soft[resource] = soft
    this.#hard[resource] = hard
  }
  clone(): Rlimits {
    return new Rlimits(this.#soft, this.#hard)
  }
}

/** What a container's first process gets. */
export function defaultRlimits(): Rlimits {
  const infinite = new Array<number>(RLIM_NLIMITS).fill(Number.POSITIVE_INFINITY)
  const limits = new Rlimits(infinite, infinite)
  limits.set(RLIMIT_STACK, 8 << 20, Number.POSITIVE_INFINITY)
  limits.set(RLIMIT_CORE, 0, Number.POSITIVE_INFINITY)
  limits.set(RLIMIT_NOFILE, 1024, 1048576)
  limits.set(RLIMIT_MEMLOCK, 8 << 20, 8 << 20)
  limits.set(RLIMIT_SIGPENDING, 63457, 63457)
  limits.set(RLIMIT_MSGQUEUE, 819200, 819200)
  limits.set(RLIMIT_NICE, 0, 0)
  limits.set(RLIMIT_RTPRIO, 0, 0)
  return limits
}
