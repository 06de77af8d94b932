/** RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE: policy routing, `ip rule`. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  FIB_RULE_INVERT,
  FIB_RULE_UNRESOLVED,
  FR_ACT_GOTO,
  FR_ACT_TO_TBL,
  FR_ACT_UNSPEC,
  FRA_DPORT_RANGE,
  FRA_DST,
  FRA_FWMARK,
  FRA_FWMASK,
  FRA_GOTO,
  FRA_IIFNAME,
  FRA_IP_PROTO,
  FRA_OIFNAME,
  FRA_PRIORITY,
  FRA_PROTOCOL,
  FRA_SPORT_RANGE,
  FRA_SRC,
  FRA_SUPPRESS_IFGROUP,
  FRA_SUPPRESS_PREFIXLEN,
  FRA_TABLE,
  FRA_UID_RANGE,
  NLM_F_EXCL,
  NLM_F_MULTI,
  RTM_NEWRULE,
} from '../../../abi/constants.ts'
import { EAFNOSUPPORT, EINVAL, ENOENT } from '../../../abi/errno.ts'
import { FIB_RULE_HDR } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { Rule } from '../../ip/rules.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { readAddress } from './address.ts'

const NONE = 0xffffffff

export function writeRule(
  writer: MessageWriter,
  rule: Rule,
  family: number,
  type: number,
  flags: number,
  sequence: number,
  port: number,
  unresolved = false,
): void {
  writer.start(type, flags, sequence, port)
  const at = writer.struct(FIB_RULE_HDR.size)
  writer.set8(at + FIB_RULE_HDR.family, family)
  writer.set8(at + FIB_RULE_HDR.dst_len, rule.destinationLength ?? 0)
  writer.set8(at + FIB_RULE_HDR.src_len, rule.sourceLength ?? 0)
  writer.set8(at + FIB_RULE_HDR.tos, rule.tos ?? 0)
  writer.set8(at + FIB_RULE_HDR.table, rule.table < 256 ? rule.table : 252)
  writer.set8(at + FIB_RULE_HDR.action, rule.action)
  writer.set32(
    at + FIB_RULE_HDR.flags,
    (rule.invert === true ? FIB_RULE_INVERT : 0) | (unresolved ? FIB_RULE_UNRESOLVED : 0),
  )
  writer.u32(FRA_TABLE, rule.table)
  writer.u32(FRA_SUPPRESS_PREFIXLEN, rule.suppressPrefixLength ?? NONE)
  writer.u8(FRA_PROTOCOL, rule.origin ?? 0)
  if (rule.inputName !== undefined) writer.string(FRA_IIFNAME, rule.inputName)
  if (rule.outputName !== undefined) writer.string(FRA_OIFNAME, rule.outputName)
  if (rule.priority !== 0) writer.u32(FRA_PRIORITY, rule.priority)
  if (rule.mark !== undefined && rule.mark !== 0) writer.u32(FRA_FWMARK, rule.mark)
  if ((rule.mark !== undefined && rule.mark !== 0) || (rule.markMask ?? 0) !== 0) {
    writer.u32(FRA_FWMASK, rule.markMask ?? 0)
  }
  if (rule.target !== undefined) writer.u32(FRA_GOTO, rule.target)
  if (rule.uids !== undefined) {
    const range = writer.attribute(FRA_UID_RANGE, 8)
    writer.set32(range, rule.uids[0])
    writer.set32(range + 4, rule.uids[1])
  }
  if (rule.protocol !== undefined) writer.u8(FRA_IP_PROTO, rule.protocol)
  writePorts(writer, FRA_SPORT_RANGE, rule.sourcePorts)
  writePorts(writer, FRA_DPORT_RANGE, rule.destinationPorts)
  if (rule.destination !== undefined) writer.bytes(FRA_DST, rule.destination.bytes())
  if (rule.source !== undefined) writer.bytes(FRA_SRC, rule.source.bytes())
  writer.end()
}

function writePorts(writer: MessageWriter, type: number, ports: readonly [number, number] | undefined): void {
  if (ports === undefined) return
  const at = writer.attribute(type, 4)
  writer.set16(at, ports[0])
  writer.set16(at + 2, ports[1])
}

export function dumpRules(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  if (family !== AF_UNSPEC && family !== AF_INET && family !== AF_INET6) return -EAFNOSUPPORT
  const { sequence, port } = request
  const found: [Rule, number][] = []
  for (const each of family === AF_UNSPEC ? [AF_INET, AF_INET6] : [family]) {
    for (const rule of rulesOf(stack, each).rules) found.push([rule, each])
  }
  return new ListDump(found, (writer, [rule, of]) =>
    writeRule(
      writer,
      rule,
      of,
      RTM_NEWRULE,
      NLM_F_MULTI,
      sequence,
      port,
      rulesOf(stack, of).leadsNowhere(rule),
    ),
  )
}

function rulesOf(stack: IpStack, family: number) {
  return family === AF_INET ? stack.rules4 : stack.rules6
}

function parse(request: NetlinkRequest, family: number): Partial<Rule> | Status {
  const { body, view } = request
  if (body.length < FIB_RULE_HDR.size) return -EINVAL
  const bits = family === AF_INET ? 32 : 128
  const attributes = new Attributes(body, FIB_RULE_HDR.size)
  const rule: Partial<Rule> = { action: view.getUint8(FIB_RULE_HDR.action) }
  const sourceLength = view.getUint8(FIB_RULE_HDR.src_len)
  const destinationLength = view.getUint8(FIB_RULE_HDR.dst_len)
  if (sourceLength > bits || destinationLength > bits) return -EINVAL
  if (sourceLength > 0) {
    rule.source = readAddress(attributes.get(FRA_SRC), family)
    rule.sourceLength = sourceLength
    if (rule.source === undefined) return -EINVAL
  }
  if (destinationLength > 0) {
    rule.destination = readAddress(attributes.get(FRA_DST), family)
    rule.destinationLength = destinationLength
    if (rule.destination === undefined) return -EINVAL
  }
  rule.table = attributes.u32(FRA_TABLE) ?? view.getUint8(FIB_RULE_HDR.table)
  if ((view.getUint32(FIB_RULE_HDR.flags, true) & FIB_RULE_INVERT) !== 0) rule.invert = true
  const tos = view.getUint8(FIB_RULE_HDR.tos)
  if (tos !== 0) rule.tos = tos
  const priority = attributes.u32(FRA_PRIORITY)
  if (priority !== undefined) rule.priority = priority
  const inputName = attributes.string(FRA_IIFNAME)
  if (inputName !== undefined) rule.inputName = inputName
  const outputName = attributes.string(FRA_OIFNAME)
  if (outputName !== undefined) rule.outputName = outputName
  const mark = attributes.u32(FRA_FWMARK)
  if (mark !== undefined && mark !== 0) {
    rule.mark = mark
    rule.markMask = NONE
  }
  const mask = attributes.u32(FRA_FWMASK)
  if (mask !== undefined) rule.markMask = mask
  const target = attributes.u32(FRA_GOTO)
  if (target !== undefined) rule.target = target
  const suppress = attributes.u32(FRA_SUPPRESS_PREFIXLEN)
  if (suppress !== undefined && suppress !== NONE) rule.suppressPrefixLength = suppress
  const protocol = attributes.u8(FRA_IP_PROTO)
  if (protocol !== undefined) rule.protocol = protocol
  const origin = attributes.u8(FRA_PROTOCOL)
  if (origin !== undefined) rule.origin = origin
  const uids = attributes.get(FRA_UID_RANGE)
  if (uids !== undefined && uids.length >= 8) {
    const range = viewOf(uids)
    rule.uids = [range.getUint32(0, true), range.getUint32(4, true)]
  }
  const sourcePorts = readPorts(attributes.get(FRA_SPORT_RANGE))
  if (sourcePorts !== undefined) rule.sourcePorts = sourcePorts
  const destinationPorts = readPorts(attributes.get(FRA_DPORT_RANGE))
  if (destinationPorts !== undefined) rule.destinationPorts = destinationPorts
  if (attributes.has(FRA_SUPPRESS_IFGROUP) && attributes.u32(FRA_SUPPRESS_IFGROUP) !== NONE) return -EINVAL
  return rule
}

function readPorts(value: Uint8Array | undefined): readonly [number, number] | undefined {
  if (value === undefined || value.length < 4) return undefined
  const view = viewOf(value)
  return [view.getUint16(0, true), view.getUint16(2, true)]
}

export function newRule(stack: IpStack, request: NetlinkRequest, family: number): Status {
  if (family !== AF_INET && family !== AF_INET6) return -EAFNOSUPPORT
  const parsed = parse(request, family)
  if (typeof parsed === 'number') return parsed
  const table = rulesOf(stack, family)
  const action = parsed.action || FR_ACT_TO_TBL
  if (action === FR_ACT_TO_TBL && !parsed.table) {
    request.reason = 'Invalid table'
    return -EINVAL
  }
  const priority = parsed.priority ?? table.freePriority
  if (action === FR_ACT_GOTO && (parsed.target === undefined || parsed.target <= priority)) {
    request.reason = parsed.target === undefined ? 'Missing goto action' : 'Backward goto not supported'
    return -EINVAL
  }
  const rule: Rule = { ...parsed, action, priority, table: parsed.table ?? 0 }
  const status = table.add(rule, (request.flags & NLM_F_EXCL) !== 0)
  if (status === 0) changed(stack, rule, family, false)
  return status
}

export function deleteRule(stack: IpStack, request: NetlinkRequest, family: number): Status {
  if (family !== AF_INET && family !== AF_INET6) return -EAFNOSUPPORT
  const parsed = parse(request, family)
  if (typeof parsed === 'number') return parsed
  const table = rulesOf(stack, family)
  const found = table.rules.find(rule => agrees(rule, parsed))
  if (found === undefined) return -ENOENT
  const status = table.remove(found)
  if (status === 0) changed(stack, found, family, true)
  return status
}

/** What listeners are told of. */
export interface RuleChange {
  readonly rule: Rule
  readonly family: number
}

