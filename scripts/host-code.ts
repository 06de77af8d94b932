/**
 * V8's compiled code of the host's side as it is after it has run a container: for dist/ (bundle.ts). The container is
 * as engines make them, with a hook, on the host's own root.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { specTemplate } from '../src/oci/spec-template.ts'

/** What the entry of the bundle wrote; undefined where no container can be run, as for ordinary users. */
export function codeOfHostRun(packageRoot: string): Buffer | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-build-'))
  try {
    const template = specTemplate()
    const config = {
      ...template,
      process: { ...template.process, terminal: false, args: ['true'] },
      root: { path: '/', readonly: true },
      hooks: { createRuntime: [{ path: '/bin/true' }] },
      linux: { ...template.linux, cgroupsPath: '/caisson-build' },
    }
    writeFileSync(join(directory, 'config.json'), JSON.stringify(config))
    const args = ['--root', join(directory, 'root'), 'run', '--bundle', directory, 'build']
    const { status, stdout } = spawnSync(join(packageRoot, 'native/build/caisson'), args, {
      env: { ...process.env, CAISSON_SOURCE: undefined, CAISSON_EMIT_CODE: '1' },
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 64 << 20,
      timeout: 20000,
    })
    return status === 0 ? stdout : undefined
  } finally {
    rmSync(directory, { recursive: true })
  }
}
