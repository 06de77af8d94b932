// The entry of the bundle: runs caisson-main.cjs from V8's compiled code where it fits this Node.js, which saves the
// parsing and compiling at each start. A code file that doesn't fit is refused by V8, and the source is compiled.
'use strict'
const { readFileSync, writeSync } = require('node:fs')
const { Script } = require('node:vm')

const file = `${__dirname}/caisson-main.cjs`
load()(exports, require, module, file, __dirname)
void module.exports.main()

/** The program as one function. What it is made from is garbage afterwards. */
function load() {
  let cachedData
  try {
    cachedData = readFileSync(`${__dirname}/caisson-main.code`)
  } catch {
    // Being built.
  }
  const script = new Script(readFileSync(file, 'latin1'), { filename: file, cachedData })
  if (process.env.CAISSON_EMIT_CODE === '1') process.on('exit', () => emitCode(script))
  return script.runInThisContext()
}

/** scripts/bundle.ts asks for the code that this run compiled, on standard output. */
function emitCode(script) {
  const code = script.createCachedData()
  writeSync(1, 'caisson-code:')
  for (let at = 0; at < code.length; ) at += writeSync(1, code, at)
}
