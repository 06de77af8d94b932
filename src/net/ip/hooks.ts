/**
 * The five points at which netfilter sees packets. A filter (src/net/filter) registers NetfilterHook objects per family
 * and point; without any, a point costs one comparison.
 */
import { NF_ACCEPT, NF_DROP, NF_QUEUE, NF_STOLEN, NF_VERDICT_MASK } from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'

/** Of passHooks. */
export const PASSED = 1

export interface NetfilterHook {
  /** Lower ones see a packet first: NF_IP_PRI_*. */
  readonly priority: number
  /**
   * NF_DROP, NF_ACCEPT, NF_QUEUE with a queue's number, or NF_STOLEN: the hook owns the packet now. The network header is at packet.start =
   * packet.network, the transport header at packet.transport (also of the first fragment; others have -1). A hook may
   * change headers: it keeps checksums right, and the stack routes again.
   */
  filter(
    stack: IpStack,
    point: number,
    packet: Packet,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): number
}

/** A packet that waits for somebody's verdict, and where it goes on then: behind the hook that has put it there. */
export interface HeldPacket {
  packet: Packet
  readonly hook: NetfilterHook
  readonly isV4: boolean
  readonly point: number
  readonly input: NetDevice | undefined
  readonly output: NetDevice | undefined
}

type Points = NetfilterHook[][]

export class NetfilterHooks {
  readonly v4: Points = [[], [], [], [], []]
  readonly v6: Points = [[], [], [], [], []]
  /** A device went down: of NAT, for what had that device's address. */
  deviceDown: ((device: NetDevice) => void) | undefined = undefined
  /** What is sent about a packet belongs to the same connection: of conntrack, while it looks at packets. */
  attach: ((answer: Packet, to: Packet) => void) | undefined = undefined
  /** Puts it into the verdict's queue: NF_STOLEN, or what is to be done where nobody takes packets from that. */
  queue: ((held: HeldPacket, verdict: number) => number) | undefined = undefined

  add(isV4: boolean, point: number, hook: NetfilterHook): void {
    const list = (isV4 ? this.v4 : this.v6)[point]
    const at = list.findIndex(other => other.priority > hook.priority)
    list.splice(at < 0 ? list.length : at, 0, hook)
  }

  remove(isV4: boolean, point: number, hook: NetfilterHook): void {
    const list = (isV4 ? this.v4 : this.v6)[point]
    const at = list.indexOf(hook)
    if (at >= 0) list.splice(at, 1)
  }
}

/**
 * PASSED: it goes on. 0: it is somebody else's now. -EPERM: a filter refused it, and it is released. `behind`: the hook that has
 * already seen it; those after it are left.
 */
export function passHooks(
  stack: IpStack,
  hooks: readonly NetfilterHook[],
  point: number,
  packet: Packet,
  input: NetDevice | undefined,
  output: NetDevice | undefined,
  behind?: NetfilterHook,
): Status {
  for (let i = behind === undefined ? 0 : indexBehind(hooks, behind); i < hooks.length; i++) {
    const hook = hooks[i]
    let verdict = hook.filter(stack, point, packet, input, output)
    if (verdict === NF_ACCEPT) continue
    if ((verdict & NF_VERDICT_MASK) === NF_QUEUE) {
      const isV4 = packet.view.getUint8(packet.network) >> 4 === 4
      verdict = stack.hooks.queue?.({ packet, hook, isV4, point, input, output }, verdict) ?? NF_DROP
      if (verdict === NF_ACCEPT) continue
      // Who has sent it does not hear of it.
      if (verdict === NF_DROP) packet.release()
      return 0
    }
    if (verdict === NF_STOLEN) return 0
    packet.release()
    return -EPERM
  }
  return PASSED
}

/** The hook may be gone by now. */
function indexBehind(hooks: readonly NetfilterHook[], hook: NetfilterHook): number {
  const at = hooks.indexOf(hook)
  if (at >= 0) return at + 1
  const next = hooks.findIndex(other => other.priority > hook.priority)
  return next < 0 ? hooks.length : next
}
