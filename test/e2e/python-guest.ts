/** Guests that do what a test tells them, step by step. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const caisson = join(import.meta.dirname, '../../bin/caisson')

/** Why tests with a Python guest are left out: for the `skip` of a test. */
export const NO_PYTHON =
  spawnSync('python3', ['-c', 'import sqlite3, fcntl, ctypes']).status === 0 ? false : 'no python3'

/**
 * A guest that does what it is told: each line of input is a Python expression or statement, each answer its value as JSON.
 */
export class PythonGuest {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #ended: Promise<unknown>

  /** `caisson do FLAGS` */
  constructor(...flags: string[]) {
    this.#process = spawn(caisson, ['do', ...flags, '--', 'python3', '-c', LOOP])
    this.#ended = new Promise(resolve => this.#process.once('close', resolve))
    this.#process.stderr.pipe(process.stderr)
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
  }

  /** The launcher's process id. */
  get pid(): number {
    return this.#process.pid!
  }

  async ask(line: string): Promise<unknown> {
    this.#process.stdin.write(`${line}\n`)
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`the guest ended at ${line}`)
    return JSON.parse(value)
  }
  /** Ends it, if it has not ended. */
  async end(): Promise<void> {
    this.#process.stdin.end()
    await this.#ended
  }
}

const LOOP = `
import ctypes, fcntl, json, os, select, sqlite3, struct, sys
libc = ctypes.CDLL(None)
scope = globals()
for line in sys.stdin:
    try:
        try:
            answer = eval(line, scope)
        except SyntaxError:
            exec(line, scope)
            answer = None
    except OSError as error:
        answer = 'errno %d' % error.errno
    except Exception as error:
        answer = repr(error)
    print(json.dumps(answer), flush=True)
`
