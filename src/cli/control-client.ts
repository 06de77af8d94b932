/** `caisson ps` and `caisson strace`: the client's side of the control socket (sandbox/control-client.ts). */
import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { loadAddon } from '../platform/addon.ts'
import { ControlClient, type GoodAnswer, NoSandboxError } from '../sandbox/control-client.ts'
import type { ControlRequest } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'
import { packageRoot } from './package-root.ts'

const TIMEOUT_MS = 2000

export const psVerb: Verb = {
  usage: '',
  help: 'lists the sandboxes of this user',
  flags: {},
  async run() {
    await listSandboxes()
    return 0
  },
}

export const straceVerb: Verb = {
  usage: 'on|off ID',
  help: "switches the trace of a running sandbox's system calls; 'caisson ps' shows the ids",
  flags: {},
  async run({ rest }) {
    const [state, id] = rest
    if ((state !== 'on' && state !== 'off') || id === undefined || rest.length > 2) {
      throw new UserError("strace: say 'on' or 'off', and the id of a sandbox as 'caisson ps' shows it")
    }
    await switchStrace(state, id)
    return 0
  },
}

/** The name of a launcher's abstract socket, as the launcher has it: an id is its pid. */
function socketName(id: string): string {
  return `caisson-${process.geteuid!()}-${id}`
}

async function listSandboxes(): Promise<void> {
  const rows = await Promise.all(sandboxIds().map(describe))
  for (const row of [['ID', 'AGE', 'PROCESSES', 'COMMAND'], ...rows]) {
    if (row === undefined) continue
    process.stdout.write(`${row[0].padEnd(9)} ${row[1].padEnd(9)} ${row[2].padEnd(9)} ${row[3]}\n`)
  }
}

async function describe(id: string): Promise<string[] | undefined> {
  try {
    const answer = await ask(id, { command: 'info' })
    if (answer === undefined || !('info' in answer)) return undefined
    const { startedMs, processes, command } = answer.info
    return [id, age(startedMs), String(processes), command]
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return [id, '?', '?', `(${error.message})`]
  }
}

async function switchStrace(state: 'on' | 'off', id: string): Promise<void> {
  const answer = await ask(id, { command: 'strace', on: state === 'on' })
  if (answer === undefined) throw new UserError(`there is no sandbox ${id}; 'caisson ps' lists them`)
}

function sandboxIds(): string[] {
  const names = readFileSync('/proc/net/unix', 'latin1').matchAll(
    new RegExp(`@${socketName('(\\d+)')}$`, 'gm'),
  )
  return [...new Set([...names].map(name => name[1]))]
    .filter(isLauncher)
    .sort((a, b) => Number(a) - Number(b))
}

/** Anybody could have taken a name like this. */
function isLauncher(pid: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`).endsWith('/native/build/caisson')
  } catch {
    // It ended, or is somebody else's.
    return false
  }
}

/** The answer, or undefined where nobody listens (any more). */
async function ask(id: string, request: ControlRequest): Promise<GoodAnswer | undefined> {
  const addon = loadAddon(join(packageRoot(), 'native/build/caisson.node'))
  try {
    return await new ControlClient(addon, `@${socketName(id)}`).ask(request, { timeoutMs: TIMEOUT_MS })
  } catch (error) {
    if (error instanceof NoSandboxError) return undefined
    throw error
  }
}

function age(startedMs: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - startedMs) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`
  return `${Math.floor(seconds / 3600)}h`
}
