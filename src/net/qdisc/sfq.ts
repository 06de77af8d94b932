/** sfq, stochastic fairness: sch_sfq.c. Flows in turn; of the longest the last packet goes when there is no room. */
import { TCA_OPTIONS } from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type MessageWriter, viewOf } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { type FairFlow, FairQueue } from './fair-queue.ts'

/** struct tc_sfq_qopt, and tc_sfq_qopt_v1, which begins with it. */
const QOPT = { size: 20, quantum: 0, perturb: 4, limit: 8, divisor: 12, flows: 16 }
const QOPT_V1 = { size: 72, depth: 20, headdrop: 24, limit: 28 }
const DEFAULT_FLOWS = 127
const MAX_DEPTH = 127
const MAX_DIVISOR = 65536

export class Sfq extends FairQueue {
  override readonly kind = 'sfq'
  #limit = MAX_DEPTH
  #depth = MAX_DEPTH
  #divisor = 1024
  #flows = DEFAULT_FLOWS
  /** Seconds after which flows are sorted anew; 0: never. */
  #perturb = 0
  #perturbed = 0

  protected override get buckets(): number {
    return Math.min(this.#divisor, this.#flows)
  }

  override configure(options: Uint8Array | undefined, isNew: boolean): Status {
    if (options === undefined) return 0
    if (options.length < QOPT.size) return -EINVAL
    const view = viewOf(options)
    const divisor = view.getUint32(QOPT.divisor, true)
    if (divisor !== 0 && ((divisor & (divisor - 1)) !== 0 || divisor > MAX_DIVISOR)) return -EINVAL
    const quantum = view.getInt32(QOPT.quantum, true)
    if (quantum < 0) return -EINVAL
    const flows = view.getUint32(QOPT.flows, true)
    if (options.length >= QOPT_V1.size) {
      // Random early detection within flows.
      if (view.getUint32(QOPT_V1.limit, true) !== 0) return -EOPNOTSUPP
      const depth = view.getUint32(QOPT_V1.depth, true)
      if (depth !== 0) this.#depth = Math.min(depth, MAX_DEPTH)
    }
    if (quantum !== 0) this.quantum = quantum
    this.#perturb = view.getInt32(QOPT.perturb, true)
    if (flows !== 0) this.#flows = Math.min(flows, MAX_DIVISOR)
    if (divisor !== 0 && isNew) this.#divisor = divisor
    const limit = view.getUint32(QOPT.limit, true)
    if (limit !== 0) {
      if (limit < 2) return -EINVAL
      this.#limit = Math.min(limit, this.#depth * this.#flows)
    }
    return 0
  }

  override enqueue(packet: Packet, now: number): boolean {
    if (this.#perturb > 0 && now - this.#perturbed > this.#perturb * 1e9 && this.length === 0) {
      this.#perturbed = now
      this.reseed()
    }
    const flow = this.flowOf(packet)
    if (flow.length >= this.#depth || !this.put(flow, packet, now)) return this.drop(packet)
    if (this.length <= this.#limit) return true
    const fat = this.fattest()
    const last = fat === undefined ? undefined : this.take(fat)
    if (last !== undefined) this.drop(last)
    return fat !== flow
  }

  protected override next(flow: FairFlow): Packet | undefined {
    return this.take(flow)
  }

  override writeOptions(writer: MessageWriter): void {
    const at = writer.attribute(TCA_OPTIONS, QOPT_V1.size)
    writer.set32(at + QOPT.quantum, this.quantum)
    writer.set32(at + QOPT.perturb, this.#perturb)
    writer.set32(at + QOPT.limit, this.#limit)
    writer.set32(at + QOPT.divisor, this.#divisor)
    writer.set32(at + QOPT.flows, this.#flows)
    writer.set32(at + QOPT_V1.depth, this.#depth)
  }
}
