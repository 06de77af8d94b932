/** XtTables: the tables of ip_tables and ip6_tables of one namespace, by name. */
import {
  NF_ACCEPT,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_IP_PRI_FILTER,
  NF_IP_PRI_MANGLE,
  NF_IP_PRI_NAT_DST,
  NF_IP_PRI_NAT_SRC,
  NF_IP_PRI_RAW,
  NF_IP_PRI_SECURITY,
} from '../../../abi/constants.ts'
import { XT_ENTRY_MATCH, XT_ERROR_TARGET, XT_STANDARD_TARGET } from '../../../abi/layout.ts'
import { toBytes } from '../../../base/bytes.ts'
import type { Netfilter } from '../netfilter.ts'
import { alignedSize } from '../tables/compat/extension.ts'
import { type FamilyLayout, LAYOUT_V4, LAYOUT_V6 } from './layout.ts'
import { ERROR, readTable, type TableShape } from './read.ts'
import { type TableDefinition, XtTable } from './table.ts'

const at = (priority: number, ...points: number[]) => points.map(point => [point, priority] as const)

const DEFINITIONS: readonly TableDefinition[] = [
  { name: 'filter', points: at(NF_IP_PRI_FILTER, NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT) },
  {
    name: 'nat',
    points: [
      ...at(NF_IP_PRI_NAT_DST, NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT),
      ...at(NF_IP_PRI_NAT_SRC, NF_INET_LOCAL_IN, NF_INET_POST_ROUTING),
    ].sort(([a], [b]) => a - b),
  },
  {
    name: 'mangle',
    points: at(
      NF_IP_PRI_MANGLE,
      ...[NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING],
    ),
  },
  { name: 'raw', points: at(NF_IP_PRI_RAW, NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT) },
  { name: 'security', points: at(NF_IP_PRI_SECURITY, NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT) },
]

/** Of one family. */
export class XtTables {
  readonly layout: FamilyLayout
  readonly netfilter: Netfilter
  /** Those that somebody has asked for. */
  readonly #tables = new Map<string, XtTable>()

  constructor(netfilter: Netfilter, isV4: boolean) {
    this.netfilter = netfilter
    this.layout = isV4 ? LAYOUT_V4 : LAYOUT_V6
  }

  /** The newest first, as /proc/net/ip_tables_names has them. */
  names(): string[] {
    return [...this.#tables.keys()].reverse()
  }

  /** Undefined: there is no table of that name. */
  find(name: string): XtTable | undefined {
    const known = this.#tables.get(name)
    if (known !== undefined) return known
    const definition = DEFINITIONS.find(other => other.name === name)
    if (definition === undefined) return undefined
    const { shape, bytes } = emptyTable(this.layout, definition)
    const info = readTable(this.netfilter, this.layout, name, shape, bytes)
    if (typeof info === 'number') throw new Error(`xtables: the empty table ${name} is refused: ${info}`)
    const table = new XtTable(this.netfilter, definition, info)
    this.#tables.set(name, table)
    return table
  }
}

/** A policy of ACCEPT for each point, and the entry that ends tables. */
function emptyTable(layout: FamilyLayout, { points }: TableDefinition) {
  const { entry } = layout
  const policySize = entry.size + XT_STANDARD_TARGET.size
  const bytes = new Uint8Array(points.length * policySize + entry.size + XT_ERROR_TARGET.size)
  const view = new DataView(bytes.buffer)
  const offsets: number[] = []
  const put = (start: number, targetSize: number) => {
    view.setUint16(start + entry.target_offset, entry.size, true)
    view.setUint16(start + entry.next_offset, entry.size + targetSize, true)
    view.setUint16(start + entry.size + XT_ENTRY_MATCH.match_size, targetSize, true)
  }
  points.forEach(([point], index) => {
    const start = index * policySize
    offsets[point] = start
    put(start, alignedSize(XT_STANDARD_TARGET.size))
    view.setInt32(start + entry.size + XT_STANDARD_TARGET.verdict, -NF_ACCEPT - 1, true)
  })
  const last = points.length * policySize
  put(last, XT_ERROR_TARGET.size)
  bytes.set(toBytes(ERROR), last + entry.size + XT_ENTRY_MATCH.name)
  bytes.set(toBytes(ERROR), last + entry.size + XT_ERROR_TARGET.errorname)
  const bits = points.reduce((sum, [point]) => sum | (1 << point), 0)
  const shape: TableShape = { points: bits, count: points.length + 1, starts: offsets, ends: offsets }
  return { shape, bytes }
}
