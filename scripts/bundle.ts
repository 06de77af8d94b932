/**
 * Makes dist/: the three programs that ship, each one file, and V8's compiled code beside it.
 *
 *   sentry.cjs   everything that src/cli/sentry.ts reaches: the kernel
 *   host.cjs     everything that src/cli/main.ts reaches: the container runtime
 *   shim.cjs     everything that src/cli/shim.ts reaches: containerd's shim
 *   caisson.cjs  the entry: runs one of them, from the compiled code if that fits
 *   *.code       the compiled code of the functions that a start runs
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { codeOfContainerRun } from './container-code.ts'
import { codeOfHostRun } from './host-code.ts'
import { codeOfShimRun } from './shim-code.ts'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
/** As bundle-entry.cjs writes it. */
const CODE_MARK = 'caisson-code:'

mkdirSync(dist, { recursive: true })
put('caisson.cjs', readFileSync(join(root, 'scripts/bundle-entry.cjs')))
for (const [name, source] of [
  ['sentry', 'src/cli/sentry.ts'],
  ['host', 'src/cli/main.ts'],
  ['shim', 'src/cli/shim.ts'],
]) {
  put(`${name}.cjs`, await bundle(source))
  put(`${name}.code`, new Uint8Array(0))
}
// As much as can be run here: of a sandbox where one can run.
put('sentry.code', compiledCode([['do', '--', '/bin/true'], ['syscalls']]))
// From that code, so that the new one has both.
const container = await codeOfContainerRun(root)
if (container !== undefined) put('sentry.code', codeIn(container) ?? readFileSync(join(dist, 'sentry.code')))
put(
  'shim.code',
  compiledCode([
    ['shim', '-namespace', 'build', '-id', 'build', 'delete'],
    ['shim', '-info'],
  ]),
)
const shim = await codeOfShimRun(root)
if (shim !== undefined) put('shim.code', codeIn(shim) ?? readFileSync(join(dist, 'shim.code')))
put('host.code', compiledCode([['list', '--root', join(dist, 'no-such-root')], ['--version']]))
const host = codeOfHostRun(root)
if (host !== undefined) put('host.code', codeIn(host) ?? readFileSync(join(dist, 'host.code')))

async function bundle(entry: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [join(root, entry)],
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
  return outputFiles[0].contents
}

/** In one step, since sandboxes may be starting. */
function put(name: string, contents: Uint8Array): void {
  const path = join(dist, name)
  writeFileSync(`${path}.new`, contents)
  renameSync(`${path}.new`, path)
}

/** The code as V8 has it at the end of the first of these runs that succeeds. */
function compiledCode(runs: readonly string[][]): Buffer {
  for (const args of runs) {
    const env = { ...process.env, CAISSON_SOURCE: undefined, CAISSON_EMIT_CODE: '1' }
    const run = spawnSync(join(root, 'native/build/caisson'), args, {
      env,
      maxBuffer: 64 << 20,
      timeout: 20000,
    })
    const code = run.status === 0 ? codeIn(run.stdout) : undefined
    if (code !== undefined) return code
  }
  process.stderr.write(`caisson: no compiled code of ${runs[0].join(' ')} for dist/: starts will be slower\n`)
  return Buffer.alloc(0)
}

/** What the entry wrote behind its mark. */
function codeIn(output: Buffer): Buffer | undefined {
  const start = output.indexOf(CODE_MARK)
  return start < 0 ? undefined : output.subarray(start + CODE_MARK.length)
}
