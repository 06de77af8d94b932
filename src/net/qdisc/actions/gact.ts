/** gact: what becomes of a packet, and nothing else: tc-gact(8), act_gact.c. */
import { TC_ACT_SHOT, TCA_GACT_PARMS, TCA_GACT_PROB, TCA_GACT_TM } from '../../../abi/constants.ts'
import { EINVAL } from '../../../abi/errno.ts'
import { TC_GACT } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../netlink/message.ts'
import type { Frame } from '../filter.ts'
import { Action, type ActionKind } from './action.ts'

/** struct tc_gact_p: ptype, pval, paction. */
const PROBABILITY = { size: 8, type: 0, value: 2, action: 4 }
const RANDOM = 1
const DETERMINISTIC = 2

class Gact extends Action {
  override readonly kind = 'gact'
  readonly #stack: IpStack
  /** Of `value` packets one has `action` instead. */
  #other: { type: number; value: number; action: number } | undefined = undefined
  #count = 0

  constructor(stack: IpStack) {
    super(stack.runtime.now())
    this.#stack = stack
  }

  override configure(options: Attributes): Status {
    const parameters = options.get(TCA_GACT_PARMS)
    if (parameters === undefined || parameters.length < TC_GACT.size) return -EINVAL
    this.control = viewOf(parameters).getInt32(TC_GACT.action, true)
    const other = options.get(TCA_GACT_PROB)
    if (other === undefined) return 0
    if (other.length < PROBABILITY.size) return -EINVAL
    const view = viewOf(other)
    const type = view.getUint16(PROBABILITY.type, true)
    if (type > DETERMINISTIC) return -EINVAL
    this.#other = {
      type,
      value: Math.max(view.getUint16(PROBABILITY.value, true), 1),
      action: view.getInt32(PROBABILITY.action, true),
    }
    return 0
  }

  protected override act(_frame: Frame): number {
    const verdict = this.#verdict()
    if (verdict === TC_ACT_SHOT) this.statistics.drops++
    return verdict
  }
  #verdict(): number {
    const other = this.#other
    if (other === undefined) return this.control
    if (other.type === RANDOM)
      return this.#stack.random.below(other.value) === 0 ? other.action : this.control
    if (other.type !== DETERMINISTIC) return this.control
    this.#count++
    return this.#count % other.value === 0 ? other.action : this.control
  }

  override write(writer: MessageWriter): void {
    this.writeGeneral(writer, writer.attribute(TCA_GACT_PARMS, TC_GACT.size))
    if (this.#other !== undefined) {
      const at = writer.attribute(TCA_GACT_PROB, PROBABILITY.size)
      writer.set16(at + PROBABILITY.type, this.#other.type)
      writer.set16(at + PROBABILITY.value, this.#other.value)
      writer.set32(at + PROBABILITY.action, this.#other.action)
    }
    this.writeTimes(writer, TCA_GACT_TM, this.#stack.runtime.now())
  }
}

export const gactKind: ActionKind = {
  parameters: TCA_GACT_PARMS,
  indexAt: TC_GACT.index,
  make: stack => new Gact(stack),
}
