/** `caisson sandbox`: what the launcher runs for containers (src/sandbox/launch.ts). It is not for people to call. */
import { writeSync } from 'node:fs'
import type { ContainerNetwork, LogLevel, SentrySettings } from '../sandbox/options.ts'
import { serveContainers } from '../sandbox/serve.ts'
import { UserError } from '../sandbox/user-error.ts'
import { type Flags, parseWords, type Verb, type Words } from './flags.ts'
import { packageRoot } from './package-root.ts'

/** As the launcher has it: the pipe to whoever waits for the start. */
const REPORT_FD = 5

/** Some come late (awaitSettings). */
const FLAGS: Flags = {
  network: { value: 'KIND', help: "'sandbox', 'host' or 'none'" },
  strace: { help: 'log each system call' },
  'log-level': { value: 'LEVEL', help: 'what to log' },
  'no-patch': { help: 'do not rewrite system call instructions' },
}

export const sandboxVerb: Verb = {
  usage: '',
  help: 'serves containers; started by the runtime',
  flags: FLAGS,
  async run(words) {
    try {
      const network = (words.last('network') ?? 'none') as ContainerNetwork
      const options = {
        ...settings(words),
        packageRoot: packageRoot(),
        hostname: 'caisson',
        network,
      } as const
      process.exit(await serveContainers(options, flags => settings(parseWords(FLAGS, flags)!)))
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      writeSync(REPORT_FD, `${error.message}\n`)
      return error.exitStatus
    }
  },
}

function settings(words: Words): SentrySettings {
  return {
    strace: words.has('strace'),
    logLevel: (words.last('log-level') ?? 'warn') as LogLevel,
    patch: !words.has('no-patch'),
  }
}
