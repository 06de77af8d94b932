/**
 * Interfaces that come and go while a sandbox's first container runs, as with `docker network connect` and `disconnect`. The
 * launcher starts this when something changes in the network namespace (native/launcher/follow.c); nobody waits for its
 * outcome, so what goes wrong is told to the sandbox's log.
 */
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { awaitQuiet, openNetworkEvents, watchNetwork } from '../sandbox/network-watch.ts'
import type { NetworkUpdate } from '../sandbox/protocol.ts'
import { changeSideLink } from '../sandbox/side-network.ts'
import { takeChange } from '../sandbox/take-network.ts'
import { type Context, sentryOf, warn } from './context.ts'
import { deafen, hasEngineResolver, openEngineResolver } from './engine-resolver.ts'
import { inNetworkNamespace } from './network-namespace.ts'
import { isAlive } from './process-identity.ts'
import { savedNetwork, saveNetwork } from './sandbox-network.ts'
import { NoContainerError, type SavedState } from './state.ts'

/** The sandbox of container `id` gets what has changed. */
export async function followNetwork(context: Context, id: string): Promise<void> {
  const { addon, options, store } = context
  const { process } = store.tryFind(id) ?? {}
  if (process === undefined) return
  const sockets = new LinuxSockets(addon)
  const open = () => openNetworkEvents(sockets)
  const events = inNetworkNamespace(addon, process.pid, open, options.oneCommand)
  awaitQuiet(addon, sockets, events)
  sockets.close(events)
  try {
    await store.locked(id, () => follow(context, store.load(id)))
  } catch (error) {
    // It ended meanwhile.
    if (!(error instanceof NoContainerError)) throw error
  }
}

async function follow(context: Context, state: SavedState): Promise<void> {
  const { addon, options } = context
  const { id, process } = state
  const saved = savedNetwork(context, id)
  if (saved === undefined || process === undefined || !isAlive(process)) return
  const within = <T>(work: () => T) => inNetworkNamespace(addon, process.pid, work, options.oneCommand)
  // Docker starts its name server with the first network that has names.
  const resolver = hasEngineResolver(process.pid)
  const isNew = resolver && !saved.resolver
  const keeps = saved.deaf || (isNew && (await deafen(addon, within)))
  const taken = within(() => {
    const taken = takeChange(addon, saved.record, { kept: saved.deaf, keeps })
    if (taken === undefined || saved.deaf) return taken
    // Addresses that the host's kernel has again lead to itself.
    const { added, removed } = taken.change
    const gone = saved.record.links.filter(({ index }) => keeps || removed.links.includes(index))
    changeSideLink(addon, keeps ? [] : added.links, gone)
    return taken
  })
  const sockets = isNew ? openEngineResolver(addon, within) : []
  const record = taken?.record ?? saved.record
  if (taken !== undefined || isNew) {
    saveNetwork(context, id, { record, deaf: keeps, resolver: saved.resolver || resolver })
    for (const refusal of taken?.refusals ?? []) warn(context, refusal)
    const links = [...(taken?.descriptors ?? [])]
    const update: NetworkUpdate = {
      change: taken?.change,
      links: links.map(([link]) => link),
      resolvers: sockets.length,
    }
    const descriptors = [...links.map(([, fd]) => fd), ...sockets]
    try {
      await sentryOf(context, state).ask({ command: 'network', container: id, update }, { descriptors })
    } finally {
      for (const fd of descriptors) addon.close(fd)
    }
  }
  within(() => watchNetwork(addon, record, keeps))
}
