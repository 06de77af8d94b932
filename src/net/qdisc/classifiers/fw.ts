/** fw: by the packet's mark, which is the filter's handle: tc-fw(8), cls_fw.c. */
import {
  TC_ACT_OK,
  TC_ACT_UNSPEC,
  TCA_FW_ACT,
  TCA_FW_CLASSID,
  TCA_FW_INDEV,
  TCA_FW_MASK,
  TCA_FW_POLICE,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../netlink/message.ts'
import type { ActionList } from '../actions/action.ts'
import type { Classifier, Filter, FilterChange, Frame } from '../filter.ts'

const NO_MASK = 0xffffffff

class MarkFilter implements Filter {
  readonly handle: number
  readonly classId: number
  readonly mask: number
  readonly actions: ActionList

  constructor(handle: number, classId: number, mask: number, actions: ActionList) {
    this.handle = handle
    this.classId = classId
    this.mask = mask
    this.actions = actions
  }
  write(writer: MessageWriter): void {
    if (this.classId !== 0) writer.u32(TCA_FW_CLASSID, this.classId)
    if (this.mask !== NO_MASK) writer.u32(TCA_FW_MASK, this.mask)
    this.actions.write(writer, TCA_FW_ACT)
  }
}

export class Mark implements Classifier {
  readonly #filters = new Map<number, MarkFilter>()
  #mask = NO_MASK

  get size(): number {
    return this.#filters.size
  }

  change(handle: number, options: Attributes, change: FilterChange): OrErrno<Filter> {
    if (options.has(TCA_FW_INDEV)) return -EOPNOTSUPP
    const known = this.#filters.get(handle)
    if (known !== undefined && change.exclusive) return -EEXIST
    const mask = options.u32(TCA_FW_MASK) ?? NO_MASK
    // One mask for all that are of one preference.
    if (this.#filters.size > 0 && mask !== this.#mask) return -EINVAL
    if (handle === 0) return -EINVAL
    const actions = change.actions(options, TCA_FW_ACT, TCA_FW_POLICE)
    if (typeof actions === 'number') return actions
    known?.actions.release()
    this.#mask = mask
    const classId = options.u32(TCA_FW_CLASSID) ?? known?.classId ?? 0
    const filter = new MarkFilter(handle, classId, mask, actions)
    this.#filters.set(handle, filter)
    return filter
  }

  classify(frame: Frame): number {
    const filter = this.#filters.get((frame.packet.mark & this.#mask) >>> 0)
    if (filter === undefined) return TC_ACT_UNSPEC
    frame.classId = filter.classId
    return filter.actions.actions.length === 0 ? TC_ACT_OK : filter.actions.run(frame)
  }

  find(handle: number): Filter | undefined {
    return this.#filters.get(handle)
  }
  filters(): Iterable<Filter> {
    return this.#filters.values()
  }
  remove(filter: Filter): Status {
    filter.actions?.release()
    this.#filters.delete(filter.handle)
    return 0
  }
}
