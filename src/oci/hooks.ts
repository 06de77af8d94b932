/**
 * runtime-spec's hooks that run on the host: programs of whoever wrote config.json, which get the container's state on
 * standard input. Each has its own environment and nothing of ours; one after the other, and the first failure counts.
 *
 * Input and output are files in memory: a hook need not read the one, and what it leaves running may keep the other.
 */
import { constants } from 'node:os'
import { MFD_CLOEXEC, SIGKILL } from '../abi/constants.ts'
import type { Addon } from '../platform/addon.ts'
import { HostProcess } from '../sandbox/host-process.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { HookConfig, HookKind } from './config.ts'

/** Most that is shown of what a failing hook has said. */
const MAX_OUTPUT = 16 << 10
/** Weeks. Node.js takes more for no time at all. */
const MAX_TIMER_MS = 2 ** 31 - 1

export interface HookPlace {
  /** Starts a hook somewhere else than where we are. */
  readonly start?: (start: () => HostProcess) => HostProcess
  /** Ends a hook that runs: what it would have done is of no use any more. */
  readonly abort?: AbortSignal
}

/** The most that all of them take, ms, and `moreMs`; undefined where there are none. */
export function limitOf(hooks: readonly HookConfig[], moreMs: number): number | undefined {
  if (hooks.length === 0) return undefined
  const limits = hooks.map(({ timeout = Number.POSITIVE_INFINITY }) => timeout * 1000)
  return Math.min(
    limits.reduce((sum, limit) => sum + limit, moreMs),
    MAX_TIMER_MS,
  )
}

/** `state`: runtime-spec's, as JSON. Throws a UserError for the first that fails. */
export async function runHooks(
  addon: Addon,
  kind: HookKind,
  hooks: readonly HookConfig[],
  state: string,
  place: HookPlace = {},
): Promise<void> {
  for (const [index, hook] of hooks.entries()) {
    const failure = await runHook(addon, hook, state, place)
    if (failure === undefined) continue
    throw new UserError(`error running ${kind} hook #${index}: ${hook.path}: ${failure}`)
  }
}

/** What went wrong. */
async function runHook(
  addon: Addon,
  hook: HookConfig,
  state: string,
  { start = make => make(), abort }: HookPlace,
): Promise<string | undefined> {
  const [input, output, errors] = ['state', 'output', 'errors'].map(name => addon.memfd(name, MFD_CLOEXEC))
  try {
    addon.pwrite(input, Buffer.from(state), 0)
    const process = start(() =>
      HostProcess.start(addon, {
        path: hook.path,
        args: hook.args !== undefined && hook.args.length > 0 ? hook.args : [hook.path],
        environment: hook.env ?? [],
        descriptors: [input, output, errors],
      }),
    )
    const status = await endOf(process, hook.timeout, abort)
    if (status === 0) return undefined
    const said = `stdout: ${textOf(addon, output)}, stderr: ${textOf(addon, errors)}`
    return `${typeof status === 'string' ? status : reasonOf(status)}, ${said}`
  } catch (error) {
    if (error instanceof UserError) return error.message
    throw error
  } finally {
    for (const fd of [input, output, errors]) addon.close(fd)
  }
}

/** The status, or why it was killed. */
async function endOf(
  process: HostProcess,
  timeout: number | undefined,
  abort: AbortSignal | undefined,
): Promise<number | string> {
  let why: string | undefined
  const kill = (reason: string) => {
    why = reason
    process.kill(SIGKILL)
  }
  const onAbort = () => kill('the sandbox has ended')
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(() => kill(`timed out after ${timeout} s`), Math.min(timeout * 1000, MAX_TIMER_MS))
  abort?.addEventListener('abort', onAbort)
  if (abort?.aborted) onAbort()
  const status = await process.exit
  clearTimeout(timer)
  abort?.removeEventListener('abort', onAbort)
  return why ?? status
}

function reasonOf(status: number): string {
  const signo = status & 0x7f
  if (signo === 0) return `exit status ${status >> 8}`
  const name = Object.entries(constants.signals).find(([, number]) => number === signo)?.[0]
  return name ?? `signal ${signo}`
}

function textOf(addon: Addon, fd: number): string {
  const bytes = new Uint8Array(MAX_OUTPUT)
  return Buffer.from(bytes.subarray(0, Math.max(addon.pread(fd, bytes, 0), 0)))
    .toString()
    .trim()
}
