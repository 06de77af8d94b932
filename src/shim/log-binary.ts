/**
 * A program that takes a container's output (containerd's `binary://` log drivers). It is started with
 *
 *   descriptors 3 and 4   the reading ends of standard output and error
 *   descriptor 5          to be closed when it is ready
 *   CONTAINER_ID, CONTAINER_NAMESPACE in the environment, and the URI's query as its arguments
 *
 * and is asked to end, by SIGTERM, when the process is deleted.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Addon } from '../platform/addon.ts'
import { newPipe, type Pipe } from '../sandbox/pipe.ts'
import { UserError } from '../sandbox/user-error.ts'

const READY_PATIENCE_MS = 10_000
const END_PATIENCE_MS = 12_000

export class LogBinary {
  readonly #child: ChildProcess
  /** The writing ends, the caller's to close. */
  readonly stdout: number
  readonly stderr: number

  private constructor(child: ChildProcess, stdout: number, stderr: number) {
    this.#child = child
    this.stdout = stdout
    this.stderr = stderr
  }

  static async start(
    addon: Addon,
    uri: string,
    owner: { readonly id: string; readonly namespace: string },
  ): Promise<LogBinary> {
    const { pathname, searchParams } = new URL(uri)
    const words = [...searchParams].flatMap(([key, value]) => (value === '' ? [key] : [key, value]))
    const pipes: Pipe[] = []
    try {
      for (let i = 0; i < 3; i++) pipes.push(newPipe(addon))
      const [stdout, stderr, ready] = pipes
      const env = { ...process.env, CONTAINER_ID: owner.id, CONTAINER_NAMESPACE: owner.namespace }
      const stdio = ['ignore', 'ignore', 'ignore', stdout.reader, stderr.reader, ready.writer] as const
      const child = spawn(decodeURIComponent(pathname), words, { env, stdio: [...stdio] })
      await isReady(child, uri, ready)
      return new LogBinary(child, stdout.writer, stderr.writer)
    } catch (error) {
      for (const { writer } of pipes.slice(0, 2)) closeSync(writer)
      throw error
    } finally {
      for (const { reader } of pipes.slice(0, 2)) closeSync(reader)
    }
  }

  /** The program ends when it has read to the end of both streams; it is helped along if it does not. */
  end(): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_PATIENCE_MS)
    this.#child.once('exit', () => clearTimeout(timer))
  }
}

/** It has closed its end of `ready`, or written to it. Takes over both of ours. */
function isReady(child: ChildProcess, uri: string, ready: Pipe): Promise<void> {
  closeSync(ready.writer)
  const socket = new Socket({ fd: ready.reader, readable: true, writable: false })
  return new Promise<void>((resolve, reject) => {
    const fail = (why: string) => {
      child.kill('SIGKILL')
      reject(new UserError(`the log program ${uri}: ${why}`))
    }
    socket.setTimeout(READY_PATIENCE_MS, () => fail('it was not ready in time'))
    child.once('error', error => fail(error.message))
    socket.once('data', () => resolve())
    socket.once('end', () => (child.pid === undefined ? undefined : resolve()))
  }).finally(() => socket.destroy())
}
