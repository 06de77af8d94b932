/**
 * Which sandbox a new container joins, if it gets none of its own: that of its pod, which the engine says in annotations; or
 * that which has taken over the network namespace it is to live in (`docker run --network=container:NAME`, podman's pods), as
 * two containers that share localhost share a network stack.
 */
import type { Config } from './config.ts'
import type { Context } from './context.ts'
import { type Members, OF_PROCESS } from './namespaces.ts'
import { networkNamespaceId } from './network-namespace.ts'
import { podRole } from './pod.ts'
import { isAlive } from './process-identity.ts'

export interface Membership {
  /** The id of the sandbox's first container; undefined: a sandbox of its own. */
  readonly sandbox?: string
  readonly members: Members
  /** The network namespace is that of a process that is none of ours. */
  readonly strangers?: boolean
}

export function membershipOf(context: Context, id: string, config: Config): Membership {
  const role = podRole(id, config.annotations ?? {})
  if (role?.kind === 'container') return { sandbox: role.sandboxId, members: allContainers(context) }
  const path = config.linux?.namespaces?.find(({ type }) => type === 'network')?.path
  if (role !== undefined || !path) return { members: new Map() }
  const members = allContainers(context)
  const sandbox = networkOwner(context, path, members)
  const [, pid] = OF_PROCESS.exec(path) ?? []
  return {
    sandbox,
    members,
    strangers: sandbox === undefined && pid !== undefined && !members.has(Number(pid)),
  }
}

/** All containers, by the process that stands for each. */
function allContainers({ store }: Context): Members {
  const members = new Map<number, { id: string; sandbox: string }>()
  for (const id of store.list()) {
    const state = store.tryFind(id)
    if (state?.process !== undefined) members.set(state.process.pid, { id, sandbox: state.sandbox })
  }
  return members
}

/** The sandbox whose stack the namespace's interfaces belong to. */
function networkOwner({ store }: Context, path: string, members: Members): string | undefined {
  const namespace = networkNamespaceId(path)
  if (namespace === undefined) return undefined
  for (const [pid, { id, sandbox }] of members) {
    if (id !== sandbox || networkNamespaceId(pid) !== namespace) continue
    const state = store.tryFind(id)
    if (state?.ownStack === true && state.process !== undefined && isAlive(state.process)) return id
  }
  return undefined
}
