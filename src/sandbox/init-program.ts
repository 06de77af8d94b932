/** The program of `--init` (native/init): a guest's process 1 that starts the command, and where guests see it. */
import { join } from 'node:path'

/** Not in the root, which may refuse writes or be empty. */
export const INIT_PATH = '/dev/init'

export function initProgram(packageRoot: string): string {
  return join(packageRoot, 'native/build/init')
}
