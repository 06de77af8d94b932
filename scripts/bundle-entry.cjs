// The entry of the bundle: runs one of caisson's three programs (src/cli/verbs.ts) from V8's compiled code where it fits
// this Node.js, which saves the parsing and compiling at each start. A code file that doesn't fit is refused by V8, and
// the source is compiled.
'use strict'
const { readFileSync, writeSync } = require('node:fs')
const { Script } = require('node:vm')

const SENTRY_VERBS = ['do', 'sandbox', 'syscalls']
const verb = process.argv[2]
const name = `${__dirname}/${SENTRY_VERBS.includes(verb) ? 'sentry' : verb === 'shim' ? 'shim' : 'host'}`
load()(exports, require, module, `${name}.cjs`, __dirname)
void module.exports.main()

/** The program as one function. What it is made from is garbage afterwards. */
function load() {
  let cachedData
  try {
    cachedData = readFileSync(`${name}.code`)
  } catch {
    // Being built.
  }
  const script = new Script(readFileSync(`${name}.cjs`, 'latin1'), { filename: `${name}.cjs`, cachedData })
  if (process.env.CAISSON_EMIT_CODE === '1') process.on('exit', () => emitCode(script))
  return script.runInThisContext()
}

/** scripts/bundle.ts asks for the code that this run compiled, on standard output. */
function emitCode(script) {
  const code = script.createCachedData()
  writeSync(1, 'caisson-code:')
  for (let at = 0; at < code.length; ) at += writeSync(1, code, at)
}
