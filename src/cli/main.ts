/**
 * The host side's program: finds the verb and has its file do it. Container engines call it as
 *
 *     caisson --root DIR --log FILE VERB [FLAG...] ID
 */
import { OCI_VERSION } from '../oci/version.ts'
import { UserError } from '../sandbox/user-error.ts'
import { checkVerb } from './check.ts'
import { EXIT_FAILED, messageOf, runProgram, runVerb, say } from './command-line.ts'
import { psVerb, straceVerb } from './control-client.ts'
import { columns, flagHelp, parseWords, type Verb, type Words } from './flags.ts'
import { GLOBAL_FLAGS } from './globals.ts'
import { installVerb, uninstallVerb } from './install.ts'
import { followNetworkVerb } from './oci-follow.ts'
import { OCI_VERBS } from './oci-verbs.ts'
import { printError } from './output.ts'
import { packageVersion } from './package-root.ts'
import { logEntry } from './runtime-log.ts'
import { SENTRY_VERBS } from './verbs.ts'

const OWN_VERBS: Readonly<Record<string, Verb>> = {
  ps: psVerb,
  strace: straceVerb,
  check: checkVerb,
  install: installVerb,
  uninstall: uninstallVerb,
}

/** Those that caisson's own parts start; no help lists them. */
const INNER_VERBS: Readonly<Record<string, Verb>> = { 'follow-network': followNetworkVerb }

/** As runc ends when a verb fails; `exec` can't be told from the process's own then. */
const OCI_FAILED = 1
const EXEC_FAILED = 255

export function main(): Promise<void> {
  return runProgram(run)
}

async function run(line: readonly string[]): Promise<number> {
  const globals = parseWords(GLOBAL_FLAGS, line)
  if (globals === undefined || globals.rest[0] === 'help') return say(help())
  if (globals.has('version')) return say(versionText())
  const [name, ...words] = globals.rest
  if (name === undefined) {
    printError(help())
    return EXIT_FAILED
  }
  // `ps` is two verbs: of sandboxes, and of a container's processes.
  if (Object.hasOwn(OCI_VERBS, name) && !(name === 'ps' && words.length === 0)) {
    return runOciVerb(name, words, globals)
  }
  if (Object.hasOwn(OWN_VERBS, name)) return runVerb(name, OWN_VERBS[name], words, globals)
  if (Object.hasOwn(INNER_VERBS, name)) return runVerb(name, INNER_VERBS[name], words, globals)
  if (Object.hasOwn(SENTRY_VERBS, name)) throw new UserError(`${name} takes its flags behind its name`)
  throw new UserError(`there is no verb ${name}; 'caisson --help' lists them`)
}

async function runOciVerb(name: string, words: readonly string[], globals: Words): Promise<number> {
  try {
    return await runVerb(name, OCI_VERBS[name], words, globals, run)
  } catch (error) {
    const message = `${FAILURES[name] ?? ''}${messageOf(error)}`
    logEntry(globals, 'error', message)
    printError(`caisson: ${message}\n`)
    return name === 'exec' ? EXEC_FAILED : OCI_FAILED
  }
}

/** What stands before the sentence, as in runc's. */
const FAILURES: Readonly<Record<string, string>> = {
  create: 'caisson create failed: ',
  run: 'caisson run failed: ',
  exec: 'exec failed: ',
}

/** As Docker reads it from runtimes. */
function versionText(): string {
  return `caisson version ${packageVersion()}\nspec: ${OCI_VERSION}\nnode: ${process.version}\n`
}

function help(): string {
  const own = Object.entries(OWN_VERBS).map(([name, { help }]): [string, string] => [name, help])
  const containers = Object.entries(OCI_VERBS).map(([name, { help }]): [string, string] => [name, help])
  return (
    'Usage: caisson [FLAG...] VERB [FLAG...] [ARGUMENT...]\n\nRuns untrusted programs on a user-space Linux kernel.\n\n' +
    `Verbs:\n${columns([...Object.entries(SENTRY_VERBS), ...own])}\n` +
    `Verbs of a container runtime (runtime-spec):\n${columns(containers)}\n` +
    `Flags in front of the verb:\n${flagHelp(GLOBAL_FLAGS)}\n'caisson VERB --help' lists the flags of each.\n`
  )
}
