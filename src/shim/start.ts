/**
 * `start`: makes the shim of a container, or finds that of its pod, and says where it listens. The shim itself is a process
 * of its own (serve.ts), which gets the listening socket: containerd can connect before it is there.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CLOSE_RANGE_CLOEXEC } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { HostProcess } from '../sandbox/host-process.ts'
import { DEFAULT_NETWORK } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'
import { addressOf, listenAt, saveAddress, socketPath } from './address.ts'
import { type ShimFlags, startAnswer, startParams } from './bootstrap.ts'

/** The descriptor on which a shim finds its socket. */
export const LISTEN_FD = 3

/** What groups containers: they have the same value for one of these. */
const GROUP_ANNOTATIONS = ['io.containerd.runc.v2.group', 'io.kubernetes.cri.sandbox-id']

/** `command`: how this program is run. Our working directory is the bundle. */
export async function startShim(
  addon: Addon,
  command: readonly string[],
  flags: ShimFlags,
  input: Uint8Array,
): Promise<Uint8Array | string> {
  const params = startParams(flags, input)
  const config = readConfig(flags.id)
  const group = groupOf(config) ?? flags.id
  const path = socketPath(params.socketDirectory, params.address, flags.namespace, group)
  // What our caller has left open is not for the shim.
  addon.syscall(NR.close_range, 3, 0x7fffffff, CLOSE_RANGE_CLOEXEC)
  const listener = listenAt(addon, path)
  if (listener !== undefined) {
    const [file, ...words] = command
    const own = ['-namespace', flags.namespace, '-id', flags.id, '-address', params.address, '-socket', path]
    if (flags.publishBinary !== '') own.push('-publish-binary', flags.publishBinary)
    if (params.debug) own.push('-debug')
    const network = networkOf(config)
    // For the launcher: a sandbox starts while the shim does.
    if (network !== undefined) own.push('-spare', `${params.options.network ?? DEFAULT_NETWORK}:${network}`)
    // Nothing of ours stays open in it: who started us waits for the end of our output.
    const descriptors = [-1, -1, -1, listener]
    const args = [file, ...words, ...own, 'serve']
    const shim = HostProcess.start(addon, { path: file, args, descriptors, session: true })
    settle(shim.pid, params.options.shimCgroup)
  }
  const address = addressOf(path)
  saveAddress(address)
  return startAnswer(params, address)
}

/** What of config.json matters here; the runtime looks at it closely. */
interface Config {
  readonly annotations?: Readonly<Record<string, unknown>>
  readonly linux?: { readonly namespaces?: readonly { readonly type?: unknown; readonly path?: unknown }[] }
}

function readConfig(id: string): Config {
  try {
    return JSON.parse(readFileSync('config.json', 'utf8'))
  } catch (error) {
    throw new UserError(`config.json of container ${id}: ${(error as Error).message}`)
  }
}

function groupOf({ annotations }: Config): string | undefined {
  for (const name of GROUP_ANNOTATIONS) {
    const group = annotations?.[name]
    if (typeof group === 'string' && group !== '') return group
  }
  return undefined
}

/** The network namespace of the container's sandbox: 'new', or a path; undefined for the host's own. */
function networkOf({ linux }: Config): string | undefined {
  const network = linux?.namespaces?.find?.(each => each?.type === 'network')
  if (network === undefined) return undefined
  return typeof network.path === 'string' && network.path !== '' ? network.path : 'new'
}

/** The shim's place among the host's processes. */
function settle(pid: number, cgroup: string | undefined): void {
  // Rather it than containerd, when memory runs out.
  const score = Number(readFileSync(`/proc/${process.ppid}/oom_score_adj`, 'latin1'))
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(Math.min(score + 1, 1000)))
  } catch (error) {
    // Without privileges it can't be lowered below what it was at login.
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
  }
  if (cgroup !== undefined) joinCgroup(pid, cgroup)
}

/** `path`: as containerd's configuration has it, from the root of the hierarchies, of which v1 has several. */
function joinCgroup(pid: number, path: string): void {
  const roots = ['', ...readdirSync(CGROUPS)].map(name => join(CGROUPS, name))
  const procs = roots.map(root => join(root, path, 'cgroup.procs')).filter(file => existsSync(file))
  if (procs.length === 0) throw new UserError(`ShimCgroup: there is no cgroup ${path}`)
  for (const file of procs) writeFileSync(file, String(pid))
}
const CGROUPS = '/sys/fs/cgroup'
