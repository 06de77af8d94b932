/** counter: packets and bytes that have come this far in the rule. */
import { NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS } from '../../../../abi/constants.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

export const counter: ExpressionType = {
  name: 'counter',
  parse(_context, attributes) {
    return new Counter(attributes.be64(NFTA_COUNTER_PACKETS) ?? 0, attributes.be64(NFTA_COUNTER_BYTES) ?? 0)
  },
}

export class Counter implements Expression {
  readonly name = 'counter'
  packets: number
  bytes: number

  constructor(packets: number, bytes: number) {
    this.packets = packets
    this.bytes = bytes
  }
  evaluate({ packet }: Evaluation): void {
    this.packets++
    this.bytes += packet.end - packet.network
  }
  reset(): void {
    this.packets = this.bytes = 0
  }
  clone(): Counter {
    return new Counter(this.packets, this.bytes)
  }
  write(writer: MessageWriter): void {
    writer.be64(NFTA_COUNTER_BYTES, this.bytes)
    writer.be64(NFTA_COUNTER_PACKETS, this.packets)
  }
}
