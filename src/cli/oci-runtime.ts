/** What the verbs of a container runtime share: the runtime itself, the id, and descriptors that are passed on. */
import { AT_FDCWD } from '../abi/constants.ts'
import type { Runtime } from '../oci/runtime.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Words } from './flags.ts'
import { runtimeOptions } from './globals.ts'
import { logEntry } from './runtime-log.ts'

export async function openRuntime(globals: Words): Promise<Runtime> {
  const { Runtime } = await import('../oci/runtime.ts')
  const runtime = new Runtime({
    ...runtimeOptions(globals),
    warn: text => logEntry(globals, 'warning', text),
  })
  // Without Node.js's own clearing up, which takes a millisecond: all that is printed has been written.
  Object.assign(process, { reallyExit: (status?: number) => runtime.addon.exitGroup(status ?? 0) })
  return runtime
}

/** The one word that the verb takes. */
export function idOf(words: Words): string {
  const [id, ...rest] = words.rest
  if (id === undefined) throw new UserError('the ID of a container is missing')
  if (rest.length > 0) throw new UserError(`only one ID is taken: what is ${rest[0]}?`)
  return id
}

/** --preserve-fds N: descriptors 3 to 3 + N - 1. */
export function preservedDescriptors(words: Words, addon: Runtime['addon']): number[] {
  const given = words.last('preserve-fds') ?? '0'
  if (!/^\d{1,3}$/.test(given)) throw new UserError(`--preserve-fds: ${given} is not a number of descriptors`)
  const fds = Array.from({ length: Number(given) }, (_, i) => 3 + i)
  const missing = fds.find(fd => !isCallers(addon, fd))
  if (missing === undefined) return fds
  throw new UserError(`--preserve-fds ${given}: there is no descriptor ${missing}`)
}

/** Node.js's own have taken the numbers that were free, an epoll first, which no container can use anyway. */
function isCallers(addon: Runtime['addon'], fd: number): boolean {
  const name = addon.readlinkat(AT_FDCWD, `/proc/self/fd/${fd}`)
  return typeof name === 'string' && name !== 'anon_inode:[eventpoll]'
}

/** 'TERM', 'SIGTERM', '15' */
export async function parseSignal(text: string): Promise<number> {
  const { constants } = await import('node:os')
  const number = /^\d+$/.test(text)
    ? Number(text)
    : (constants.signals as Record<string, number>)[longName(text)]
  const realTime = /^(?:SIG)?RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(text.toUpperCase())
  const signo = number ?? (realTime === null ? undefined : realTimeSignal(realTime))
  if (signo === undefined || signo > 64) throw new UserError(`unknown signal "${text}"`)
  return signo
}

function longName(text: string): NodeJS.Signals {
  const upper = text.toUpperCase()
  return (upper.startsWith('SIG') ? upper : `SIG${upper}`) as NodeJS.Signals
}

/** As glibc counts them, whose first two are its own. */
function realTimeSignal([, base, sign, offset = '0']: RegExpExecArray): number {
  return (base === 'MIN' ? 34 : 64) + (sign === '-' ? -1 : 1) * Number(offset)
}
