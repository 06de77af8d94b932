/** `caisson do`: runs one command in a new sandbox that sees the host's files, and writes to none of them unless told. */

import { realpathSync } from 'node:fs'
import { isAbsolute, normalize, resolve } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { encodeText } from '../base/bytes.ts'
import { INIT_PATH, initProgram } from '../sandbox/init-program.ts'
import type { Donation, LogLevel, SandboxOptions } from '../sandbox/options.ts'
import { runSandbox } from '../sandbox/sandbox.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb, Words } from './flags.ts'
import { NETWORK_FLAGS, networkOptions } from './network-flags.ts'
import { guestEnvironment, rawArguments } from './own-process.ts'
import { packageRoot } from './package-root.ts'
import { parseUser } from './user.ts'

const LOG_LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

export const doVerb: Verb = {
  usage: '[FLAG...] [--] COMMAND [ARGUMENT...]',
  help: 'runs a command in a sandbox that sees the files of the host, and keeps its writes in memory',
  flags: {
    rw: { value: 'PATH', help: 'a directory or file of the host that the command may change (repeatable)' },
    volume: { value: 'SOURCE:TARGET[:ro]', help: 'shows a host path somewhere else (repeatable)' },
    cwd: { value: 'PATH', help: 'where to start; the current directory if absent' },
    env: { value: 'NAME=VALUE', help: 'sets a variable; NAME alone removes it (repeatable)' },
    user: { value: 'USER[:GROUP]', help: 'names or numbers; yourself if absent' },
    hostname: { value: 'NAME', help: "what the command takes the machine for; 'caisson' if absent" },
    ...NETWORK_FLAGS,
    'read-only': { help: 'refuse writes to the root instead of keeping them in memory' },
    'overlay-size': {
      value: 'SIZE',
      help: 'most that writes to the root may take in memory: 512m; 2g if absent',
    },
    init: {
      help: 'start the command below an init, which is process 1, passes signals on and waits for orphans',
    },
    strace: { help: 'print each system call on standard error' },
    'log-level': { value: 'LEVEL', help: `what to log: ${LOG_LEVELS.join(', ')}; 'warn' if absent` },
    'no-patch': { help: 'do not rewrite system call instructions (slower, for debugging)' },
  },
  async run(words) {
    // At once: the host takes back faster than Node.js what there is.
    process.exit(await runSandbox(sandboxOptions(words)))
  },
}

function sandboxOptions(words: Words): SandboxOptions {
  if (words.rest.length === 0) throw new UserError('missing required argument: the command to run')
  const cwd = words.last('cwd')
  const root = packageRoot()
  const init = words.has('init')
  const hostname = encodeText(checkHostname(words.last('hostname') ?? 'caisson'))
  return {
    packageRoot: root,
    id: process.env.CAISSON_LAUNCHER ?? '0',
    args: rawArguments(words.rest),
    env: changedEnvironment(guestEnvironment(), words.all('env')),
    cwd: encodeText(cwd === undefined ? currentDirectory() : absolute(cwd, '--cwd')),
    user: parseUser(words.last('user')),
    hostname,
    donations: [
      { source: '/', target: '/', readOnly: true },
      ...words.all('rw').map(path => donate(path, resolve(path), false)),
      ...words.all('volume').map(parseVolume),
      ...(init ? [donate(initProgram(root), INIT_PATH, true)] : []),
    ],
    init,
    readOnlyRoot: words.has('read-only'),
    overlaySize: parseSize(words.last('overlay-size') ?? '2g'),
    ...networkOptions(words, hostname),
    strace: words.has('strace'),
    logLevel: parseLogLevel(words.last('log-level') ?? 'warn'),
    patch: !words.has('no-patch'),
  }
}

function currentDirectory(): string {
  try {
    return process.cwd()
  } catch {
    throw new UserError('the current directory was removed, or may not be seen; --cwd names another')
  }
}

function donate(source: string, target: string, readOnly: boolean): Donation {
  let real: string
  try {
    real = realpathSync(source)
  } catch (error) {
    const reason = getSystemErrorMessage((error as { errno: number }).errno)
    throw new UserError(`${source} can't be given to the sandbox: ${reason}`)
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

function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find(each => each === text)
  if (level === undefined) throw new UserError(`--log-level: ${text} is none of ${LOG_LEVELS.join(', ')}`)
  return level
}

function parseSize(text: string): number {
  const match = /^(\d+)([kmg]?)$/i.exec(text)
  if (match === null) throw new UserError('--overlay-size: expected a number of bytes, or one with k, m or g')
  return Number(match[1]) * { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[match[2].toLowerCase()]!
}
