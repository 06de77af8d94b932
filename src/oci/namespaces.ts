/**
 * runtime-spec's namespaces. All but the network's are objects of the sandbox's kernel, so that a path to one of the host
 * can only mean that of another container of the same pod. One that is not listed is the caller's by runtime-spec: that
 * can't be had, and so the container gets one of its own, which in a pod is that of the sandbox; but not to be shown
 * the host's processes is more than somebody who asked for them can overlook, and is refused.
 */
import { statSync } from 'node:fs'
import { hostname as hostName } from 'node:os'
import type { ContainerSpec, IdMapSpec, NamespaceChoice } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Config, IdMapping, LinuxConfig, NamespaceType } from './config.ts'
import type { NetworkPlan } from './plan.ts'

/** The containers that there are, by the pid that stands for each on the host; `sandbox` names a sandbox's first one. */
export type Members = ReadonlyMap<number, { readonly id: string; readonly sandbox: string }>

/** The sandbox that a further container joins: see membership.ts. */
interface Pod {
  readonly sandbox: string
  readonly members: Members
}

export interface NamespacePlan {
  readonly namespaces: ContainerSpec['namespaces']
  readonly network: NetworkPlan
  readonly uidMap: readonly IdMapSpec[]
  readonly gidMap: readonly IdMapSpec[]
  readonly timeOffsets?: Readonly<Record<string, number>>
  readonly hostname?: string
  readonly domainname?: string
}

const MAX_NAME = 64
/** /proc/PID/ns/TYPE */
export const OF_PROCESS = /^\/proc\/(\d+)\/(?:task\/\d+\/)?ns\/\w+$/
const NEEDED: readonly NamespaceType[] = ['pid', 'mount']

/** `sandbox`: which one the container joins, if it has none of its own. */
export function planNamespaces(
  config: Config,
  sandbox: string | undefined,
  members: Members,
  warnings: string[],
): NamespacePlan {
  const pod = sandbox === undefined ? undefined : { sandbox, members }
  const { linux = {}, hostname, domainname } = config
  const paths = listed(linux)
  for (const type of NEEDED) {
    if (paths.has(type)) continue
    throw new UserError(
      `linux.namespaces has no '${type}': a sandbox can't share the host's; give the container one of its own`,
    )
  }
  const joined = (type: NamespaceType): NamespaceChoice => {
    const path = paths.get(type)
    if (path === undefined && pod !== undefined && type !== 'cgroup') return { of: pod.sandbox }
    return path ? { of: memberAt(path, pod, type) } : 'new'
  }
  if (!paths.has('ipc') && pod === undefined) {
    warnings.push(
      "linux.namespaces has no 'ipc': the container gets one of its own, as it can't share the host's",
    )
  }
  if (paths.get('mount')) refusePath('mount', paths.get('mount')!)
  if (paths.get('time')) refusePath('time', paths.get('time')!)
  checkName(hostname, 'hostname', paths)
  checkName(domainname, 'domainname', paths)
  const network = planNetwork(paths)
  return {
    namespaces: {
      pid: joined('pid'),
      ipc: joined('ipc'),
      uts: joined('uts'),
      cgroup: joined('cgroup'),
      net: sharedNetwork(paths, pod) ?? (network.kind === 'host' ? 'host' : 'new'),
    },
    network,
    ...planUserNamespace(linux, paths, pod, warnings),
    timeOffsets: planTimeOffsets(linux, paths),
    // Without a uts namespace the container has the host's name, which it can't tell from sharing it.
    hostname: paths.has('uts') ? hostname || undefined : hostName(),
    domainname: domainname || undefined,
  }
}

/** The path of each kind of namespace: '' for a new one. */
function listed(linux: LinuxConfig): Map<NamespaceType, string> {
  const paths = new Map<NamespaceType, string>()
  for (const { type, path } of linux.namespaces ?? []) {
    if (paths.has(type)) throw new UserError(`linux.namespaces has '${type}' twice`)
    if (path && !path.startsWith('/'))
      throw new UserError(`linux.namespaces: ${path} must be an absolute path`)
    paths.set(type, path ?? '')
  }
  return paths
}

