/**
 * What a sandbox with a network stack of its own gets with the start of its first container (take-network.ts), and what becomes of
 * it in the end.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NetworkRecord } from '../net/setup/record.ts'
import type { NetworkSpec } from '../sandbox/protocol.ts'
import { openSideLink } from '../sandbox/side-network.ts'
import { returnNetwork, takeNetwork } from '../sandbox/take-network.ts'
import { UserError } from '../sandbox/user-error.ts'
import { type Context, warn } from './context.ts'
import { deafen, hasEngineResolver, openEngineResolver } from './engine-resolver.ts'
import { inNetworkNamespace } from './network-namespace.ts'
import type { SavedState } from './state.ts'

export interface SandboxNetwork {
  readonly spec: NetworkSpec
  /** For the request; the caller's to close. */
  readonly descriptors: readonly number[]
}

/** By the process that stands for the container, which is in its network namespace. */
export async function takeSandboxNetwork(context: Context, state: SavedState): Promise<SandboxNetwork> {
  const { addon } = context
  const { pid } = state.process!
  const namespace = namespaceOf(pid)
  if (namespace >= 0 && [namespaceOf('self'), namespaceOf(1)].includes(namespace)) {
    throw new UserError(
      "the container's network namespace is the host's own, whose interfaces no sandbox gets",
    )
  }
  const within = <T>(work: () => T) => inNetworkNamespace(addon, pid, work, context.options.oneCommand)
  const resolver = hasEngineResolver(pid)
  const deaf = resolver && (await deafen(addon, within))
  if (resolver && !deaf) {
    warn(
      context,
      "there is no iptables-restore: the engine's name server resolves only the names of containers",
    )
  }
  const { record, descriptors, side } = within(() => {
    const taken = takeNetwork(addon, deaf)
    // A kernel that keeps the addresses has them for whoever works there; where there are none, nobody does.
    const hasSide = !deaf && taken.descriptors.size > 0
    return { ...taken, side: hasSide ? openSideLink(addon, taken.record) : -1 }
  })
  if (state.networkPath !== undefined) {
    writeFileSync(recordPath(context, state.id), JSON.stringify(record), { mode: 0o600 })
  }
  const links = [...descriptors.keys()]
  const sockets = resolver ? openEngineResolver(addon, within) : []
  return {
    spec: { record, links, resolvers: sockets.length, side: side >= 0 },
    descriptors: [...descriptors.values(), ...sockets, ...(side < 0 ? [] : [side])],
  }
}

/** What has been taken is the host's again, if the namespace is still there. */
export function returnSandboxNetwork(context: Context, id: string, path: string): void {
  let record: NetworkRecord
  try {
    record = JSON.parse(readFileSync(recordPath(context, id), 'utf8'))
  } catch {
    // Nothing was taken.
    return
  }
  if (!existsSync(path)) return
  const { addon, options } = context
  inNetworkNamespace(addon, path, () => returnNetwork(addon, record), options.oneCommand)
}

function recordPath({ store }: Context, id: string): string {
  return join(store.directory(id), 'network.json')
}

/** -1 for one that can't be seen from here: nobody could join it, either. */
function namespaceOf(pid: number | 'self'): number {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino
  } catch {
    return -1
  }
}
