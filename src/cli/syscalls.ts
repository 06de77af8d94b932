/** `caisson syscalls`: the table of system calls, printed from its rows. */
import { NR } from '../abi/syscall-numbers.ts'
import type { SyscallRows } from '../syscalls/args.ts'
import { syscallRows } from '../syscalls/table.ts'
import type { Verb } from './flags.ts'

interface Line {
  readonly nr: number
  readonly name: string
  readonly status: 'full' | 'partial' | 'missing'
  readonly note: string
}

export const syscallsVerb: Verb = {
  usage: '[--markdown]',
  help: 'lists the system calls that guests can make, and what of each is missing',
  flags: { markdown: { help: 'as a table for the documentation' } },
  run(words) {
    process.stdout.write(formatSyscalls(syscallRows, words.has('markdown')))
    return 0
  },
}

/** Every number of the ABI, those without a row as missing. */
function formatSyscalls(rows: SyscallRows, markdown: boolean): string {
  const lines = Object.entries(NR)
    .map(([name, nr]): Line => {
      const row = rows[name]
      if (row === undefined) return { nr, name, status: 'missing', note: '' }
      return { nr, name, status: row.partial === undefined ? 'full' : 'partial', note: row.partial ?? '' }
    })
    .sort((a, b) => a.nr - b.nr)
  const count = (status: Line['status']) => lines.filter(line => line.status === status).length
  const summary = `${count('full')} full, ${count('partial')} partial, ${count('missing')} missing (ENOSYS)`
  if (!markdown) {
    const text = lines.map(
      line => `${String(line.nr).padStart(3)} ${line.name.padEnd(26)} ${line.status.padEnd(8)} ${line.note}`,
    )
    return `${text.map(line => line.trimEnd()).join('\n')}\n\n${summary}\n`
  }
  const body = lines.map(line => `| ${line.nr} | ${line.name} | ${line.status} | ${line.note} |`)
  return `${summary}.\n\n| nr | call | status | what is missing |\n| ---: | --- | --- | --- |\n${body.join('\n')}\n`
}
