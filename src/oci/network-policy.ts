/**
 * What a container's sandbox may reach: rules of the runtime's flags (`--allow`, `--deny`), which hold for all containers, and
 * those of the container's own annotation. Each list must allow a flow. The same for rates; and where its packets are written
 * to (`--pcap`).
 */
import { constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LinkRates, parseRate } from '../net/link/rate.ts'
import { parseResolverConfig } from '../sandbox/resolver-config.ts'
import { UserError } from '../sandbox/user-error.ts'
import { loadBundle } from './bundle.ts'
import type { RuntimeOptions } from './context.ts'
import { policyLines } from './policy-text.ts'
import { asUserError, type SavedState } from './state.ts'

/** As of policyLines. */
export const POLICY_ANNOTATION = 'dev.caisson.network.policy'

/** '10mbit'. The lower one holds where the runtime's flags have one, too. */
export const RATE_ANNOTATIONS = {
  egress: 'dev.caisson.network.egress-rate',
  ingress: 'dev.caisson.network.ingress-rate',
} as const

const RESOLVER_FILE = '/etc/resolv.conf'

/** Lists of rules, each with 'allow' or 'deny' in front. Throws a UserError for an annotation that makes no sense. */
export function planPolicies(
  { flowRules = [] }: Pick<RuntimeOptions, 'flowRules'>,
  annotations: Readonly<Record<string, string>>,
): string[][] {
  const own = policyLines(annotations[POLICY_ANNOTATION] ?? '', `annotation ${POLICY_ANNOTATION}`)
  return [flowRules, own].filter(list => list.length > 0).map(list => [...list])
}

/** What each interface is held to. Throws a UserError for an annotation that makes no sense. */
export function planRates(
  { rates = {} }: Pick<RuntimeOptions, 'rates'>,
  annotations: Readonly<Record<string, string>>,
): LinkRates {
  const rateOf = (direction: keyof LinkRates): number | undefined => {
    const text = annotations[RATE_ANNOTATIONS[direction]]
    if (text === undefined) return rates[direction]
    const rate = parseRate(text)
    if (typeof rate === 'string') throw new UserError(`annotation ${RATE_ANNOTATIONS[direction]}: ${rate}`)
    return Math.min(rate, rates[direction] ?? rate)
  }
  return { egress: rateOf('egress'), ingress: rateOf('ingress') }
}

/** Refuses what can't be kept where sockets are the host's. */
export function refuseOnHost(options: RuntimeOptions, policies: readonly string[][], rates: LinkRates): void {
  const limits = rates.egress ?? rates.ingress
  const asked =
    policies.length > 0
      ? 'rules of what it may reach'
      : limits !== undefined
        ? 'rates'
        : options.captureDirectory && '--pcap'
  if (!asked) return
  throw new UserError(
    `the container would have sockets of the host, and ${asked} can be kept only by a network stack of the sandbox's own`,
  )
}

/**
 * The name servers that the container was given, whose answers are believed where rules have names. What stands in the image
 * is not: its maker could make any address a name's.
 */
export function trustedResolvers({ bundle }: SavedState): readonly string[] {
  const mount = loadBundle(bundle).mounts?.find(({ destination }) => destination === RESOLVER_FILE)
  try {
    return mount?.source === undefined
      ? []
      : parseResolverConfig(readFileSync(mount.source, 'latin1')).servers
  } catch (error) {
    throw asUserError(error, `the container's ${RESOLVER_FILE} (${mount!.source}) can't be read`)
  }
}

/** A new file for its packets, in which a full disk holds nothing up. -1: nobody wants to see them. */
export function openCapture({ captureDirectory }: RuntimeOptions, id: string): number {
  if (captureDirectory === undefined) return -1
  const { O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants
  const path = join(captureDirectory, `${id}.pcapng`)
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0o600)
  } catch (error) {
    throw asUserError(error, `--pcap: ${path} can't be written`)
  }
}
