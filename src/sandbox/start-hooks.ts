/**
 * startContainer hooks: programs of the container that run in it, as its root, one after the other, before its process
 * does. Each gets the container's state on its standard input; the first that fails ends the start.
 */
import { decodeText, fromBytes } from '../base/bytes.ts'
import { Credentials } from '../base/credentials.ts'
import { BufferDst, BufferSrc } from '../base/io.ts'
import { failed } from '../base/result.ts'
import { createMemfd } from '../fs/memfd/memfd.ts'
import { killGroup } from '../kernel/signal.ts'
import { type Expiry, Timer } from '../kernel/timers.ts'
import type { File } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import type { Container } from './container.ts'
import { ContainerProcess } from './container-process.ts'
import type { HookSpec, ProcessSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

/** What a failed hook may say of it. */
const MAX_MESSAGE = 1024

/** `started` hears of each process; `done` of the end, with a sentence if one failed. */
export function runStartHooks(
  container: Container,
  started: (process: ContainerProcess) => void,
  done: (failure: string | undefined) => void,
): void {
  const hooks = [...container.spec.startHooks]
  const next = (): void => {
    const hook = hooks.shift()
    if (hook === undefined) {
      done(undefined)
      return
    }
    try {
      new HookRun(container, hook, started, failure => (failure === undefined ? next() : done(failure)))
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      done(`the startContainer hook ${hook.path} can't be run: ${error.message}`)
    }
  }
  next()
}

class HookRun implements Expiry {
  readonly #container: Container
  readonly #hook: HookSpec
  readonly #process: ContainerProcess
  readonly #output: File
  readonly #timer = new Timer(this)
  #timedOut = false

  constructor(
    container: Container,
    hook: HookSpec,
    started: (process: ContainerProcess) => void,
    done: (failure: string | undefined) => void,
  ) {
    this.#container = container
    this.#hook = hook
    const input = this.#memory('hook-state', container.spec.state)
    this.#output = this.#memory('hook-output', '')
    const files = [input, fileGet(this.#output), fileGet(this.#output)]
    try {
      this.#process = ContainerProcess.start(container.place, rootProcess(container, hook), files, {
        program: hook.path,
      })
    } catch (error) {
      filePut(this.#output)
      throw error
    }
    started(this.#process)
    const { kernel } = container
    if (hook.timeoutMs !== undefined) kernel.timers.add(this.#timer, kernel.now() + hook.timeoutMs * 1e6)
    this.#process.onEnd(status => {
      kernel.timers.cancel(this.#timer)
      const failure = this.#failure(status)
      filePut(this.#output)
      done(failure)
    })
  }

  /** Expiry. */
  expired(): void {
    this.#timedOut = true
    killGroup(this.#process.group)
  }

  #failure(status: number): string | undefined {
    const name = `the startContainer hook ${this.#hook.path}`
    if (this.#timedOut) return `${name} did not end within ${this.#hook.timeoutMs! / 1000} s`
    if (status === 0) return undefined
    const how = (status & 0x7f) === 0 ? `exit status ${status >> 8}` : `signal ${status & 0x7f}`
    const bytes = new Uint8Array(MAX_MESSAGE)
    const length = this.#output.readAt(new BufferDst(bytes), 0)
    const said = length > 0 ? `: ${decodeText(fromBytes(bytes, 0, length)).trim()}` : ''
    return `${name} failed with ${how}${said}`
  }

  #memory(name: string, text: string): File {
    const { kernel } = this.#container
    const file = createMemfd(kernel, name, 0, new Credentials(kernel.userNs))
    if (failed(file)) throw new UserError('no memory for a hook')
    file.writeAt(new BufferSrc(new TextEncoder().encode(text)), 0)
    return file
  }
}

function rootProcess(container: Container, hook: HookSpec): ProcessSpec {
  const { process } = container.spec
  return {
    ...process,
    args: hook.args.length > 0 ? hook.args : [hook.path],
    env: hook.env,
    cwd: '/',
    uid: 0,
    gid: 0,
    groups: [],
    terminal: false,
    stdio: [],
    passed: [],
  }
}
