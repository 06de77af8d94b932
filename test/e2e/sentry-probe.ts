/** A sentry that fails where nobody catches it; run in place of caisson's program by jail.test.ts. */
import { join } from 'node:path'
import { Sentry } from '../../src/sandbox/sentry.ts'

const sentry = new Sentry(
  {
    packageRoot: join(import.meta.dirname, '../..'),
    hostname: 'caisson',
    strace: false,
    logLevel: 'warn',
    patch: true,
    network: 'none',
  },
  [],
  false,
)
sentry.seal()
setImmediate(() => {
  throw new Error('on purpose')
})
