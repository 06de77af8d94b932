/** --pid-file of `create` and `exec`: written in one step, since somebody may be waiting for it. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { asUserError } from './state.ts'

export function writePidFile(path: string, pid: number): void {
  const next = join(dirname(path), `.${basename(path)}`)
  try {
    // What is there may be a link that somebody else has made.
    rmSync(next, { force: true })
    writeFileSync(next, String(pid), { flag: 'wx' })
    renameSync(next, path)
  } catch (error) {
    rmSync(next, { force: true })
    throw asUserError(error, `--pid-file ${path} can't be written`)
  }
}
