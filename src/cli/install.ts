/** install, uninstall: caisson among the runtimes in Docker's daemon.json, where everything else stays as it is. */
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { getSystemErrorMessage, isDeepStrictEqual } from 'node:util'
import { UserError } from '../sandbox/user-error.ts'
import type { Flags, Verb } from './flags.ts'
import { removeMember, setMember } from './json-edit.ts'
import { print } from './output.ts'
import { packageRoot } from './package-root.ts'

const FLAGS: Flags = {
  name: { value: 'NAME', help: "what Docker calls the runtime; 'caisson' if absent" },
  config: { value: 'FILE', help: "Docker's configuration; /etc/docker/daemon.json if absent" },
}

const RELOAD = 'reload Docker: systemctl reload docker, or send dockerd SIGHUP'

export const installVerb: Verb = {
  usage: '[FLAG...] [-- FLAG...]',
  help: "enters caisson in Docker's daemon.json as a runtime; flags behind -- are the runtime's",
  flags: FLAGS,
  run(words) {
    const name = words.last('name') ?? 'caisson'
    const path = join(packageRoot(), 'native/build/caisson')
    const runtime = words.rest.length === 0 ? { path } : { path, runtimeArgs: words.rest }
    const file = new DaemonConfig(words.last('config') ?? '/etc/docker/daemon.json')
    if (isDeepStrictEqual(file.runtimes[name], runtime))
      return say(`${file.path} has the runtime ${name} already`)
    file.write(setMember(file.text, ['runtimes', name], runtime))
    return say(
      `${file.path} has the runtime ${name} now; ${RELOAD}. Then: docker run --runtime=${name} IMAGE`,
    )
  },
}

export const uninstallVerb: Verb = {
  usage: '[FLAG...]',
  help: "takes caisson out of Docker's daemon.json",
  flags: FLAGS,
  run(words) {
    const name = words.last('name') ?? 'caisson'
    const file = new DaemonConfig(words.last('config') ?? '/etc/docker/daemon.json')
    if (!Object.hasOwn(file.runtimes, name)) return say(`${file.path} has no runtime ${name}`)
    if (file.config['default-runtime'] === name) {
      throw new UserError(`${file.path}: ${name} is the default-runtime; without it Docker would not start`)
    }
    const others = Object.keys(file.runtimes).length > 1
    file.write(removeMember(file.text, others ? ['runtimes', name] : ['runtimes']))
    return say(`${file.path} has no runtime ${name} any more; ${RELOAD}`)
  },
}

class DaemonConfig {
  readonly path: string
  readonly text: string
  readonly config: Readonly<Record<string, unknown>>
  readonly runtimes: Readonly<Record<string, unknown>>
  /** Of the file that there is, links followed. */
  readonly #target: string
  readonly #before: Stats | undefined

  constructor(path: string) {
    this.path = path
    try {
      const exists = lstatSync(path, { throwIfNoEntry: false }) !== undefined
      this.#target = exists ? realpathSync(path) : path
      this.#before = exists ? statSync(this.#target) : undefined
      this.text = exists ? readFileSync(this.#target, 'utf8') : '{}\n'
    } catch (error) {
      throw failure(`${path} can't be read`, error)
    }
    // Docker takes an empty file for an empty object.
    if (this.text.trim() === '') this.text = '{}\n'
    this.config = parse(this.text, path)
    const { runtimes = {} } = this.config
    if (!isObject(runtimes)) throw new UserError(`${path}: runtimes is not an object; it was left as it is`)
    this.runtimes = runtimes
  }

  /** In one step, with owner and permissions as they were. */
  write(text: string): void {
    // A slip here would keep Docker from starting.
    parse(text, this.path)
    const next = `${this.#target}.caisson-new`
    try {
      if (this.#before === undefined) mkdirSync(dirname(this.#target), { recursive: true })
      const fd = openSync(next, 'w', 0o644)
      writeSync(fd, text)
      fsyncSync(fd)
      closeSync(fd)
      if (this.#before !== undefined) {
        chownSync(next, this.#before.uid, this.#before.gid)
        chmodSync(next, this.#before.mode & 0o7777)
      }
      renameSync(next, this.#target)
    } catch (error) {
      rmSync(next, { force: true })
      throw failure(`${this.path} can't be written`, error)
    }
  }
}

function parse(text: string, path: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new UserError(`${path} is not valid JSON and was left as it is: ${(error as Error).message}`)
  }
  if (!isObject(value)) throw new UserError(`${path} is not a JSON object and was left as it is`)
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function failure(what: string, error: unknown): UserError {
  const { errno, message } = error as NodeJS.ErrnoException
  return new UserError(`${what}: ${errno === undefined ? message : getSystemErrorMessage(errno)}`)
}

function say(text: string): number {
  print(`${text}\n`)
  return 0
}
