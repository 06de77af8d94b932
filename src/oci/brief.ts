/**
 * What the launcher needs to know of a container to do `kill` and `delete` without this program, whose start would take
 * longer than either: the file ROOT/ID/brief, read by native/launcher/brief.c. A line a fact:
 *
 *   process PID START       the process that stands for the container, as ProcessIdentity has it
 *   freezer FILE            says whether the container is frozen
 *   cgroup DIRECTORY        to be removed
 *   removable               the rest is the state's directory: no hooks, no systemd, no network to be given back
 *
 * It is there from the end of `create` on, and what it says stays so. A container without it, one of a pod's further
 * ones, is left to this program.
 */
import { HostCgroup } from './cgroup/host-cgroup.ts'
import type { SavedState } from './state.ts'

/** Undefined for a container that the launcher can do nothing with. */
export function briefOf(state: SavedState): string | undefined {
  const { process, cgroup } = state
  if (process === undefined || cgroup === undefined || state.sandbox !== state.id) return undefined
  const { freezerFile, directories } = HostCgroup.open(cgroup)
  const lines = [`process ${process.pid} ${process.startTime}`]
  if (freezerFile !== undefined) lines.push(`freezer ${freezerFile}`)
  lines.push(...directories.map(directory => `cgroup ${directory}`))
  if (isRemovable(state)) lines.push('removable')
  // A path with a line's end in it is no path to the launcher.
  if (lines.some(line => line.includes('\n'))) return undefined
  return `${lines.join('\n')}\n`
}

function isRemovable({ cgroup, poststop, networkPath }: SavedState): boolean {
  return (
    cgroup?.made === true &&
    cgroup.systemd === undefined &&
    poststop.length === 0 &&
    networkPath === undefined
  )
}
