/**
 * Actions: what filters do to the packets that they match, tc-actions(8). One belongs to the namespace (ActionTable), under
 * its kind and a number; filters hold it by their ActionList, and it ends with the last that does, unless it was made by itself.
 */
import {
  TC_ACT_JUMP,
  TC_ACT_OK,
  TC_ACT_PIPE,
  TC_ACT_REPEAT,
  TCA_ACT_INDEX,
  TCA_ACT_KIND,
  TCA_ACT_OPTIONS,
  TCA_ACT_STATS,
  TCA_STATS_BASIC,
  TCA_STATS_QUEUE,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOENT, ENOSPC } from '../../../abi/errno.ts'
import { GNET_STATS_BASIC, GNET_STATS_QUEUE, TCF_T } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, type MessageWriter, NESTED } from '../../netlink/message.ts'
import type { Frame } from '../filter.ts'
import { QueueStatistics } from '../qdisc.ts'

/** TCA_ACT_MAX_PRIO: actions of one filter. */
const MAX_IN_LIST = 32
/** Actions of one namespace. */
const MAX_ACTIONS = 16384
/** Times that actions of a list may run again: `jump` and `repeat`. */
const MAX_RUNS = 64
const OPCODE_MASK = 0xf0000000
const VALUE_MASK = 0x0fffffff
/** Clock ticks that times are told in. */
const TICK = 1e7

export abstract class Action {
  abstract readonly kind: string
  index = 0
  /** What becomes of the packet: TC_ACT_*. */
  control = TC_ACT_PIPE
  /** Filters that hold it, and all who do. */
  bound = 0
  references = 0
  readonly statistics = new QueueStatistics()
  readonly #installed: number
  #used = 0
  #firstUsed = 0

  constructor(now: number) {
    this.#installed = this.#used = now
  }

  /** Takes TCA_ACT_OPTIONS. */
  abstract configure(options: Attributes, stack: IpStack): Status
  /** TC_ACT_*. With STOLEN or QUEUED it has taken the packet. */
  protected abstract act(frame: Frame): number
  abstract write(writer: MessageWriter): void

