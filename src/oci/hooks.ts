/**
 * runtime-spec's hooks that run on the host: programs of whoever wrote config.json, which get the container's state on
 * standard input. Each has its own environment and nothing of ours; one after the other, and the first failure counts.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { UserError } from '../sandbox/user-error.ts'
import type { HookConfig, HookKind } from './config.ts'

/** Most that is shown of what a failing hook has said. */
const MAX_OUTPUT = 16 << 10

type Child = ChildProcessByStdio<Writable, Readable, Readable>

export interface HookPlace {
  /** Starts a hook somewhere else than where we are. */
  readonly start?: (start: () => Child) => Child
  /** Ends a hook that runs: what it would have done is of no use any more. */
  readonly abort?: AbortSignal
}

/** `state`: runtime-spec's, as JSON. Throws a UserError for the first that fails. */
export async function runHooks(
  kind: HookKind,
  hooks: readonly HookConfig[],
  state: string,
  { start = make => make(), abort }: HookPlace = {},
): Promise<void> {
  for (const [index, hook] of hooks.entries()) {
    const child = start(() => startHook(hook, abort))
    const failure = await endOf(child, hook, state)
    if (failure === undefined) continue
    throw new UserError(`error running ${kind} hook #${index}: ${hook.path}: ${failure}`)
  }
}

function startHook(hook: HookConfig, signal: AbortSignal | undefined): Child {
  const [argv0 = hook.path, ...args] = hook.args ?? []
  return spawn(hook.path, args, {
    argv0,
    env: environmentOf(hook),
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: hook.timeout === undefined ? undefined : hook.timeout * 1000,
    killSignal: 'SIGKILL',
    signal,
  })
}

/** Gives it the state and waits for its end: what went wrong. */
function endOf(child: Child, hook: HookConfig, state: string): Promise<string | undefined> {
  return new Promise(resolve => {
    let stdout = ''
    let stderr = ''
    const end = (failure: string | undefined) => {
      // A background process of the hook may hold them open.
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy()
      resolve(failure)
    }
    child.stdout.setEncoding('utf8').on('data', text => (stdout = (stdout + text).slice(0, MAX_OUTPUT)))
    child.stderr.setEncoding('utf8').on('data', text => (stderr = (stderr + text).slice(0, MAX_OUTPUT)))
    child.on('error', error => end(error.name === 'AbortError' ? 'the sandbox has ended' : error.message))
    child.on('exit', (status, signal) => {
      if (status === 0) return end(undefined)
      const killed = child.killed ? `timed out after ${hook.timeout} s` : `${signal}`
      const how = status === null ? killed : `exit status ${status}`
      // What it said last may still be on its way.
      setImmediate(() => end(`${how}, stdout: ${stdout.trim()}, stderr: ${stderr.trim()}`))
    })
    // A hook need not read it.
    child.stdin.on('error', () => {})
    child.stdin.end(state)
  })
}

function environmentOf(hook: HookConfig): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {}
  for (const entry of hook.env ?? []) {
    const equals = entry.indexOf('=')
    if (equals > 0) environment[entry.slice(0, equals)] = entry.slice(equals + 1)
  }
  return environment
}
