/** skbedit: what is known of a packet beside its bytes: its priority, its mark, for whom it is: tc-skbedit(8). */
import {
  TCA_SKBEDIT_MARK,
  TCA_SKBEDIT_MASK,
  TCA_SKBEDIT_PARMS,
  TCA_SKBEDIT_PRIORITY,
  TCA_SKBEDIT_PTYPE,
  TCA_SKBEDIT_QUEUE_MAPPING,
  TCA_SKBEDIT_TM,
} from '../../../abi/constants.ts'
import { EINVAL } from '../../../abi/errno.ts'
import { TC_SKBEDIT } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../netlink/message.ts'
import { PACKET_OTHERHOST } from '../../packet.ts'
import type { Frame } from '../filter.ts'
import { Action, type ActionKind } from './action.ts'

class SkbEdit extends Action {
  override readonly kind = 'skbedit'
  readonly #stack: IpStack
  #priority: number | undefined = undefined
  #mark: number | undefined = undefined
  #mask = 0xffffffff
  #type: number | undefined = undefined
  /** Shown only: there is one queue. */
  #queue: number | undefined = undefined

  constructor(stack: IpStack) {
    super(stack.runtime.now())
    this.#stack = stack
  }

  override configure(options: Attributes): Status {
    const parameters = options.get(TCA_SKBEDIT_PARMS)
    if (parameters === undefined || parameters.length < TC_SKBEDIT.size) return -EINVAL
    const type = options.u16(TCA_SKBEDIT_PTYPE)
    if (type !== undefined && type > PACKET_OTHERHOST) return -EINVAL
    this.#priority = options.u32(TCA_SKBEDIT_PRIORITY)
    this.#mark = options.u32(TCA_SKBEDIT_MARK)
    this.#mask = options.u32(TCA_SKBEDIT_MASK) ?? 0xffffffff
    this.#queue = options.u16(TCA_SKBEDIT_QUEUE_MAPPING)
    this.#type = type
    if ([this.#priority, this.#mark, this.#queue, type].every(value => value === undefined)) return -EINVAL
    this.control = viewOf(parameters).getInt32(TC_SKBEDIT.action, true)
    return 0
  }

  protected override act({ packet }: Frame): number {
    if (this.#priority !== undefined) packet.priority = this.#priority
    if (this.#mark !== undefined)
      packet.mark = ((packet.mark & ~this.#mask) | (this.#mark & this.#mask)) >>> 0
    if (this.#type !== undefined) packet.type = this.#type
    return this.control
  }

  override write(writer: MessageWriter): void {
    this.writeGeneral(writer, writer.attribute(TCA_SKBEDIT_PARMS, TC_SKBEDIT.size))
    if (this.#priority !== undefined) writer.u32(TCA_SKBEDIT_PRIORITY, this.#priority)
    if (this.#queue !== undefined) writer.u16(TCA_SKBEDIT_QUEUE_MAPPING, this.#queue)
    if (this.#mark !== undefined) writer.u32(TCA_SKBEDIT_MARK, this.#mark)
    if (this.#type !== undefined) writer.u16(TCA_SKBEDIT_PTYPE, this.#type)
    if (this.#mask !== 0xffffffff) writer.u32(TCA_SKBEDIT_MASK, this.#mask)
    this.writeTimes(writer, TCA_SKBEDIT_TM, this.#stack.runtime.now())
  }
}

export const skbEditKind: ActionKind = {
  parameters: TCA_SKBEDIT_PARMS,
  indexAt: TC_SKBEDIT.index,
  make: stack => new SkbEdit(stack),
}
