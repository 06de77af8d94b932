/** The table of system calls for readers: each number of the ABI, and what of it there is. */
import { NR, type SyscallName } from '../abi/syscall-numbers.ts'
import { absentCalls } from './absent.ts'
import type { SyscallRows } from './args.ts'

export interface CallDescription {
  readonly nr: number
  readonly name: string
  readonly status: 'done' | 'in part' | 'refused' | 'absent'
  /** What is missing, or with what it is refused and why. */
  readonly note: string
}

/** By number. */
export function describeCalls(rows: SyscallRows): CallDescription[] {
  return (Object.entries(NR) as [SyscallName, number][])
    .map(([name, nr]): CallDescription => {
      const row = rows[name]
      if (row === undefined)
        return { nr, name, status: 'absent', note: `ENOSYS: ${absentCalls[name] ?? '?'}` }
      if (row.refused !== undefined) return { nr, name, status: 'refused', note: row.refused }
      return { nr, name, status: row.partial === undefined ? 'done' : 'in part', note: row.partial ?? '' }
    })
    .sort((a, b) => a.nr - b.nr)
}

export function countCalls(calls: readonly CallDescription[]): string {
  const count = (status: CallDescription['status']) => calls.filter(call => call.status === status).length
  const there = count('done') + count('in part')
  return `${there} are implemented (${count('in part')} of them in part), ${count('refused')} refused, ${count('absent')} absent`
}

/** docs/syscalls.md, but for its head. */
export function callsAsMarkdown(calls: readonly CallDescription[]): string {
  const body = calls.map(call => `| ${call.nr} | ${call.name} | ${call.status} | ${call.note} |`)
  return `| nr | call | | |\n| ---: | --- | --- | --- |\n${body.join('\n')}\n`
}

/** docs/syscalls.md. */
export function documentCalls(rows: SyscallRows): string {
  const calls = describeCalls(rows)
  return `# System calls

<!-- Written by scripts/generate-syscalls.ts from the rows in src/syscalls; do not edit. -->

Every call of x86-64 Linux. Of ${calls.length} numbers ${countCalls(calls)}.

- **done**: as Linux 6.12 does it, in its order of checks; \`test/guest\` compares them with the host's kernel.
- **in part**: works, but for what the last column says.
- **refused**: always fails, as it does where a container may not.
- **absent**: \`ENOSYS\`, as of a kernel that was built without it.

${callsAsMarkdown(calls)}`
}
