/** state, list, ps, events: what there is, and what it does. */
import type { ContainerState, HostProcessInfo, Runtime } from '../oci/runtime.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'
import { idOf, openRuntime } from './oci-runtime.ts'
import { print } from './output.ts'

const FORMAT = { short: 'f', value: 'FORMAT', help: "'table' (if absent) or 'json'" }

export const stateVerb: Verb = {
  usage: 'ID',
  help: 'prints the state of a container, as JSON',
  flags: {},
  flagsAnywhere: true,
  async run(words, globals) {
    const state = await (await openRuntime(globals)).state(idOf(words))
    print(`${JSON.stringify(state, null, 2)}\n`)
    return 0
  },
}

export const listVerb: Verb = {
  usage: '[FLAG...]',
  help: 'lists the containers of --root',
  flags: { format: FORMAT, quiet: { short: 'q', help: 'only their ids' } },
  flagsAnywhere: true,
  async run(words, globals) {
    const json = isJson(words.last('format'))
    const containers = await (await openRuntime(globals)).list()
    if (words.has('quiet')) print(containers.map(({ id }) => `${id}\n`).join(''))
    else print(json ? `${JSON.stringify(containers)}\n` : containerTable(containers))
    return 0
  },
}

export const psVerb: Verb = {
  usage: '[--format FORMAT] ID',
  help: 'lists the processes of a container; without an ID, sandboxes',
  flags: { format: FORMAT },
  flagsAnywhere: true,
  async run(words, globals) {
    const json = isJson(words.last('format'))
    // Behind the id runc takes options of ps(1); engines give none.
    const [id] = words.rest
    if (id === undefined) throw new UserError('the ID of a container is missing')
    const processes = await (await openRuntime(globals)).ps(id)
    if (!json) print(processTable(processes))
    else print(`${JSON.stringify(processes.map(({ hostPid }) => hostPid).filter(pid => pid > 0))}\n`)
    return 0
  },
}

const OOM_INTERVAL_MS = 500

export const eventsVerb: Verb = {
  usage: '[FLAG...] ID',
  help: 'prints statistics and out-of-memory kills of a container as they come, as JSON lines',
  flags: {
    interval: { value: 'DURATION', help: "between statistics: '5s' if absent" },
    stats: { help: 'statistics once, and no more' },
  },
  flagsAnywhere: true,
  async run(words, globals) {
    const id = idOf(words)
    const intervalMs = parseDuration(words.last('interval') ?? '5s')
    const runtime = await openRuntime(globals)
    if ((await runtime.state(id)).status === 'stopped')
      throw new UserError(`container with id ${id} is not running`)
    await printStats(runtime, id)
    if (!words.has('stats')) await follow(runtime, id, intervalMs)
    return 0
  },
}

/** Until the container has ended. */
async function follow(runtime: Runtime, id: string, intervalMs: number): Promise<void> {
  let kills = (await runtime.cgroup(id))?.oomKills() ?? 0
  let next = performance.now() + intervalMs
  while ((await runtime.state(id)).status !== 'stopped') {
    await new Promise(resolve => setTimeout(resolve, Math.min(OOM_INTERVAL_MS, intervalMs)))
    const now = (await runtime.cgroup(id))?.oomKills() ?? 0
    if (now > kills) printEvent('oom', id)
    kills = now
    if (performance.now() < next) continue
    next += intervalMs
    await printStats(runtime, id)
  }
}

async function printStats(runtime: Runtime, id: string): Promise<void> {
  printEvent('stats', id, (await runtime.cgroup(id))?.stats() ?? {})
}

function printEvent(type: string, id: string, data?: unknown): void {
  print(`${JSON.stringify({ type, id, data })}\n`)
}

function isJson(format: string | undefined): boolean {
  if (format === undefined || format === 'table' || format === 'json') return format === 'json'
  throw new UserError(`--format: ${format} is neither 'table' nor 'json'`)
}

/** Go's notation. */
function parseDuration(text: string): number {
  const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)]
  const total = parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit as keyof typeof units], 0)
  if (parts.map(([part]) => part).join('') !== text || total <= 0) {
    throw new UserError(`--interval: ${text} is no duration like 500ms, 5s or 1m`)
  }
  return total
}

function containerTable(containers: readonly ContainerState[]): string {
  return table(
    ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'],
    containers.map(({ id, pid, status, bundle, created, owner }) => [
      id,
      String(pid),
      status,
      bundle,
      created,
      owner,
    ]),
  )
}

/** As `ps -ef` has it, with the host's pids. */
function processTable(processes: readonly HostProcessInfo[]): string {
  const numbers = new Map(processes.map(({ pid, hostPid }) => [pid, hostPid]))
  return table(
    ['UID', 'PID', 'PPID', 'STIME', 'TTY', 'TIME', 'CMD'],
    processes.map(({ uid, pid, hostPid, ppid, startedMs, terminal, cpuMs, args, comm }) => [
      String(uid),
      String(hostPid || pid),
      String(numbers.get(ppid) ?? 0),
      new Date(startedMs).toTimeString().slice(0, 5),
      terminal || '?',
      new Date(cpuMs).toISOString().slice(11, 19),
      args.length > 0 ? args.join(' ') : `[${comm}]`,
    ]),
  )
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map(row => row[column].length)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd()
  return all.map(row => `${line(row)}\n`).join('')
}
