/**
 * PacketQueues: where rules (NFQUEUE, `queue`) put packets for a program to decide on: nfnetlink_queue
 * (netlink/netfilter/queue.ts). A packet belongs to its queue until the verdict; what nobody has bound takes none.
 */
import { NF_ACCEPT, NF_DROP, NF_VERDICT_FLAG_QUEUE_BYPASS } from '../../abi/constants.ts'
import type { HeldPacket } from '../ip/hooks.ts'
import type { NetDevice } from '../link/device.ts'

export interface PacketQueueListener {
  /** NF_STOLEN: it has it. Otherwise what is to be done: NF_DROP, NF_ACCEPT. */
  take(held: HeldPacket): number
  /** Packets that came in by this device, or are to go out by it, wait no longer. */
  deviceDown(device: NetDevice): void
  close(): void
}

export class PacketQueues {
  readonly listeners = new Map<number, PacketQueueListener>()
  /** Nobody outside can foretell which of several queues a packet goes to. */
  readonly seed: number

  constructor(seed: number) {
    this.seed = seed
  }

  enqueue(held: HeldPacket, verdict: number): number {
    const listener = this.listeners.get(verdict >>> 16)
    if (listener !== undefined) return listener.take(held)
    return (verdict & NF_VERDICT_FLAG_QUEUE_BYPASS) === 0 ? NF_DROP : NF_ACCEPT
  }
  deviceDown(device: NetDevice): void {
    for (const listener of this.listeners.values()) listener.deviceDown(device)
  }
  close(): void {
    for (const listener of this.listeners.values()) listener.close()
    this.listeners.clear()
  }
}
