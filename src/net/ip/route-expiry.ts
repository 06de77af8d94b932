/** RouteExpiry: takes routes with an end (RTA_EXPIRES, router advertisements) out of the tables when it has come. */
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpStack } from '../ip-stack.ts'
import type { FibRoute } from './fib.ts'

export class RouteExpiry implements Expiry {
  readonly #stack: IpStack
  readonly #timer = new Timer(this)

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** A route was added, or its end has moved. */
  watch(route: FibRoute): void {
    if (route.expires < this.#timer.deadline) this.#stack.timers.add(this.#timer, route.expires)
  }

  expired(): void {
    const now = this.#stack.runtime.now()
    let next = Number.POSITIVE_INFINITY
    for (const route of [...this.#stack.fib6.routes()]) {
      if (route.expires <= now) this.#stack.removeRoute(route)
      else next = Math.min(next, route.expires)
    }
    this.#stack.timers.add(this.#timer, next)
  }

  close(): void {
    this.#stack.timers.cancel(this.#timer)
  }
}
