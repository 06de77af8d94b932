/** spec, features: what a bundle can look like, and what the runtime makes of it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'
import { print } from './output.ts'
import { packageVersion } from './package-root.ts'

export const specVerb: Verb = {
  usage: '[FLAG...]',
  help: 'writes a config.json to begin with',
  flags: {
    bundle: { short: 'b', value: 'DIR', help: 'where to; the current directory if absent' },
    rootless: { help: 'for a container that an ordinary user runs' },
  },
  flagsAnywhere: true,
  async run(words) {
    const { specTemplate } = await import('../oci/spec-template.ts')
    const path = join(words.last('bundle') ?? '.', 'config.json')
    const own = { uid: process.geteuid!(), gid: process.getegid!() }
    const config = specTemplate({ rootless: words.has('rootless') ? own : undefined })
    try {
      writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { flag: 'wx' })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      throw new UserError(
        code === 'EEXIST'
          ? `${path} exists already: remove it first`
          : `${path} can't be written: ${message}`,
      )
    }
    return 0
  },
}

export const featuresVerb: Verb = {
  usage: '',
  help: 'prints what of the specification there is, as JSON',
  flags: {},
  flagsAnywhere: true,
  async run() {
    const { features } = await import('../oci/features.ts')
    print(`${JSON.stringify(features(packageVersion()), null, 2)}\n`)
    return 0
  },
}
