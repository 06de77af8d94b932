/**
 * What a sandbox with a network stack of its own gets with the start of its first container (take-network.ts), what of that
 * is remembered, and what becomes of it in the end. Changes meanwhile are follow-network.ts's.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NetworkRecord } from '../net/setup/record.ts'
import { watchNetwork } from '../sandbox/network-watch.ts'
import type { NetworkSpec } from '../sandbox/protocol.ts'
import { openSideLink } from '../sandbox/side-network.ts'
import { returnNetwork, takeNetwork } from '../sandbox/take-network.ts'
import { UserError } from '../sandbox/user-error.ts'
import { type Context, warn } from './context.ts'
import { deafen, hasEngineResolver, openEngineResolver } from './engine-resolver.ts'
import { inNetworkNamespace, networkNamespaceId } from './network-namespace.ts'
import { openCapture, planPolicies, planRates, trustedResolvers } from './network-policy.ts'
import type { SavedState } from './state.ts'

/** RECORD of the container's state. */
export interface SavedNetwork {
  /** What the sandbox has. */
  readonly record: NetworkRecord
  /** The host's kernel has been kept from hearing what comes in, and has its IPv4 addresses (engine-resolver.ts). */
  readonly deaf: boolean
  /** The sandbox reaches the engine's name server. */
  readonly resolver: boolean
}

const RECORD = 'network.json'

export interface SandboxNetwork {
  readonly spec: NetworkSpec
  /** For the request; the caller's to close. */
  readonly descriptors: readonly number[]
}

/** By the process that stands for the container, which is in its network namespace. */
export async function takeSandboxNetwork(context: Context, state: SavedState): Promise<SandboxNetwork> {
  const { addon, options } = context
  refuseOwnNamespace(state.process!.pid)
  // What can fail comes before the first change.
  const policies = planPolicies(options, state.annotations)
  const rates = planRates(options, state.annotations)
  const trusted = policies.length > 0 ? trustedResolvers(state) : []
  const capture = openCapture(options, state.id)
  try {
    const { spec, descriptors } = await takeInterfaces(context, state)
    return {
      spec: { ...spec, capture: capture >= 0, policies, rates, trusted },
      descriptors: capture < 0 ? descriptors : [...descriptors, capture],
    }
  } catch (error) {
    if (capture >= 0) addon.close(capture)
    throw error
  }
}

async function takeInterfaces(context: Context, state: SavedState) {
  const { addon, options } = context
  const { pid } = state.process!
  const within = <T>(work: () => T) => inNetworkNamespace(addon, pid, work, options.oneCommand)
  const resolver = hasEngineResolver(pid)
  const deaf = resolver && (await deafen(addon, within))
  if (resolver && !deaf) {
    warn(
      context,
      "there is no iptables-restore: the engine's name server resolves only the names of containers",
    )
  }
  const { record, descriptors, side, watched } = within(() => {
    const taken = takeNetwork(addon, deaf)
    // A kernel that keeps the addresses has them for whoever works there; where there are none, nobody does.
    const hasSide = !deaf && taken.descriptors.size > 0
    const side = hasSide ? openSideLink(addon, taken.record) : -1
    return { ...taken, side, watched: watchNetwork(addon, taken.record, deaf) }
  })
  if (!watched) warn(context, 'the network namespace is not watched: later interfaces will not be seen')
  saveNetwork(context, state.id, { record, deaf, resolver })
  const links = [...descriptors.keys()]
  const sockets = resolver ? openEngineResolver(addon, within) : []
  return {
    spec: { record, links, resolvers: sockets.length, side: side >= 0 },
    descriptors: [...descriptors.values(), ...sockets, ...(side < 0 ? [] : [side])],
  }
}

function refuseOwnNamespace(pid: number): void {
  const namespace = networkNamespaceId(pid)
  if (namespace === undefined) return
  if ([networkNamespaceId('/proc/self/ns/net'), networkNamespaceId(1)].includes(namespace)) {
    throw new UserError(
      "the container's network namespace is the host's own, whose interfaces no sandbox gets",
    )
  }
}

/** What has been taken is the host's again, if the namespace is still there. */
export function returnSandboxNetwork(context: Context, id: string, path: string): void {
  const saved = savedNetwork(context, id)
  if (saved === undefined || !existsSync(path)) return
  const { addon, options } = context
  inNetworkNamespace(addon, path, () => returnNetwork(addon, saved.record), options.oneCommand)
}

/** Undefined: nothing was taken. */
export function savedNetwork({ store }: Context, id: string): SavedNetwork | undefined {
  try {
    return JSON.parse(readFileSync(join(store.directory(id), RECORD), 'utf8'))
  } catch {
    return undefined
  }
}

export function saveNetwork({ store }: Context, id: string, network: SavedNetwork): void {
  store.put(id, RECORD, JSON.stringify(network))
}
