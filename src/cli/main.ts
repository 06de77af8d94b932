/** The command line: reads the flags, and hands on to the file of the verb. */

import { readFileSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { UserError } from '../sandbox/user-error.ts'
import { addDo } from './do.ts'
import { packageRoot } from './package-root.ts'

const EXIT_USAGE = 125

function program(root: string): Command {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const caisson = new Command('caisson')
    .description('Runs untrusted programs on a user-space Linux kernel.')
    .version(version)
    .enablePositionalOptions()
    .exitOverride()
  addDo(caisson)
  caisson
    .command('check')
    .description('tells whether this host can run sandboxes, and what to do where it can not')
    .action(async () => {
      const { runChecks } = await import('./check.ts')
      process.exitCode = runChecks(root)
    })
  caisson
    .command('syscalls')
    .description('lists the system calls that guests can make, and what of each is missing')
    .option('--markdown', 'as a table for the documentation')
    .action(async (options: { markdown?: boolean }) => {
      const { printSyscalls } = await import('./syscalls.ts')
      await printSyscalls(options.markdown === true)
    })
  caisson
    .command('ps')
    .description('lists the sandboxes of this user')
    .action(async () => {
      const { listSandboxes } = await import('./control-client.ts')
      await listSandboxes()
    })
  caisson
    .command('strace')
    .description("switches the trace of a running sandbox's system calls")
    .argument('<on|off>')
    .argument('<id>', "as 'caisson ps' shows it")
    .action(async (state: string, id: string) => {
      const { switchStrace } = await import('./control-client.ts')
      await switchStrace(state, id)
    })
  return caisson
}

async function main(): Promise<void> {
  try {
    const root = packageRoot()
    // The sources, stripped of their types anew at each start, would take most of a second.
    if (process.argv[1].endsWith('.ts')) enableCompileCache(join(root, 'node_modules/.cache/caisson'))
    await program(root).parseAsync(process.argv)
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed it already.
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
      return
    }
    if (!(error instanceof UserError)) throw error
    process.stderr.write(`caisson: ${error.message}\n`)
    process.exitCode = error.exitStatus
  }
}

void main()