function planNetwork(paths: ReadonlyMap<NamespaceType, string>): NetworkPlan {
  const path = paths.get('network')
  if (path === undefined) return { kind: 'host' }
  return path === '' ? { kind: 'new' } : { kind: 'path', path }
}

/** Whether it is the network namespace that we are in ourselves. */
export function isOwnNetwork(network: NetworkPlan): boolean {
  if (network.kind !== 'path') return network.kind === 'host'
  return inode(network.path) === inode('/proc/self/ns/net')
}

/** A pod's containers share what its sandbox lives in. */
function sharedNetwork(
  paths: ReadonlyMap<NamespaceType, string>,
  pod: Pod | undefined,
): { of: string } | undefined {
  if (pod === undefined) return undefined
  const { sandbox, members } = pod
  const pid = [...members.keys()].find(each => members.get(each)!.id === sandbox)
  if (pid === undefined) throw new UserError(`the pod's sandbox ${sandbox} does not exist`)
  const path = paths.get('network') ?? '/proc/self/ns/net'
  if (path !== '' && inode(path) === inode(`/proc/${pid}/ns/net`)) return { of: sandbox }
  throw new UserError(`linux.namespaces: the network namespace is not that of the pod's sandbox ${sandbox}`)
}

function memberAt(path: string, pod: Pod | undefined, type: string): string {
  const pid = Number(OF_PROCESS.exec(path)?.[1])
  const member = pod?.members.get(pid)
  return member !== undefined && member.sandbox === pod!.sandbox ? member.id : refusePath(type, path)
}

function refusePath(type: string, path: string): never {
  throw new UserError(
    `linux.namespaces: the ${type} namespace ${path} can't be joined: it is of no container in this sandbox`,
  )
}

function planUserNamespace(
  linux: LinuxConfig,
  paths: ReadonlyMap<NamespaceType, string>,
  pod: Pod | undefined,
  warnings: string[],
): IdMaps {
  const { uidMappings = [], gidMappings = [] } = linux
  const path = paths.get('user')
  if (path === undefined) {
    if (uidMappings.length + gidMappings.length === 0) return { uidMap: [], gidMap: [] }
    throw new UserError("linux.uidMappings are given, but linux.namespaces has no 'user'")
  }
  if (uidMappings.length === 0 || gidMappings.length === 0) {
    throw new UserError(
      "linux.namespaces has 'user': linux.uidMappings and linux.gidMappings must say whom it has",
    )
  }
  if (path !== '') {
    const of = memberAt(path, pod, 'user')
    warnings.push(`linux.namespaces: the user namespace is one of its own, with the maps of that of ${of}`)
  }
  return { uidMap: idMap(uidMappings), gidMap: idMap(gidMappings) }
}

export interface IdMaps {
  readonly uidMap: readonly IdMapSpec[]
  readonly gidMap: readonly IdMapSpec[]
}

export function idMap(mappings: readonly IdMapping[]): IdMapSpec[] {
  return mappings.map(({ containerID, hostID, size }) => ({
    inside: containerID,
    outside: hostID,
    count: size,
  }))
}

function planTimeOffsets(
  linux: LinuxConfig,
  paths: ReadonlyMap<NamespaceType, string>,
): Readonly<Record<string, number>> | undefined {
  const offsets = Object.entries(linux.timeOffsets ?? {})
  if (offsets.length === 0) return undefined
  if (!paths.has('time'))
    throw new UserError("linux.timeOffsets are given, but linux.namespaces has no 'time'")
  return Object.fromEntries(
    offsets.map(([clock, { secs = 0, nanosecs = 0 }]) => [clock, secs * 1e9 + nanosecs]),
  )
}

function checkName(name: string | undefined, field: string, paths: ReadonlyMap<NamespaceType, string>): void {
  if (!name) return
  if (!paths.has('uts')) throw new UserError(`${field} is given, but linux.namespaces has no 'uts'`)
  if (Buffer.byteLength(name) > MAX_NAME) throw new UserError(`${field} is longer than ${MAX_NAME} bytes`)
}

function inode(path: string): number {
  try {
    return statSync(path).ino
  } catch (error) {
    throw new UserError(`linux.namespaces: ${(error as Error).message}`)
  }
}
