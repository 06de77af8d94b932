/** `caisson sandbox`: what the launcher runs for containers (src/sandbox/launch.ts). It is not for people to call. */
import { writeSync } from 'node:fs'
import type { LogLevel } from '../sandbox/options.ts'
import { serveContainers } from '../sandbox/serve.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'
import { packageRoot } from './package-root.ts'

/** As the launcher has it: the pipe to whoever waits for the start. */
const REPORT_FD = 5

export const sandboxVerb: Verb = {
  usage: '',
  help: 'serves containers; started by the runtime',
  flags: {
    network: { value: 'KIND', help: "'host' or 'none'" },
    strace: { help: 'log each system call' },
    'log-level': { value: 'LEVEL', help: 'what to log' },
    'no-patch': { help: 'do not rewrite system call instructions' },
  },
  async run(words) {
    try {
      process.exit(
        await serveContainers({
          packageRoot: packageRoot(),
          hostname: 'caisson',
          strace: words.has('strace'),
          logLevel: (words.last('log-level') ?? 'warn') as LogLevel,
          patch: !words.has('no-patch'),
          network: words.last('network') === 'host' ? 'host' : 'none',
        }),
      )
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      writeSync(REPORT_FD, `${error.message}\n`)
      return error.exitStatus
    }
  },
}
