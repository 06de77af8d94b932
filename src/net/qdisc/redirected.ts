/** Where a packet that filters have sent to another device was, so that an ifb can bring it back. */
import type { NetDevice } from '../link/device.ts'

export interface Redirected {
  readonly device: NetDevice | undefined
  /** It had come in. */
  readonly ingress: boolean
}

/** Of a packet that is back where it had come in: taps and filters there have seen it. */
export const RETURNED: Redirected = { device: undefined, ingress: true }
