/** The entry where the sources run as they are, for work on them; the bundle has scripts/bundle-entry.cjs. */
import { enableCompileCache, flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { packageRoot } from './package-root.ts'

// Stripping the types of all sources anew at each start would take most of a second.
enableCompileCache(join(packageRoot(), 'node_modules/.cache/caisson'))
const { main } = await import('./main.ts')
// In the jail there is no place for it any more.
flushCompileCache()
await main()
