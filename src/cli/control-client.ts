/** `caisson ps` and `caisson strace`: the client's side of the control socket (sandbox/control.ts). */
import { readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { ControlAnswer, ControlRequest } from '../sandbox/control.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'

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

/** As the launcher has it. */
function socketDirectory(): string {
  const runtime = process.env.XDG_RUNTIME_DIR
  if (runtime !== undefined) return join(runtime, 'caisson')
  const uid = process.geteuid!()
  return uid === 0 ? '/run/caisson' : `/tmp/caisson-${uid}`
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
  if ('error' in answer) throw new UserError(`sandbox ${id}: ${answer.error}`)
}

function sandboxIds(): string[] {
  try {
    return readdirSync(socketDirectory())
      .filter(name => name.endsWith('.sock'))
      .map(name => name.slice(0, -'.sock'.length))
  } catch {
    // Nobody made the directory yet.
    return []
  }
}

/** The answer, or undefined where nobody listens (any more: then the stale socket goes). */
async function ask(id: string, request: ControlRequest): Promise<ControlAnswer | undefined> {
  // Here, since the start of a sandbox has no use for it.
  const { createConnection } = await import('node:net')
  const path = join(socketDirectory(), `${id}.sock`)
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = createConnection(path, () => socket.write(`${JSON.stringify(request)}\n`))
    socket.setTimeout(TIMEOUT_MS, () => {
      socket.destroy()
      reject(new UserError(`sandbox ${id} does not answer`))
    })
    socket.on('data', piece => {
      text += piece
    })
    socket.on('end', () => resolve(text === '' ? undefined : JSON.parse(text)))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') unlinkSync(path)
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else reject(new UserError(`sandbox ${id}: ${error.message}`))
    })
  })
}

function age(startedMs: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - startedMs) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`
  return `${Math.floor(seconds / 3600)}h`
}
