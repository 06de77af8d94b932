/** What the queueing of one namespace's devices has in common. */
import { ActionTable } from './actions/action.ts'
import { Frame } from './filter.ts'

/** Handles that are given out begin at 8001:. */
const FIRST_HANDLE = 0x8001
const LAST_HANDLE = 0xfffe

export class TrafficNamespace {
  readonly actions = new ActionTable()
  /** The packet that is looked at: used again for each. */
  readonly frame = new Frame()
  /** How many redirections the packet that is being sent is inside of. */
  redirections = 0
  /** How many more the packet may cause that was sent or came in first: copies of copies grow fast. */
  redirectionsLeft = 0
  #next = FIRST_HANDLE

  /** A handle for a qdisc that came without one; 0: there is none left. */
  newHandle(taken: (handle: number) => boolean): number {
    for (let i = FIRST_HANDLE; i <= LAST_HANDLE; i++) {
      const handle = (this.#next << 16) >>> 0
      this.#next = this.#next >= LAST_HANDLE ? FIRST_HANDLE : this.#next + 1
      if (!taken(handle)) return handle
    }
    return 0
  }
}
