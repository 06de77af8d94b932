/** matchall: every packet: tc-matchall(8), cls_matchall.c. */
import {
  TC_ACT_OK,
  TC_ACT_UNSPEC,
  TCA_CLS_FLAGS_NOT_IN_HW,
  TCA_MATCHALL_ACT,
  TCA_MATCHALL_CLASSID,
  TCA_MATCHALL_FLAGS,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../netlink/message.ts'
import type { ActionList } from '../actions/action.ts'
import type { Classifier, Filter, FilterChange, Frame } from '../filter.ts'

class MatchAllFilter implements Filter {
  readonly handle: number
  readonly classId: number
  readonly actions: ActionList

  constructor(handle: number, classId: number, actions: ActionList) {
    this.handle = handle
    this.classId = classId
    this.actions = actions
  }
  write(writer: MessageWriter): void {
    if (this.classId !== 0) writer.u32(TCA_MATCHALL_CLASSID, this.classId)
    writer.u32(TCA_MATCHALL_FLAGS, TCA_CLS_FLAGS_NOT_IN_HW)
    this.actions.write(writer, TCA_MATCHALL_ACT)
  }
}

export class MatchAll implements Classifier {
  #filter: MatchAllFilter | undefined = undefined

  get size(): number {
    return this.#filter === undefined ? 0 : 1
  }

  change(handle: number, options: Attributes, change: FilterChange): OrErrno<Filter> {
    if (this.#filter !== undefined) return -EEXIST
    const actions = change.actions(options, TCA_MATCHALL_ACT, 0)
    if (typeof actions === 'number') return actions
    this.#filter = new MatchAllFilter(handle || 1, options.u32(TCA_MATCHALL_CLASSID) ?? 0, actions)
    return this.#filter
  }

  classify(frame: Frame): number {
    const filter = this.#filter
    if (filter === undefined) return TC_ACT_UNSPEC
    frame.classId = filter.classId
    return filter.actions.actions.length === 0 ? TC_ACT_OK : filter.actions.run(frame)
  }

  find(handle: number): Filter | undefined {
    return this.#filter?.handle === handle ? this.#filter : undefined
  }
  *filters(): Iterable<Filter> {
    if (this.#filter !== undefined) yield this.#filter
  }
  remove(filter: Filter): Status {
    if (filter !== this.#filter) return -EINVAL
    filter.actions?.release()
    this.#filter = undefined
    return 0
  }
}
