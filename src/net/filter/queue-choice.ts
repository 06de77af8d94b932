/** Which queue a packet goes to, of the rules that have several of them: the packets of a connection to the same one. */
import { NF_QUEUE, NF_VERDICT_FLAG_QUEUE_BYPASS } from '../../abi/constants.ts'
import type { Packet } from '../packet.ts'

export interface QueueChoice {
  readonly first: number
  readonly count: number
  /** Where nobody takes packets from the queue they go on. */
  readonly bypass: boolean
  /** By the CPU, in place of the addresses: all packets are looked at on the first one. */
  readonly byCpu: boolean
}

/** NF_QUEUE with the queue's number. `seed`: a secret of the stack's. */
export function queueVerdict(
  { first, count, bypass, byCpu }: QueueChoice,
  packet: Packet,
  seed: number,
): number {
  const number = count > 1 && !byCpu ? first + (hashOf(packet, seed) % count) : first
  return ((number << 16) | (bypass ? NF_VERDICT_FLAG_QUEUE_BYPASS : 0) | NF_QUEUE) >>> 0
}

/** The same for both directions. */
function hashOf({ view, network }: Packet, seed: number): number {
  const isV4 = view.getUint8(network) >> 4 === 4
  const at = network + (isV4 ? 12 : 8)
  const words = isV4 ? 1 : 4
  let hash = seed
  for (let i = 0; i < words; i++) {
    hash = Math.imul(hash ^ view.getUint32(at + 4 * i) ^ view.getUint32(at + 4 * (i + words)), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return hash >>> 0
}
