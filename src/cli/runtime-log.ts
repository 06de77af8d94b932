/** The file of --log, in which container engines look for the reason of a failure. */
import { appendFileSync } from 'node:fs'
import type { Words } from './flags.ts'

/** Writes one entry, if a file was named. That it can't be written is nobody's failure. */
export function logEntry(globals: Words, level: 'error' | 'warning', message: string): void {
  const path = globals.last('log')
  if (path === undefined) return
  const time = new Date().toISOString()
  const line =
    globals.last('log-format') === 'json'
      ? JSON.stringify({ level, msg: message, time })
      : `time="${time}" level=${level} msg=${JSON.stringify(message)}`
  try {
    appendFileSync(path, `${line}\n`)
  } catch {
    // A full disk, or its directory is gone.
  }
}