function changed(stack: IpStack, rule: Rule, family: number, gone: boolean): void {
  stack.generation++
  const change: RuleChange = { rule, family }
  stack.listener?.ruleChanged(change, gone)
}

/** Whether a rule has all that was said. */
function agrees(rule: Rule, said: Partial<Rule>): boolean {
  if (said.action !== FR_ACT_UNSPEC && said.action !== undefined && rule.action !== said.action) return false
  if (said.table && rule.table !== said.table) return false
  if (said.priority !== undefined && rule.priority !== said.priority) return false
  if ((said.invert ?? false) !== (rule.invert ?? false)) return false
  for (const name of ['source', 'destination'] as const) {
    const address = said[name]
    if (address === undefined) continue
    if (rule[name] === undefined || !rule[name].equals(address)) return false
    if (rule[`${name}Length`] !== said[`${name}Length`]) return false
  }
  const same = ['inputName', 'outputName', 'mark', 'markMask', 'tos', 'protocol', 'target'] as const
  if (same.some(name => said[name] !== undefined && rule[name] !== said[name])) return false
  for (const name of ['uids', 'sourcePorts', 'destinationPorts'] as const) {
    const range = said[name]
    if (range !== undefined && (rule[name]?.[0] !== range[0] || rule[name]?.[1] !== range[1])) return false
  }
  return true
}

export function announceRule(rule: Rule, family: number, type: number): Uint8Array {
  const writer = new MessageWriter()
  writeRule(writer, rule, family, type, 0, 0, 0)
  return writer.take()
}
