/**
 * containerd-shim-caisson-v1: how containerd runs containers in caisson (runtime `io.containerd.caisson.v1`).
 *
 *   containerd ── containerd-shim-caisson-v1 … start    in the bundle: finds or makes the shim, prints its address
 *       │              └─ … serve                       the shim: ttrpc on a unix socket, one for all containers of a pod
 *       │                   └─ launcher ─ sentry        the sandbox
 *       └─────────── … delete                           when the shim is gone
 *
 * The flags are written as Go's `flag` package has them: -name VALUE, -name=VALUE, with one dash or two.
 */
import { readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { loadAddon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { ServeFlags } from './serve.ts'

const SHIM_NAME = 'containerd-shim-caisson-v1'
const RUNTIME_NAME = 'io.containerd.caisson.v1'

/** How this program is installed and run. */
export interface ShimProgram {
  readonly packageRoot: string
  readonly version: string
  /** File, a path, and arguments, to which the flags are added. */
  readonly command: readonly string[]
}

/** `spare` is the launcher's (native/launcher/spare.c). */
const TEXT_FLAGS = ['namespace', 'id', 'address', 'publish-binary', 'bundle', 'socket', 'spare'] as const
const SWITCHES = ['debug', 'info', 'v', 'version'] as const

interface Parsed {
  readonly texts: ReadonlyMap<string, string>
  readonly switches: ReadonlySet<string>
  readonly action: string
}

/** What it returns is printed, and the process may end; undefined: it serves. */
export async function runShim(
  program: ShimProgram,
  words: readonly string[],
): Promise<string | Uint8Array | undefined> {
  const { texts, switches, action } = parse(words)
  if (switches.has('v') || switches.has('version')) return `${SHIM_NAME}:\n  Version:  ${program.version}\n`
  if (switches.has('info')) return info(program)
  const text = (name: (typeof TEXT_FLAGS)[number]) => texts.get(name) ?? ''
  const flags: ServeFlags = {
    namespace: text('namespace'),
    id: text('id'),
    address: text('address'),
    publishBinary: text('publish-binary'),
    bundle: text('bundle'),
    socket: text('socket'),
    debug: switches.has('debug'),
  }
  for (const name of ['namespace', 'id'] as const) {
    if (!/^[A-Za-z0-9][\w.-]*$/.test(flags[name])) {
      throw new UserError(
        `-${name} ${JSON.stringify(flags[name])}: containerd starts this program, and gives one`,
      )
    }
  }
  switch (action) {
    case 'start': {
      const { startShim } = await import('./start.ts')
      const addon = loadAddon(join(program.packageRoot, 'native/build/caisson.node'))
      return startShim(addon, program.command, flags, readFileSync(0))
    }
    case 'serve': {
      const { serve } = await import('./serve.ts')
      await serve(program.packageRoot, flags)
      return undefined
    }
    case 'delete': {
      const { deleteLeftOver } = await import('./delete.ts')
      return deleteLeftOver(program.packageRoot, flags, text => writeSync(2, `${text}\n`))
    }
    default:
      throw new UserError(`what is to be done: start or delete, not ${JSON.stringify(action)}`)
  }
}

async function info(program: ShimProgram): Promise<Uint8Array> {
  const [{ runtimeInfo }, { features }] = await Promise.all([
    import('./info.ts'),
    import('../oci/features.ts'),
  ])
  return runtimeInfo(RUNTIME_NAME, program.version, features(program.version), readFileSync(0))
}

function parse(words: readonly string[]): Parsed {
  const texts = new Map<string, string>()
  const switches = new Set<string>()
  let at = 0
  for (; at < words.length && words[at].startsWith('-') && words[at].length > 1; at++) {
    const [, name, attached] = /^--?([\w-]+)(?:=(.*))?$/s.exec(words[at]) ?? []
    if (SWITCHES.some(each => each === name)) {
      if (attached === undefined || attached === 'true') switches.add(name)
      continue
    }
    if (!TEXT_FLAGS.some(each => each === name)) throw new UserError(`there is no flag ${words[at]}`)
    const value = attached ?? words[++at]
    if (value === undefined) throw new UserError(`-${name} needs a value`)
    texts.set(name, value)
  }
  return { texts, switches, action: words[at] ?? '' }
}
