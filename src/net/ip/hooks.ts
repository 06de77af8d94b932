/**
 * The five points at which netfilter sees packets. A filter (src/net/filter) registers NetfilterHook objects per family
 * and point; without any, a point costs one comparison.
 */
import { EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'

export const NF_INET_PRE_ROUTING = 0
export const NF_INET_LOCAL_IN = 1
export const NF_INET_FORWARD = 2
export const NF_INET_LOCAL_OUT = 3
export const NF_INET_POST_ROUTING = 4

export const NF_ACCEPT = 1
/** The hook owns the packet now. */
export const NF_STOLEN = 2

/** Of passHooks. */
export const PASSED = 1

export interface NetfilterHook {
  /** Lower ones see a packet first: NF_IP_PRI_*. */
  readonly priority: number
  /**
   * The network header is at packet.start = packet.network, the transport header at packet.transport (also of the first
   * fragment; others have -1). A hook may change headers: it keeps checksums right, and the stack routes again. NF_*.
   */
  filter(
    stack: IpStack,
    point: number,
    packet: Packet,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): number
}

type Points = NetfilterHook[][]

export class NetfilterHooks {
  readonly v4: Points = [[], [], [], [], []]
  readonly v6: Points = [[], [], [], [], []]

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

/** PASSED: it goes on. 0: it is somebody else's now. -EPERM: a filter refused it, and it is released. */
export function passHooks(
  stack: IpStack,
  hooks: readonly NetfilterHook[],
  point: number,
  packet: Packet,
  input: NetDevice | undefined,
  output: NetDevice | undefined,
): Status {
  for (const hook of hooks) {
    const verdict = hook.filter(stack, point, packet, input, output)
    if (verdict === NF_ACCEPT) continue
    if (verdict === NF_STOLEN) return 0
    packet.release()
    return -EPERM
  }
  return PASSED
}
