/** The program with the kernel in it: `do`, what the launcher starts for containers, and what is printed from its tables. */
import { UserError } from '../sandbox/user-error.ts'
import { runProgram, runVerb } from './command-line.ts'
import { doVerb } from './do.ts'
import type { Verb } from './flags.ts'
import { sandboxVerb } from './sandbox.ts'
import { syscallsVerb } from './syscalls.ts'

const VERBS: Readonly<Record<string, Verb>> = { do: doVerb, sandbox: sandboxVerb, syscalls: syscallsVerb }

export function main(): Promise<void> {
  return runProgram(async ([name, ...words]) => {
    const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
    if (verb === undefined) throw new UserError(`there is no verb ${name} here`)
    return runVerb(name, verb, words)
  })
}
