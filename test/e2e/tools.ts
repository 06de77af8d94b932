/** What tests need of the machine: reasons for test()'s `skip`, or false where nothing is in the way. */
import { accessSync, constants } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'

/** How many times longer than usual a machine may take that has no virtualization of its own (test/vm). */
export const PATIENCE = Number(process.env.CAISSON_TEST_PATIENCE ?? 1)

export const NOT_ROOT = process.geteuid!() === 0 ? false : 'the user is not root'

/** Programs by name, or paths. */
export function notInstalled(...tools: readonly string[]): string | false {
  const missing = tools.filter(tool => !isThere(tool))
  return missing.length > 0 && `not installed: ${missing.join(', ')}`
}

function isThere(tool: string): boolean {
  const places = isAbsolute(tool) ? [''] : (process.env.PATH ?? '').split(delimiter)
  return places.some(directory => {
    try {
      accessSync(join(directory, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
