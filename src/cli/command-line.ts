/** What the two programs have in common: one verb is run, and one place prints what went wrong. */
import { UserError } from '../sandbox/user-error.ts'
import { helpOf, parseWords, type Run, type Verb, Words } from './flags.ts'
import { print, printError } from './output.ts'

/** Nothing was run, or caisson itself failed. */
export const EXIT_FAILED = 125

/** The exit status. */
export async function runVerb(
  name: string,
  verb: Verb,
  words: readonly string[],
  globals = new Words(new Map(), []),
  again?: Run,
): Promise<number> {
  const parsed = parseWords(verb.flags, words, verb.flagsAnywhere)
  return parsed === undefined ? say(helpOf(name, verb)) : verb.run(parsed, globals, again)
}

export function say(text: string): number {
  print(text)
  return 0
}

/** What is said of an error: a sentence for the user's own, all there is for ours. */
export function messageOf(error: unknown): string {
  return error instanceof UserError ? error.message : `this is a bug: ${(error as Error).stack}`
}

function exitStatusOf(error: unknown): number {
  return error instanceof UserError ? error.exitStatus : EXIT_FAILED
}

/** Does what the command line says, by `run`. */
export async function runProgram(run: Run): Promise<void> {
  // At once: the end of a process that we started is for who adopts it to see, and not for our event loop.
  process.exit(await runToStatus(() => run(process.argv.slice(2))))
}

/** Prints what went wrong. */
export async function runToStatus(run: () => Promise<number>): Promise<number> {
  try {
    return await run()
  } catch (error) {
    printError(`caisson: ${messageOf(error)}\n`)
    return exitStatusOf(error)
  }
}
