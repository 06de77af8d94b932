/** Rules of what a guest may reach, as a guard of its devices, and what is said of flows that they refuse. */
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from '../abi/constants.ts'
import type { Kernel, Log } from '../kernel/kernel.ts'
import { parseAddress } from '../net/address.ts'
import { useFlowPolicy } from '../net/inet/network.ts'
import type { NewFlow } from '../net/policy/flow.ts'
import type { FlowGuard } from '../net/policy/guard.ts'
import { type FlowRule, onFlowOfAll } from '../net/policy/rule.ts'

/** Lines about refused flows; a guest that goes on trying is not worth more. */
const MAX_LINES = 1000
const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  [IPPROTO_ICMP]: 'icmp',
  [IPPROTO_TCP]: 'tcp',
  [IPPROTO_UDP]: 'udp',
}

/**
 * From now on the kernel's networks are held to `policies`, all of them; undefined where there are none. `resolvers`: the
 * guest's, whose answers are believed.
 */
export function useRules(
  kernel: Kernel,
  policies: readonly (readonly FlowRule[])[],
  resolverTexts: readonly string[],
  log: Log,
): FlowGuard | undefined {
  if (policies.every(rules => rules.length === 0)) return undefined
  const resolvers = resolverTexts.flatMap(text => parseAddress(text) ?? [])
  const said = new Set<string>()
  return useFlowPolicy(kernel, {
    onFlow: onFlowOfAll(policies),
    resolvers,
    refused: flow => {
      const text = describe(flow)
      if (said.size >= MAX_LINES || said.has(text)) return
      said.add(text)
      log.warn(`network: refused ${text}`)
    },
  })
}

function describe({ protocol, destination, destinationPort, names, question }: NewFlow): string {
  if (question !== undefined) return `the question for ${JSON.stringify(question)}`
  const name = PROTOCOL_NAMES[protocol] ?? `protocol ${protocol}`
  const address = destination.isV4 ? destination.toString() : `[${destination}]`
  const port = destinationPort === 0 ? '' : `:${destinationPort}`
  return `${name} to ${address}${port}${names.length === 0 ? '' : ` (${names.join(', ')})`}`
}
