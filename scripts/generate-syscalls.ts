/** Writes docs/syscalls.md from the table of system calls. A test holds that the file is current. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { documentCalls } from '../src/syscalls/describe.ts'
import { syscallRows } from '../src/syscalls/table.ts'

writeFileSync(join(import.meta.dirname, '../docs/syscalls.md'), documentCalls(syscallRows))
