/** create, start, kill, wait, delete: a container's life, step by step. */

import { UserError } from '../sandbox/user-error.ts'
import { runToStatus } from './command-line.ts'
import type { Flags, Verb } from './flags.ts'
import { idOf, openRuntime, parseSignal, preservedDescriptors } from './oci-runtime.ts'
import { print } from './output.ts'
import { Standby } from './standby.ts'

/** Of `create`, and of `run`. */
export const CREATE_FLAGS: Flags = {
  bundle: { short: 'b', value: 'DIR', help: 'the directory of config.json; the current one if absent' },
  'console-socket': { value: 'PATH', help: "socket that gets the master of the container's terminal" },
  'pid-file': { value: 'FILE', help: "where to write the container's pid" },
  'preserve-fds': { value: 'N', help: 'pass on N descriptors, from 3' },
  'no-pivot': { help: 'taken for compatibility: the root of a sandbox is never the host’s' },
  'no-new-keyring': { help: 'taken for compatibility: keys of the host are not reached' },
}

export const createVerb: Verb = {
  usage: '[FLAG...] ID',
  help: 'makes a container of a bundle; it stands ready and waits for start',
  flags: CREATE_FLAGS,
  flagsAnywhere: true,
  async run(words, globals, again) {
    const id = idOf(words)
    const runtime = await openRuntime(globals)
    const standby = Standby.take(runtime.addon)
    const { pid } = await runtime.create(id, {
      bundle: words.last('bundle') ?? '.',
      consoleSocket: words.last('console-socket'),
      pidFile: words.last('pid-file'),
      passed: preservedDescriptors(words, runtime.addon),
    })
    if (again !== undefined) {
      await standby?.serve(runtime.stateDirectory(id), pid, words => runToStatus(() => again(words)))
    }
    return 0
  },
}

export const startVerb: Verb = {
  usage: 'ID',
  help: "lets a created container's process run",
  flags: {},
  flagsAnywhere: true,
  async run(words, globals) {
    await (await openRuntime(globals)).start(idOf(words))
    return 0
  },
}

export const killVerb: Verb = {
  usage: '[--all] ID [SIGNAL]',
  help: "sends a signal, SIGTERM if absent, to the container's first process",
  flags: { all: { short: 'a', help: 'to all its processes' } },
  flagsAnywhere: true,
  async run(words, globals) {
    const [id, signal = 'SIGTERM', ...rest] = words.rest
    if (id === undefined || rest.length > 0)
      throw new UserError('kill: say the ID of a container and a signal')
    const signo = await parseSignal(signal)
    await (await openRuntime(globals)).kill(id, signo, words.has('all'))
    return 0
  },
}

export const waitVerb: Verb = {
  usage: 'ID',
  help: 'waits for the end of a container and prints its exit status, as JSON',
  flags: {},
  flagsAnywhere: true,
  async run(words, globals) {
    const id = idOf(words)
    const connection = await (await openRuntime(globals)).wait(id)
    const { ProcessConnection } = await import('../sandbox/control-client.ts')
    const status = await (await ProcessConnection.over(connection)).exit
    const exitStatus = (status & 0x7f) !== 0 ? 128 + (status & 0x7f) : status >> 8
    print(`${JSON.stringify({ id, exitStatus })}\n`)
    return 0
  },
}

export const deleteVerb: Verb = {
  usage: '[--force] ID',
  help: 'removes all that is left of a stopped container',
  flags: { force: { short: 'f', help: 'of a running one too; nothing to remove is fine' } },
  flagsAnywhere: true,
  async run(words, globals) {
    await (await openRuntime(globals)).delete(idOf(words), words.has('force'))
    return 0
  },
}
