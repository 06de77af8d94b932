/** `caisson syscalls`: the table of system calls, printed from its rows. */
import { type CallDescription, callsAsMarkdown, countCalls, describeCalls } from '../syscalls/describe.ts'
import { syscallRows } from '../syscalls/table.ts'
import type { Verb } from './flags.ts'

export const syscallsVerb: Verb = {
  usage: '[--markdown]',
  help: 'lists the system calls that guests can make, and what of each is missing',
  flags: { markdown: { help: 'as a table for the documentation' } },
  run(words) {
    const calls = describeCalls(syscallRows)
    process.stdout.write(words.has('markdown') ? callsAsMarkdown(calls) : asText(calls))
    return 0
  },
}

function asText(calls: readonly CallDescription[]): string {
  const lines = calls.map(
    call => `${String(call.nr).padStart(3)} ${call.name.padEnd(26)} ${call.status.padEnd(8)} ${call.note}`,
  )
  return `${lines.map(line => line.trimEnd()).join('\n')}\n\n${countCalls(calls)}\n`
}
