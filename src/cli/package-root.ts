/** Where the package lies: the directory above both dist/caisson.cjs and src/cli/source.ts that has its package.json. */
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

export function packageRoot(): string {
  let at = dirname(realpathSync(process.argv[1]))
  while (!existsSync(join(at, 'package.json'))) {
    const above = dirname(at)
    if (above === at) throw new Error(`${process.argv[1]} lies in no package`)
    at = above
  }
  return at
}

export function packageVersion(): string {
  return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version
}
