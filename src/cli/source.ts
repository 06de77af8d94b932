/** The entry where the sources run as they are, for work on them; the bundle has scripts/bundle-entry.cjs. */
import { enableCompileCache, flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { packageRoot } from './package-root.ts'

const SENTRY = new Set(['do', 'sandbox', 'syscalls'])

// Stripping the types of all sources anew at each start would take most of a second.
enableCompileCache(join(packageRoot(), 'node_modules/.cache/caisson'))
const verb = process.argv[2]
const { main } = SENTRY.has(verb)
  ? await import('./sentry.ts')
  : verb === 'shim'
    ? await import('./shim.ts')
    : await import('./main.ts')
// In the jail there is no place for it any more.
flushCompileCache()
await main()
