/**
 * Rules of a policy, as `--allow` and `--deny` have them: `TARGET[:PORT[-PORT]][/tcp|udp|icmp]`, where a target is an address,
 * a network (`10.0.0.0/8`), a name, all names below one (`*.example.org`), or `*`. An IPv6 address that a port follows stands
 * in brackets. The first rule that matches decides.
 */
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from '../../abi/constants.ts'
import { type IpAddress, parseAddress } from '../address.ts'
import type { NewFlow, OnFlow, OnQuestion, Verdict } from './flow.ts'

export interface FlowRule {
  readonly verdict: Verdict
  readonly target: RuleTarget
  /** 0: all. */
  readonly protocol: number
  readonly firstPort: number
  readonly lastPort: number
}

export type RuleTarget =
  | { readonly kind: 'all' }
  | { readonly kind: 'network'; readonly address: IpAddress; readonly length: number }
  /** In lower case, without a dot at its end. `below`: names below it, and not it itself. */
  | { readonly kind: 'name'; readonly name: string; readonly below: boolean }

const PROTOCOLS: Readonly<Record<string, number>> = {
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
  icmp: IPPROTO_ICMP,
}
const LAST_PORT = 65535
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A rule, or what is wrong with the text. */
export function parseRule(verdict: Verdict, text: string): FlowRule | string {
  const protocolMatch = /\/([a-z]+)$/i.exec(text)
  const protocolName = protocolMatch?.[1].toLowerCase() ?? ''
  const protocol = protocolMatch === null ? 0 : PROTOCOLS[protocolName]
  if (protocol === undefined) return `${protocolName} is none of tcp, udp and icmp`
  const rest = protocolMatch === null ? text : text.slice(0, protocolMatch.index)
  const [targetText, portText] = splitPort(rest)
  const target = parseTarget(targetText)
  if (typeof target === 'string') return target
  if (portText === undefined) return { verdict, target, protocol, firstPort: 0, lastPort: LAST_PORT }
  if (protocol === IPPROTO_ICMP) return 'icmp has no ports'
  const ports = /^(\d+)(?:-(\d+))?$/.exec(portText)
  if (ports === null) return `${portText} is neither a port nor a range such as 8000-8100`
  const firstPort = Number(ports[1])
  const lastPort = Number(ports[2] ?? ports[1])
  if (firstPort < 1 || lastPort > LAST_PORT || firstPort > lastPort) {
    return `${portText}: ports are 1 to ${LAST_PORT}, the smaller first`
  }
  return { verdict, target, protocol, firstPort, lastPort }
}

/** A rule with its verdict in front, 'allow 10.0.0.0/8:443/tcp', or what is wrong with the text. */
export function parseRuleLine(line: string): FlowRule | string {
  const [, verdict, text] = /^(allow|deny)\s+(\S+)$/.exec(line.trim()) ?? []
  if (verdict !== 'allow' && verdict !== 'deny') return "a rule is 'allow' or 'deny' and what is meant"
  return parseRule(verdict, text)
}

/** The target and what stands behind its colon: that of an address is no port's. */
function splitPort(text: string): [string, string | undefined] {
  const bracketed = /^\[(.*)\](?::(.*))?$/.exec(text)
  if (bracketed !== null) return [bracketed[1], bracketed[2]]
  const colon = text.indexOf(':')
  if (colon < 0 || text.indexOf(':', colon + 1) >= 0) return [text, undefined]
  return [text.slice(0, colon), text.slice(colon + 1)]
}

function parseTarget(text: string): RuleTarget | string {
  if (text === '*') return { kind: 'all' }
  const [addressText, lengthText, ...more] = text.split('/')
  const address = parseAddress(addressText)
  if (address !== undefined) {
    const length = lengthText === undefined ? address.bits : Number(lengthText)
    const right = lengthText === undefined || /^\d{1,3}$/.test(lengthText)
    if (!right || length > address.bits || more.length > 0) {
      return `${text}: a network is an address and a length of at most ${address.bits}`
    }
    return { kind: 'network', address, length }
  }
  const below = text.startsWith('*.')
  const name = plainName(below ? text.slice(2) : text)
  // What looks like an address and is none is no name either.
  const labels = name.split('.')
  if (name.length > 253 || !labels.every(label => LABEL.test(label)) || /^\d+$/.test(labels.at(-1)!)) {
    return `${text === '' ? 'nothing' : text} is neither an address, a network nor a name`
  }
  return { kind: 'name', name, below }
}

/** A name as names are compared. */
export function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

/** Where the resolver as such may not be reached: names that rules speak of may be asked for. */
export function onQuestionOf(rules: readonly FlowRule[]): OnQuestion {
  return name =>
    rules.find(({ target }) => target.kind === 'name' && isNamed(target, name))?.verdict ?? 'deny'
}

/**
 * What the rules say as a whole. Where something is allowed, all else is not. What stays in the sandbox is a matter only of
 * rules that name its network.
 */
export function onFlowOf(rules: readonly FlowRule[]): OnFlow {
  const otherwise = rules.some(rule => rule.verdict === 'allow') ? 'deny' : 'allow'
  return flow => rules.find(rule => matches(rule, flow))?.verdict ?? (flow.local ? 'allow' : otherwise)
}

/**
 * Several policies, of which each must allow a flow: what an administrator says of all containers, and what is said of one. Of a
 * question to the resolver too.
 */
export function onFlowOfAll(policies: readonly (readonly FlowRule[])[]): OnFlow {
  const deciders = policies.map(rules => ({ onFlow: onFlowOf(rules), onQuestion: onQuestionOf(rules) }))
  return flow => {
    const { question } = flow
    const allowed = deciders.every(({ onFlow, onQuestion }) => {
      return onFlow(flow) === 'allow' || (question !== undefined && onQuestion(question) === 'allow')
    })
    return allowed ? 'allow' : 'deny'
  }
}

function matches({ target, protocol, firstPort, lastPort }: FlowRule, flow: NewFlow): boolean {
  if (protocol !== 0 && protocol !== flow.protocol) return false
  const anyPort = firstPort === 0
  if (!anyPort && (flow.destinationPort < firstPort || flow.destinationPort > lastPort)) return false
  switch (target.kind) {
    case 'all':
      return !flow.local
    case 'network':
      if (flow.local && target.length === 0) return false
      return flow.destination.inPrefix(target.address, target.length)
    case 'name':
      return flow.names.some(name => isNamed(target, name))
  }
}

function isNamed({ name, below }: { name: string; below: boolean }, asked: string): boolean {
  return below ? asked.endsWith(`.${name}`) : asked === name
}
