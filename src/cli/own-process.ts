/**
 * The arguments and the environment of this process as the bytes that they are: Node.js has decoded them as UTF-8,
 * which loses what isn't.
 */
import { readFileSync } from 'node:fs'
import { encodeText } from '../base/bytes.ts'

/** As the launcher has it: the prefix of variables that would have acted on the sentry's runtime. */
const HIDDEN = 'CAISSON_HIDDEN_'

/** The last arguments of the command line, `decoded`, as byte strings. */
export function rawArguments(decoded: readonly string[]): string[] {
  if (!decoded.some(text => text.includes('\ufffd'))) return decoded.map(encodeText)
  const all = readFileSync('/proc/self/cmdline', 'latin1').split('\0')
  all.pop()
  return all.slice(all.length - decoded.length)
}

/** The environment that the guest gets: ours, without what is meant for caisson itself. */
export function guestEnvironment(): string[] {
  // Not process.env: it may have been changed, and is decoded.
  const entries = readFileSync('/proc/self/environ', 'latin1').split('\0').filter(Boolean)
  const own = entries.filter(entry => !entry.startsWith('CAISSON_') || entry.startsWith(HIDDEN))
  return own.map(entry => (entry.startsWith(HIDDEN) ? entry.slice(HIDDEN.length) : entry))
}
