/**
 * u32: by words anywhere in a packet, counted from its network header: tc-u32(8), cls_u32.c. Nodes hang in the buckets of hash tables;
 * one may lead to another table, whose bucket a word of the packet says.
 *
 * A handle has 12 bits of a table, 8 of a bucket and 12 of a node. Tables are of one block, whatever the preference.
 */
import {
  TC_ACT_OK,
  TC_ACT_UNSPEC,
  TC_U32_EAT,
  TC_U32_MAXDEPTH,
  TC_U32_OFFSET,
  TC_U32_ROOT,
  TC_U32_TERMINAL,
  TC_U32_VAROFFSET,
  TCA_CLS_FLAGS_NOT_IN_HW,
  TCA_U32_ACT,
  TCA_U32_CLASSID,
  TCA_U32_DIVISOR,
  TCA_U32_FLAGS,
  TCA_U32_HASH,
  TCA_U32_INDEV,
  TCA_U32_LINK,
  TCA_U32_MARK,
  TCA_U32_POLICE,
  TCA_U32_SEL,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import { TC_U32_KEY, TC_U32_MARK, TC_U32_SEL } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../netlink/message.ts'
import type { ActionList } from '../actions/action.ts'
import type { Classifier, Filter, FilterBlock, FilterChange, Frame } from '../filter.ts'

const TABLE_MASK = 0xfff00000
const FIRST_TABLE = 0x80000000
const FIRST_NODE = 0x800
const LAST_NODE = 0xfff
const MAX_DIVISOR = 256
/** Nodes and tables that one packet looks at: the tables of a hostile guest may lead to each other. */
const MAX_STEPS = 8192

const tableOf = (handle: number): number => (handle & TABLE_MASK) >>> 0
const bucketOf = (handle: number): number => (handle >>> 12) & 0xff
const nodeOf = (handle: number): number => handle & 0xfff

class Table implements Filter {
  readonly handle: number
  readonly divisor: number
  readonly isRoot: boolean
  readonly owner: U32
  readonly buckets: Node[][]
  /** Nodes in the buckets. */
  size = 0
  /** Nodes that lead here. */
  links = 0

  constructor(handle: number, divisor: number, isRoot: boolean, owner: U32) {
    this.handle = handle
    this.divisor = divisor
    this.isRoot = isRoot
    this.owner = owner
    this.buckets = Array.from({ length: divisor }, () => [])
  }
  write(writer: MessageWriter): void {
    writer.u32(TCA_U32_DIVISOR, this.divisor)
  }
}

interface Key {
  readonly mask: number
  readonly value: number
  readonly offset: number
  readonly offsetMask: number
}

class Node implements Filter {
  readonly handle: number
  classId = 0
  link: Table | undefined = undefined
  actions!: ActionList
  /** struct tc_u32_sel with its keys, as it came. */
  selector!: Uint8Array
  keys: readonly Key[] = []
  flags = 0
  mark: { readonly value: number; readonly mask: number } | undefined = undefined

  constructor(handle: number) {
    this.handle = handle
  }

  write(writer: MessageWriter): void {
    writer.bytes(TCA_U32_SEL, this.selector)
    writer.u32(TCA_U32_HASH, this.handle & 0xfffff000)
    if (this.classId !== 0) writer.u32(TCA_U32_CLASSID, this.classId)
    if (this.link !== undefined) writer.u32(TCA_U32_LINK, this.link.handle)
    writer.u32(TCA_U32_FLAGS, TCA_CLS_FLAGS_NOT_IN_HW)
    if (this.mark !== undefined) {
      const at = writer.attribute(TCA_U32_MARK, TC_U32_MARK.size)
      writer.set32(at + TC_U32_MARK.val, this.mark.value)
      writer.set32(at + TC_U32_MARK.mask, this.mark.mask)
    }
    this.actions.write(writer, TCA_U32_ACT)
  }
}

/** The tables of one block. */
class Tables {
  readonly byHandle = new Map<number, Table>()

  /** 0: there is none. */
  freeHandle(): number {
    for (let i = 0; i < 0x7ff; i++) {
      const handle = (FIRST_TABLE + i * 0x100000) >>> 0
      if (!this.byHandle.has(handle)) return handle
    }
    return 0
  }
}

export class U32 implements Classifier {
  readonly #tables: Tables
  readonly #root: Table
  readonly #own = new Set<Table>()

  constructor(block: FilterBlock) {
    const shared = block.shared.get('u32')
    this.#tables = shared instanceof Tables ? shared : new Tables()
    block.shared.set('u32', this.#tables)
    this.#root = new Table(this.#tables.freeHandle(), 1, true, this)
    this.#add(this.#root)
  }
  #add(table: Table): void {
    if (table.handle === 0) return
    this.#tables.byHandle.set(table.handle, table)
    this.#own.add(table)
  }

  get size(): number {
    let size = -1
    for (const table of this.#own) size += 1 + table.size
    return size
  }

  change(handle: number, options: Attributes, change: FilterChange): OrErrno<Filter> {
    if (this.#root.handle === 0) return -ENOSPC
    if (options.has(TCA_U32_INDEV)) return -EOPNOTSUPP
    const known = this.find(handle)
    if (known instanceof Table) return known.isRoot ? -EINVAL : -EEXIST
    if (known instanceof Node) {
      if (change.exclusive) return -EEXIST
      const status = this.#fill(known, options, change, true)
      return status < 0 ? status : known
    }
    const divisor = options.u32(TCA_U32_DIVISOR)
    if (divisor !== undefined) return this.#newTable(handle, divisor, change)
    return this.#newNode(handle, options, change)
  }

  #newTable(handle: number, divisor: number, change: FilterChange): OrErrno<Filter> {
    if (divisor === 0 || (divisor & (divisor - 1)) !== 0)
      return change.refuse('Divisor is not a power of 2', EINVAL)
    if (divisor > MAX_DIVISOR) return change.refuse('Exceeded maximum 256 hash buckets', EINVAL)
    if ((handle & 0xfffff) !== 0) return change.refuse('Divisor can only be used on a hash table', EINVAL)
    const made = tableOf(handle) || this.#tables.freeHandle()
    if (made === 0) return -ENOSPC
    const table = new Table(made, divisor, false, this)
    this.#add(table)
    return table
  }

  #newNode(wanted: number, options: Attributes, change: FilterChange): OrErrno<Filter> {
    const said = options.u32(TCA_U32_HASH)
    const atRoot = said === undefined || tableOf(said) === TC_U32_ROOT >>> 0
    const table = atRoot ? this.#root : this.#tables.byHandle.get(tableOf(said))
    if (table === undefined) return change.refuse('Specified hash table not found', EINVAL)
    const place = atRoot ? this.#root.handle : said
    const bucket = bucketOf(place)
    if (bucket >= table.divisor)
      return change.refuse('Specified hash table buckets exceed configured value', EINVAL)
    const nodes = table.buckets[bucket]
    let number = nodeOf(wanted)
    if (wanted !== 0) {
      if (tableOf(wanted) !== 0 && tableOf(wanted) !== tableOf(place))
        return change.refuse('Handle specified hash table address mismatch', EINVAL)
      if (nodes.some(node => nodeOf(node.handle) === number)) return -ENOSPC
    }
    if (number === 0) {
      number = FIRST_NODE
      // They are in their order.
      for (const node of nodes) if (nodeOf(node.handle) === number) number++
      if (number > LAST_NODE) return -ENOSPC
    }
    const node = new Node(((place & 0xfffff000) | number) >>> 0)
    const status = this.#fill(node, options, change, false)
    if (status < 0) return status
    const at = nodes.findIndex(other => nodeOf(other.handle) > number)
    nodes.splice(at < 0 ? nodes.length : at, 0, node)
    table.size++
    return node
  }

  #fill(node: Node, options: Attributes, change: FilterChange, isChange: boolean): Status {
    const selector = options.get(TCA_U32_SEL)
    if (!isChange) {
      if (selector === undefined) return change.refuse('Selector not specified', EINVAL)
      if (selector.length < TC_U32_SEL.size) return -EINVAL
      const count = selector[TC_U32_SEL.nkeys]
      if (selector.length < TC_U32_SEL.size + count * TC_U32_KEY.size) return -EINVAL
    }
    let { link } = node
    const linked = options.u32(TCA_U32_LINK)
    if (linked !== undefined) {
      if ((linked & 0xfffff) !== 0) return change.refuse('u32 Link handle must be a hash table', EINVAL)
      link = linked === 0 ? undefined : this.#tables.byHandle.get(linked)
      if (linked !== 0 && link === undefined) return change.refuse('Link hash table not found', EINVAL)
      if (link?.isRoot) return change.refuse('Not linking to root node', EINVAL)
    }
    const actions = change.actions(options, TCA_U32_ACT, TCA_U32_POLICE)
    if (typeof actions === 'number') return actions
    if (isChange) node.actions.release()
    node.actions = actions
    if (node.link !== undefined) node.link.links--
    if (link !== undefined) link.links++
    node.link = link
    node.classId = options.u32(TCA_U32_CLASSID) ?? node.classId
    if (isChange) return 0
    const bytes = selector!.slice(0, TC_U32_SEL.size + selector![TC_U32_SEL.nkeys] * TC_U32_KEY.size)
    node.selector = bytes
    node.flags = bytes[TC_U32_SEL.flags]
    node.keys = readKeys(bytes)
    const mark = options.get(TCA_U32_MARK)
    if (mark !== undefined && mark.length >= TC_U32_MARK.size) {
      const view = viewOf(mark)
      node.mark = {
        value: view.getUint32(TC_U32_MARK.val, true),
        mask: view.getUint32(TC_U32_MARK.mask, true),
      }
    }
    return 0
  }

  /** u32_classify */
  classify(frame: Frame): number {
    const budget = { steps: MAX_STEPS }
    return walk(frame, this.#root.buckets[0], frame.network, 0, 0, budget)
  }

  find(handle: number): Filter | undefined {
    const table = this.#tables.byHandle.get(tableOf(handle))
    if (table === undefined || (handle & 0xfffff) === 0) return handle === 0 ? undefined : table
    return table.buckets[bucketOf(handle)]?.find(node => node.handle === handle)
  }
  *filters(): Iterable<Filter> {
    // The last one made comes first.
    for (const table of [...this.#own].reverse()) {
      yield table
      for (const bucket of table.buckets) yield* bucket
    }
  }

  remove(filter: Filter): Status {
    if (filter instanceof Table) {
      if (filter.isRoot) return -EINVAL
      if (filter.links > 0) return -EBUSY
      for (const bucket of filter.buckets)
        for (const node of [...bucket]) this.#dropNode(filter, bucket, node)
      this.#tables.byHandle.delete(filter.handle)
      filter.owner.#own.delete(filter)
      return 0
    }
    const table = this.#tables.byHandle.get(tableOf(filter.handle))
    const bucket = table?.buckets[bucketOf(filter.handle)]
    if (table === undefined || bucket === undefined) return -EINVAL
    this.#dropNode(table, bucket, filter as Node)
    return 0
  }
  #dropNode(table: Table, bucket: Node[], node: Node): void {
    node.actions.release()
    if (node.link !== undefined) node.link.links--
    bucket.splice(bucket.indexOf(node), 1)
    table.size--
  }

  /** Its tables go with it. */
  close(): void {
    for (const { handle, buckets } of this.#own) {
      for (const bucket of buckets) for (const { link } of bucket) if (link !== undefined) link.links--
      this.#tables.byHandle.delete(handle)
    }
    this.#own.clear()
  }
}

function readKeys(selector: Uint8Array): Key[] {
  const view = viewOf(selector)
  const keys: Key[] = []
  for (let at = TC_U32_SEL.size; at + TC_U32_KEY.size <= selector.length; at += TC_U32_KEY.size) {
    keys.push({
      mask: view.getUint32(at + TC_U32_KEY.mask),
      value: view.getUint32(at + TC_U32_KEY.val),
      offset: view.getInt32(at + TC_U32_KEY.off, true),
      offsetMask: view.getInt32(at + TC_U32_KEY.offmask, true),
    })
  }
  return keys
}

/** One bucket and what it leads to. `at`, `extra`: what offsets count from, and what those with a mask count from too. */
function walk(
  frame: Frame,
  nodes: readonly Node[],
  at: number,
  extra: number,
  depth: number,
  budget: { steps: number },
): number {
  for (const node of nodes) {
    if (--budget.steps < 0) return TC_ACT_UNSPEC
    const { mark, link } = node
    if (mark !== undefined && ((frame.packet.mark ^ mark.value) & mark.mask) !== 0) continue
    const match = matches(frame, node.keys, at, extra)
    // Beyond the packet's end there is no answer, and no other filter's.
    if (match === undefined) return TC_ACT_UNSPEC
    if (!match) continue
    if (link !== undefined) {
      if (depth >= TC_U32_MAXDEPTH) return TC_ACT_UNSPEC
      const verdict = descend(frame, node, link, at, depth, budget)
      if (verdict >= 0) return verdict
    }
    if ((node.flags & TC_U32_TERMINAL) === 0) continue
    frame.classId = node.classId
    const verdict = node.actions.actions.length === 0 ? TC_ACT_OK : node.actions.run(frame)
    if (verdict >= 0) return verdict
  }
  return TC_ACT_UNSPEC
}

function descend(
  frame: Frame,
  node: Node,
  link: Table,
  at: number,
  depth: number,
  budget: { steps: number },
): number {
  const view = viewOf(node.selector)
  const { packet } = frame
  let bucket = 0
  if (link.divisor > 1) {
    const from = at + view.getInt16(TC_U32_SEL.hoff, true)
    if (from < 0 || from + 4 > packet.end) return TC_ACT_UNSPEC
    const mask = view.getUint32(TC_U32_SEL.hmask)
    const shift = mask === 0 ? 0 : 31 - Math.clz32(mask & -mask)
    bucket = ((packet.view.getUint32(from) & mask) >>> shift) & (link.divisor - 1)
  }
  const { flags } = node
  let extra = 0
  if ((flags & (TC_U32_OFFSET | TC_U32_VAROFFSET)) !== 0) {
    extra = view.getUint16(TC_U32_SEL.off, true) + 3
    if ((flags & TC_U32_VAROFFSET) !== 0) {
      const from = at + view.getInt16(TC_U32_SEL.offoff, true)
      if (from < 0 || from + 2 > packet.end) return TC_ACT_UNSPEC
      const mask = view.getUint16(TC_U32_SEL.offmask)
      extra += (packet.view.getUint16(from) & mask) >> node.selector[TC_U32_SEL.offshift]
    }
    extra &= ~3
  }
  if ((flags & TC_U32_EAT) !== 0) {
    at += extra
    extra = 0
  }
  if (at >= packet.end) return TC_ACT_UNSPEC
  return walk(frame, link.buckets[bucket], at, extra, depth + 1, budget)
}

/** Undefined: a key lies beyond the packet. */
function matches({ packet }: Frame, keys: readonly Key[], at: number, extra: number): boolean | undefined {
  for (const { mask, value, offset, offsetMask } of keys) {
    const from = at + offset + (extra & offsetMask)
    if (from < packet.headersStart() || from + 4 > packet.end) return undefined
    if (((packet.view.getUint32(from) ^ value) & mask) !== 0) return false
  }
  return true
}