  run(frame: Frame): number {
    this.statistics.sent(frame.packet)
    this.#used = frame.now
    if (this.#firstUsed === 0) this.#firstUsed = frame.now
    return this.act(frame)
  }

  /** struct tc_gen, which begins each kind's parameters. */
  protected writeGeneral(writer: MessageWriter, at: number): void {
    writer.set32(at, this.index)
    writer.set32(at + 8, this.control)
    writer.set32(at + 12, this.references)
    writer.set32(at + 16, this.bound)
  }
  protected writeTimes(writer: MessageWriter, type: number, now: number): void {
    const at = writer.attribute(type, TCF_T.size)
    writer.set64(at + TCF_T.install, Math.floor((now - this.#installed) / TICK))
    writer.set64(at + TCF_T.lastuse, Math.floor((now - this.#used) / TICK))
    writer.set64(at + TCF_T.firstuse, this.#firstUsed === 0 ? 0 : Math.floor((now - this.#firstUsed) / TICK))
  }
}

export interface ActionKind {
  /** Where in the options the index is: the attribute, and the offset in it. */
  readonly parameters: number
  readonly indexAt: number
  make(stack: IpStack): Action
}

/** The actions of one namespace. */
export class ActionTable {
  readonly #byKind = new Map<string, Map<number, Action>>()
  #size = 0

  of(kind: string): ReadonlyMap<number, Action> {
    return this.#byKind.get(kind) ?? new Map()
  }

  /** Gives it the index that it has, or the next that is free. */
  add(action: Action): Status {
    if (this.#size >= MAX_ACTIONS) return -ENOSPC
    let actions = this.#byKind.get(action.kind)
    if (actions === undefined) {
      actions = new Map()
      this.#byKind.set(action.kind, actions)
    }
    if (action.index === 0) {
      action.index = 1
      while (actions.has(action.index)) action.index++
    }
    if (actions.has(action.index)) return -EEXIST
    actions.set(action.index, action)
    this.#size++
    return 0
  }
  release(action: Action): void {
    if (--action.references > 0) return
    if (this.#byKind.get(action.kind)?.delete(action.index)) this.#size--
  }
}

/** Those of one filter, in their order. */
export class ActionList {
  readonly actions: readonly Action[]
  readonly #table: ActionTable

  constructor(actions: readonly Action[], table: ActionTable) {
    this.actions = actions
    this.#table = table
    for (const action of actions) {
      action.bound++
      action.references++
    }
  }

  /** tcf_action_exec: TC_ACT_*; TC_ACT_OK without any. */
  run(frame: Frame): number {
    const { actions } = this
    let verdict = TC_ACT_OK
    let runs = 0
    for (let i = 0; i < actions.length && runs < MAX_RUNS; i++, runs++) {
      verdict = actions[i].run(frame)
      if (verdict === TC_ACT_REPEAT) {
        i--
        continue
      }
      if (verdict > 0 && (verdict & OPCODE_MASK) === TC_ACT_JUMP) {
        i += verdict & VALUE_MASK
        verdict = TC_ACT_PIPE
        continue
      }
      if (verdict !== TC_ACT_PIPE) return verdict
    }
    return verdict === TC_ACT_REPEAT ? TC_ACT_OK : verdict
  }

  release(): void {
    for (const action of this.actions) {
      action.bound--
      this.#table.release(action)
    }
  }

  /** A list under `type`. */
  write(writer: MessageWriter, type: number): void {
    if (this.actions.length === 0) return
    const list = writer.nest(type, NESTED)
    this.actions.forEach((action, i) => {
      writeAction(writer, action, i + 1)
    })
    writer.close(list)
  }
}

export function writeAction(writer: MessageWriter, action: Action, number: number): void {
  const nest = writer.nest(number, NESTED)
  writer.string(TCA_ACT_KIND, action.kind)
  const statistics = writer.nest(TCA_ACT_STATS, NESTED)
  const basic = writer.attribute(TCA_STATS_BASIC, GNET_STATS_BASIC.size)
  writer.set64(basic + GNET_STATS_BASIC.bytes, action.statistics.bytes)
  writer.set32(basic + GNET_STATS_BASIC.packets, action.statistics.packets)
  const queue = writer.attribute(TCA_STATS_QUEUE, GNET_STATS_QUEUE.size)
  writer.set32(queue + GNET_STATS_QUEUE.drops, action.statistics.drops)
  writer.set32(queue + GNET_STATS_QUEUE.overlimits, action.statistics.overlimits)
  writer.close(statistics)
  const options = writer.nest(TCA_ACT_OPTIONS, NESTED)
  action.write(writer)
  writer.close(options)
  writer.close(nest)
}

/** A list of actions as it stands in a message: made, or found where only an index is said. */
export function readActions(
  stack: IpStack,
  list: Attributes,
  kinds: ReadonlyMap<string, ActionKind>,
): OrErrno<Action[]> {
  const made: Action[] = []
  const { actions } = stack.traffic
  for (const { value } of [...list.list].sort((a, b) => a.type - b.type)) {
    const action = made.length >= MAX_IN_LIST ? -EINVAL : readAction(stack, new Attributes(value), kinds)
    if (typeof action === 'number') {
      for (const each of made) if (each.references === 0) forget(actions, each)
      return action
    }
    made.push(action)
  }
  return made
}

function forget(table: ActionTable, action: Action): void {
  action.references = 1
  table.release(action)
}

/** tcf_action_init_1. */
function readAction(
  stack: IpStack,
  attributes: Attributes,
  kinds: ReadonlyMap<string, ActionKind>,
): OrErrno<Action> {
  const name = attributes.string(TCA_ACT_KIND)
  if (name === undefined) return -EINVAL
  const kind = kinds.get(name)
  if (kind === undefined) return -ENOENT
  const options = attributes.nested(TCA_ACT_OPTIONS)
  if (options === undefined) return -EINVAL
  const parameters = options.get(kind.parameters)
  if (parameters === undefined || parameters.length < kind.indexAt + 4) return -EINVAL
  const view = new DataView(parameters.buffer, parameters.byteOffset, parameters.length)
  const index = view.getUint32(kind.indexAt, true) || (attributes.u32(TCA_ACT_INDEX) ?? 0)
  const known = index === 0 ? undefined : stack.traffic.actions.of(name).get(index)
  if (known !== undefined) return known
  const action = kind.make(stack)
  const status = action.configure(options, stack)
  if (status < 0) return status
  action.index = index
  const added = stack.traffic.actions.add(action)
  return added < 0 ? added : action
}
