/** `caisson do`: runs one command in a new sandbox that sees the host's files, and writes to none of them unless told. */

import { realpathSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { isAbsolute, normalize, resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { encodeText } from '../base/bytes.ts'
import type { Donation, LogLevel, SandboxOptions } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'
import { guestEnvironment, rawArguments } from './own-process.ts'
import { packageRoot } from './package-root.ts'
import { parseUser } from './user.ts'

interface DoFlags {
  rw?: string[]
  volume?: string[]
  cwd?: string
  env?: string[]
  user?: string
  hostname: string
  network: string
  readOnly?: boolean
  overlaySize: number
  strace?: boolean
  logLevel: LogLevel
  patch: boolean
}

export function addDo(caisson: Command): void {
  caisson
    .command('do')
    .description(
      'runs a command in a sandbox that sees the files of the host, and keeps its writes in memory',
    )
    .usage('[flags] [--] COMMAND [ARGUMENT...]')
    .argument('<command...>', 'looked for in PATH')
    .passThroughOptions()
    .option(
      '--rw <path>',
      'a directory or file of the host that the command may change (repeatable)',
      collect,
    )
    .option('--volume <source:target[:ro]>', 'shows a host path somewhere else (repeatable)', collect)
    .option('--cwd <path>', 'where to start; the current directory if absent')
    .option('--env <name=value>', 'sets a variable; NAME alone removes it (repeatable)', collect)
    .option('--user <user[:group]>', 'names or numbers; yourself if absent')
    .option('--hostname <name>', 'what the command takes the machine for', 'caisson')
    .addOption(new Option('--network <kind>', 'networks that the command sees').default('none'))
    .option('--read-only', 'refuse writes to the root instead of keeping them in memory')
    .option(
      '--overlay-size <size>',
      'most that writes to the root may take in memory: 512m, 2g',
      parseSize,
      2 ** 31,
    )
    .option('--strace', 'print each system call on standard error')
    .addOption(
      new Option('--log-level <level>', 'what to log')
        .choices(['error', 'warn', 'info', 'debug'])
        .default('warn'),
    )
    .option('--no-patch', 'do not rewrite system call instructions (slower, for debugging)')
    .action(async (command: string[], flags: DoFlags) => {
      const options = sandboxOptions(command, flags)
      const { runSandbox } = await import('../sandbox/sandbox.ts')
      // In the jail there is no place for it any more. Nothing happens where no cache is in use.
      flushCompileCache()
      process.exit(await runSandbox(options))
    })
}

function sandboxOptions(command: readonly string[], flags: DoFlags): SandboxOptions {
  if (flags.network !== 'none') {
    throw new UserError(`--network=${flags.network} is not there yet: only 'none' (loopback alone) is`)
  }
  return {
    packageRoot: packageRoot(),
    id: process.env.CAISSON_LAUNCHER ?? '0',
    args: rawArguments(command),
    env: changedEnvironment(guestEnvironment(), flags.env ?? []),
    cwd: encodeText(flags.cwd === undefined ? process.cwd() : absolute(flags.cwd, '--cwd')),
    user: parseUser(flags.user),
    hostname: encodeText(checkHostname(flags.hostname)),
    donations: [
      { source: '/', target: '/', readOnly: true },
      ...(flags.rw ?? []).map(path => donate(path, resolve(path), false)),
      ...(flags.volume ?? []).map(parseVolume),
    ],
    readOnlyRoot: flags.readOnly === true,
    overlaySize: flags.overlaySize,
    network: 'none',
    strace: flags.strace === true,
    logLevel: flags.logLevel,
    patch: flags.patch,
  }
}

function donate(source: string, target: string, readOnly: boolean): Donation {
  let real: string
  try {
    real = realpathSync(source)
  } catch (error) {
    throw new UserError(`${source} can't be given to the sandbox: ${(error as Error).message}`)
  }
  if (/^\/(proc|sys)(\/|$)/.test(real) || real === '/dev') {
    throw new UserError(`${source} can't be given to the sandbox, which has its own ${real.split('/')[1]}`)
  }
  return { source: encodeText(real), target: encodeText(target), readOnly }
}

function parseVolume(text: string): Donation {
  const [source, target, mode, ...rest] = text.split(':')
  if (!source || !target || rest.length > 0 || (mode !== undefined && mode !== 'ro' && mode !== 'rw')) {
    throw new UserError(`--volume ${text}: expected SOURCE:TARGET or SOURCE:TARGET:ro`)
  }
  return donate(source, absolute(target, '--volume'), mode === 'ro')
}

function absolute(path: string, flag: string): string {
  if (!isAbsolute(path)) throw new UserError(`${flag}: ${path} is not an absolute path`)
  return normalize(path)
}

function checkHostname(name: string): string {
  if (name.length === 0 || name.length > 64) throw new UserError('--hostname: 1 to 64 characters')
  return name
}

/** `NAME=value` replaces, `NAME` removes. */
function changedEnvironment(environment: readonly string[], changes: readonly string[]): string[] {
  const entries = new Map(environment.map(entry => [nameOf(entry), entry]))
  for (const change of changes.map(encodeText)) {
    if (change.includes('=')) entries.set(nameOf(change), change)
    else entries.delete(change)
  }
  return [...entries.values()]
}

function nameOf(entry: string): string {
  return entry.split('=', 1)[0]
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}

function parseSize(text: string): number {
  const match = /^(\d+)([kmg]?)$/i.exec(text)
  if (match === null) throw new InvalidArgumentError('Expected a number of bytes, or one with k, m or g.')
  return Number(match[1]) * { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[match[2].toLowerCase()]!
}
