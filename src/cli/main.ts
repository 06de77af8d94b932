/** The command line: finds the verb, and has its file do it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../sandbox/user-error.ts'
import { checkVerb } from './check.ts'
import { psVerb, straceVerb } from './control-client.ts'
import { doVerb } from './do.ts'
import { columns, helpOf, parseWords, type Verb } from './flags.ts'
import { packageRoot } from './package-root.ts'
import { syscallsVerb } from './syscalls.ts'

/** Nothing was run, or caisson itself failed. */
const EXIT_FAILED = 125

const VERBS: Readonly<Record<string, Verb>> = {
  do: doVerb,
  ps: psVerb,
  strace: straceVerb,
  syscalls: syscallsVerb,
  check: checkVerb,
}

/** The exit status. */
async function run(name: string | undefined, words: readonly string[]): Promise<number> {
  if (name === '--version' || name === '-V') return say(version())
  if (name === '--help' || name === '-h' || name === 'help') return say(help())
  if (name === undefined) {
    process.stderr.write(help())
    return EXIT_FAILED
  }
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
  if (verb === undefined) throw new UserError(`there is no verb ${name}; 'caisson --help' lists them`)
  const parsed = parseWords(verb.flags, words)
  return parsed === undefined ? say(helpOf(name, verb)) : verb.run(parsed)
}

function say(text: string): number {
  process.stdout.write(text)
  return 0
}

function version(): string {
  return `${JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version}\n`
}

function help(): string {
  const verbs = Object.entries(VERBS).map(([name, verb]): [string, string] => [name, verb.help])
  return (
    'Usage: caisson VERB [FLAG...] [ARGUMENT...]\n\nRuns untrusted programs on a user-space Linux kernel.\n\n' +
    `Verbs:\n${columns(verbs)}\n'caisson VERB --help' lists the flags of each.\n`
  )
}

/** Does what the command line says. */
export async function main(): Promise<void> {
  try {
    process.exitCode = await run(process.argv[2], process.argv.slice(3))
  } catch (error) {
    const known = error instanceof UserError
    process.stderr.write(`caisson: ${known ? error.message : `this is a bug: ${(error as Error).stack}`}\n`)
    process.exit(known ? error.exitStatus : EXIT_FAILED)
  }
}
