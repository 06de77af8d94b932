/**
 * Makes dist/: the one-file program that ships, and V8's compiled code beside it.
 *
 *   caisson-main.cjs   everything that src/cli/main.ts reaches
 *   caisson.cjs        the entry: runs the former, from the compiled code if that fits
 *   caisson-main.code  the compiled code of the functions that a start of a sandbox runs
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, type PluginBuild } from 'esbuild'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
/** As bundle-entry.cjs writes it. */
const CODE_MARK = 'caisson-code:'

rmSync(dist, { recursive: true, force: true })
mkdirSync(dist)
await build({
  entryPoints: [join(root, 'src/cli/main.ts')],
  outfile: join(dist, 'caisson-main.cjs'),
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node26',
  // Names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  legalComments: 'none',
  logLevel: 'warning',
  plugins: [{ name: 'lazy', setup: deferChildProcess }],
})
copyFileSync(join(root, 'scripts/bundle-entry.cjs'), join(dist, 'caisson.cjs'))
writeFileSync(join(dist, 'caisson-main.code'), compiledCode())

/** commander loads node:child_process, which takes 2 ms, for a kind of command that we don't have. */
function deferChildProcess(build: PluginBuild): void {
  build.onResolve({ filter: /^(node:)?child_process$/ }, ({ importer }) =>
    importer.includes('/commander/') ? { path: 'child_process', namespace: 'lazy' } : undefined,
  )
  build.onLoad({ filter: /.*/, namespace: 'lazy' }, () => ({
    contents: "exports.spawn = (...args) => require('node:child_process').spawn(...args)",
    loader: 'js',
  }))
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
