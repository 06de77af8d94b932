/**
 * What a sandbox answers is a line from a sentry that its guest may have taken over. Here it becomes plain data of the
 * protocol's form, or nothing: who asks can rely on types, and texts have no characters that a terminal would obey.
 */
import type { ContainerStats, ControlAnswer, ProcessInfo, SandboxInfo } from './protocol.ts'

/** Longer than any sentence, or a program's name with its arguments as they are worth showing. */
const MAX_TEXT = 4096

/** Undefined where it makes no sense. */
export function parseAnswer(line: string): ControlAnswer | undefined {
  let answer: unknown
  try {
    answer = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!isRecord(answer)) return undefined
  for (const [kind, form] of Object.entries(FORMS)) {
    if (Object.hasOwn(answer, kind)) return form(answer[kind], answer) as ControlAnswer | undefined
  }
  return undefined
}

type JsonObject = { readonly [name: string]: unknown }
type Field = 'number' | 'text' | 'texts'
type Fields = { readonly [name: string]: Field }
/** Says the same as the protocol's type: what is added there the compiler wants here. */
type FieldsOf<T> = {
  readonly [K in keyof T]: T[K] extends number ? 'number' : T[K] extends string ? 'text' : 'texts'
}
type KindOf<Answer> = Answer extends unknown ? Exclude<keyof Answer, 'status'> : never

const INFO: FieldsOf<SandboxInfo> = { id: 'text', command: 'text', startedMs: 'number', processes: 'number' }
const PROCESS: FieldsOf<ProcessInfo> = {
  pid: 'number',
  hostPid: 'number',
  ppid: 'number',
  uid: 'number',
  comm: 'text',
  args: 'texts',
  terminal: 'text',
  startedMs: 'number',
  cpuMs: 'number',
}
const STATS: FieldsOf<ContainerStats> = {
  memory: 'number',
  memoryPeak: 'number',
  oomKills: 'number',
  pids: 'number',
  cpuUsageMs: 'number',
  cpuUserMs: 'number',
  cpuSystemMs: 'number',
}
const CONTAINER: Fields = { id: 'text', status: 'text', pid: 'number' }

/** By the member that tells one kind from another; an error first, as it counts whatever else is there. */
const FORMS: { readonly [kind in KindOf<ControlAnswer>]: (value: unknown, answer: JsonObject) => unknown } = {
  error: (value, { status }) => {
    const error = text(value)
    if (error === undefined) return undefined
    return isExitStatus(status) ? { error, status } : { error }
  },
  done: value => (value === true ? { done: true } : undefined),
  started: value => as('started', record(value, { pid: 'number' })),
  info: value => as('info', record(value, INFO)),
  stats: value => as('stats', record(value, STATS)),
  processes: value => as('processes', records(value, PROCESS)),
  containers: value => as('containers', records(value, CONTAINER)),
}

function as(kind: string, value: unknown): unknown {
  return value === undefined ? undefined : { [kind]: value }
}

function records(value: unknown, fields: Fields): unknown[] | undefined {
  return list(value, each => record(each, fields))
}

/** The named fields and no others; undefined unless all are there. */
function record(value: unknown, fields: Fields): unknown {
  if (!isRecord(value)) return undefined
  const found: { [name: string]: unknown } = {}
  for (const [name, kind] of Object.entries(fields)) {
    const field = READ[kind](value[name])
    if (field === undefined) return undefined
    found[name] = field
  }
  return found
}

const READ: { readonly [kind in Field]: (value: unknown) => unknown } = {
  number: value => (typeof value === 'number' && Number.isFinite(value) ? value : undefined),
  text,
  texts: value => list(value, text),
}

function list<T>(value: unknown, read: (each: unknown) => T | undefined): T[] | undefined {
  if (!Array.isArray(value)) return undefined
  const all = value.map(read)
  return all.includes(undefined) ? undefined : (all as T[])
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? harmless(value.slice(0, MAX_TEXT)) : undefined
}

/** As one line, without control characters, and without those that turn the direction of writing. */
export function harmless(value: string): string {
  return value.replace(/[\t\n]/g, ' ').replace(/[\p{Cc}\p{Cf}]/gu, '?')
}

function isRecord(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isExitStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 256
}
