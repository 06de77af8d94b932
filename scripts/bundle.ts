/**
 * Makes dist/: the one-file program that ships, and V8's compiled code beside it.
 *
 *   caisson-main.cjs   everything that src/cli/main.ts reaches
 *   caisson.cjs        the entry: runs the former, from the compiled code if that fits
 *   caisson-main.code  the compiled code of the functions that a start of a sandbox runs
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
/** As bundle-entry.cjs writes it. */
const CODE_MARK = 'caisson-code:'

mkdirSync(dist, { recursive: true })
const { outputFiles } = await build({
  entryPoints: [join(root, 'src/cli/main.ts')],
  bundle: true,
  write: false,
  platform: 'node',
  format: 'cjs',
  target: 'node26',
  // A script that is run from compiled code can only require.
  supported: { 'dynamic-import': false },
  // Names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  legalComments: 'none',
  // As Node.js itself wraps a CommonJS module.
  banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
  footer: { js: '})' },
  logLevel: 'warning',
  logOverride: { 'import-is-undefined': 'error' },
})
put('caisson-main.cjs', outputFiles[0].contents)
put('caisson.cjs', readFileSync(join(root, 'scripts/bundle-entry.cjs')))
put('caisson-main.code', new Uint8Array(0))
put('caisson-main.code', compiledCode())

/** In one step, since sandboxes may be starting. */
function put(name: string, contents: Uint8Array): void {
  const path = join(dist, name)
  writeFileSync(`${path}.new`, contents)
  renameSync(`${path}.new`, path)
}

/** The code as V8 has it at the end of a run: of a sandbox where one can run, else of a call without one. */
function compiledCode(): Buffer {
  for (const args of [['do', '--', '/bin/true'], ['--version']]) {
    const env = { ...process.env, CAISSON_SOURCE: undefined, CAISSON_EMIT_CODE: '1' }
    const run = spawnSync(join(root, 'native/build/caisson'), args, {
      env,
      maxBuffer: 64 << 20,
      timeout: 20000,
    })
    const start = run.stdout.indexOf(CODE_MARK)
    if (run.status === 0 && start >= 0) return run.stdout.subarray(start + CODE_MARK.length)
  }
  process.stderr.write('caisson: no compiled code for dist/: starts will be slower\n')
  return Buffer.alloc(0)
}
