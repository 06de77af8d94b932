/** Routing policy rules of one address family: which table is asked for which packets. ip-rule(8). */
import { RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN } from '../../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EEXIST,
  EHOSTUNREACH,
  EINVAL,
  ENETUNREACH,
  ENOBUFS,
  ENOENT,
} from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import { type Fib, type FibKey, type FibResult, NO_ROUTE } from './fib.ts'

/** FR_ACT_* */
export const FR_ACT_TO_TBL = 1
export const FR_ACT_GOTO = 2
export const FR_ACT_BLACKHOLE = 6
export const FR_ACT_UNREACHABLE = 7
export const FR_ACT_PROHIBIT = 8

/** Each lookup goes through all of them. */
const MAX_RULES = 4096

export interface Rule {
  priority: number
  action: number
  table: number
  /** Of FR_ACT_GOTO. */
  target?: number
  source?: IpAddress
  sourceLength?: number
  destination?: IpAddress
  destinationLength?: number
  inputName?: string
  outputName?: string
  mark?: number
  markMask?: number
  tos?: number
  protocol?: number
  sourcePorts?: readonly [number, number]
  destinationPorts?: readonly [number, number]
  uids?: readonly [number, number]
  invert?: boolean
  /** Routes with a prefix this long or shorter don't count. */
  suppressPrefixLength?: number
  /** Who made it: RTPROT_*. */
  origin?: number
}

/** What rules look at, besides the key of the table lookup. */
export interface RuleKey extends FibKey {
  source: IpAddress | undefined
  inputName: string
  outputName: string
  mark: number
  protocol: number
  sourcePort: number
  destinationPort: number
  uid: number
}

export class RuleTable {
  readonly isV4: boolean
  #rules: Rule[]
  /** As long as there are only the rules that a new namespace has, nothing needs to be compared. */
  #asNew = true

  constructor(isV4: boolean) {
    this.isV4 = isV4
    this.#rules = [
      { priority: 0, action: FR_ACT_TO_TBL, table: RT_TABLE_LOCAL, origin: 2 },
      { priority: 32766, action: FR_ACT_TO_TBL, table: RT_TABLE_MAIN, origin: 2 },
    ]
    if (isV4) this.#rules.push({ priority: 32767, action: FR_ACT_TO_TBL, table: RT_TABLE_DEFAULT, origin: 2 })
  }

  get rules(): readonly Rule[] {
    return this.#rules
  }

  /** Without a priority: one before the first that has one above 0. */
  add(rule: Rule, exclusive: boolean): Status {
    if (exclusive && this.#rules.some(other => sameRule(other, rule))) return -EEXIST
    if (this.#rules.length >= MAX_RULES) return -ENOBUFS
    const at = this.#rules.findIndex(other => other.priority > rule.priority)
    this.#rules.splice(at < 0 ? this.#rules.length : at, 0, rule)
    this.#asNew = false
    return 0
  }

  /** Where a rule without a priority goes: before the second one. */
  get freePriority(): number {
    return this.#rules.length > 1 && this.#rules[1].priority > 0 ? this.#rules[1].priority - 1 : 0
  }

  remove(rule: Rule): Status {
    const at = this.#rules.indexOf(rule)
    if (at < 0) return -ENOENT
    this.#rules.splice(at, 1)
    this.#asNew = false
    return 0
  }

  /** A goto whose target isn't there (yet). */
  leadsNowhere({ action, target }: Rule): boolean {
    return action === FR_ACT_GOTO && !this.#rules.some(other => other.priority === target)
  }

  /** 0 and the result, or a negative errno: -ENETUNREACH where no table has a route. */
  lookup(fib: Fib, key: RuleKey, result: FibResult): number {
    if (this.#asNew) {
      for (const rule of this.#rules) {
        const status = fib.tables.get(rule.table)?.lookup(key, result) ?? NO_ROUTE
        if (status !== NO_ROUTE && status !== -EAGAIN) return status
      }
      return -ENETUNREACH
    }
    let at = 0
    // A goto only goes forward, so this ends.
    while (at < this.#rules.length) {
      const rule = this.#rules[at++]
      if (matches(rule, key) === (rule.invert === true)) continue
      if (rule.action === FR_ACT_GOTO) {
        const target = this.#rules.findIndex((other, i) => i >= at && other.priority === rule.target)
        if (target >= 0) at = target
        continue
      }
      const status = act(fib, rule, key, result)
      if (status !== NO_ROUTE) return status
    }
    return -ENETUNREACH
  }
}

function act(fib: Fib, rule: Rule, key: RuleKey, result: FibResult): number {
  switch (rule.action) {
    case FR_ACT_TO_TBL: {
      const status = fib.tables.get(rule.table)?.lookup(key, result) ?? NO_ROUTE
      if (status === -EAGAIN) return NO_ROUTE
      if (status === 0 && result.route.length <= (rule.suppressPrefixLength ?? -1)) return NO_ROUTE
      return status
    }
    case FR_ACT_BLACKHOLE:
      return -EINVAL
    case FR_ACT_UNREACHABLE:
      return -EHOSTUNREACH
    case FR_ACT_PROHIBIT:
      return -EACCES
    default:
      return NO_ROUTE
  }
}

function matches(rule: Rule, key: RuleKey): boolean {
  if (rule.inputName !== undefined && rule.inputName !== key.inputName) return false
  if (rule.outputName !== undefined && rule.outputName !== key.outputName) return false
  if (rule.source !== undefined && !key.source?.inPrefix(rule.source, rule.sourceLength ?? 0)) return false
  if (
    rule.destination !== undefined &&
    !key.destination.inPrefix(rule.destination, rule.destinationLength ?? 0)
  )
    return false
  if (((key.mark ^ (rule.mark ?? 0)) & (rule.markMask ?? 0)) !== 0) return false
  if (rule.tos !== undefined && rule.tos !== 0 && rule.tos !== key.tos) return false
  if (rule.protocol !== undefined && rule.protocol !== 0 && rule.protocol !== key.protocol) return false
  return (
    within(rule.sourcePorts, key.sourcePort) &&
    within(rule.destinationPorts, key.destinationPort) &&
    within(rule.uids, key.uid)
  )
}

function within(range: readonly [number, number] | undefined, value: number): boolean {
  return range === undefined || (value >= range[0] && value <= range[1])
}

function sameRule(a: Rule, b: Rule): boolean {
  const text = (rule: Rule): string =>
    JSON.stringify({ ...rule, source: rule.source?.toString(), destination: rule.destination?.toString() }, [
      ...new Set([...Object.keys(a), ...Object.keys(b)]),
    ])
  return text(a) === text(b)
}
