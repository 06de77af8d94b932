/** In what the workloads run: the host itself, a caisson sandbox, and gVisor's where it is installed and works. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

export interface System {
  readonly name: string
  /** The command line that runs a command in the directory. */
  wrap(command: readonly string[], directory: string, flags: readonly string[]): string[]
}

const caisson = join(import.meta.dirname, '../bin/caisson')

const HOST: System = { name: 'native', wrap: command => [...command] }

const CAISSON: System = {
  name: 'caisson',
  wrap: (command, directory, flags) => [caisson, 'do', ...flags, '--rw', directory, '--', ...command],
}

/** Ways to start gVisor without a container engine; the first that works is taken. */
const RUNSC_FLAGS = [
  ['--network=none'],
  ['--rootless', '--network=none'],
  ['--rootless', '--network=none', '--ignore-cgroups', '--platform=ptrace'],
]

/** Without its overlay in memory: the files are the host's, as caisson's are. */
const DO = ['do', '--force-overlay=false']

/** All there are here, and a note for each that is not. */
export function findSystems(): { systems: System[]; notes: string[] } {
  const systems = [HOST, CAISSON]
  if (spawnSync('runsc', ['--version']).error !== undefined) {
    return { systems, notes: ['runsc is not installed: no gVisor column'] }
  }
  for (const flags of RUNSC_FLAGS) {
    const probe = spawnSync('runsc', [...flags, ...DO, 'true'], { timeout: 20_000 })
    if (probe.status === 0) return { systems: [...systems, runsc(flags)], notes: [] }
  }
  return { systems, notes: ['runsc is installed but does not run here: no gVisor column'] }
}

function runsc(flags: readonly string[]): System {
  return {
    name: 'runsc',
    wrap: (command, directory) => ['runsc', ...flags, ...DO, `--cwd=${directory}`, ...command],
  }
}
