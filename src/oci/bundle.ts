/**
 * Reads what others wrote: config.json of a bundle, a process for `exec`, resources for `update`. Each is checked against
 * runtime-spec's schema (generated/validate.js, made at build time) and becomes one of config.ts's types, or a UserError
 * that names the field.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../sandbox/user-error.ts'
import type { Config, ProcessConfig, ResourcesConfig } from './config.ts'
import { type SchemaError, validateConfig, validateProcess, validateResources } from './generated/validate.js'

/** The most that anybody's config.json has; Docker's are 40 KB. */
const MAX_BYTES = 16 << 20
/** A number that a double may not hold exactly. */
const LONG_NUMBER = /\d{16}/

/** The config.json of the bundle in the directory `bundle`. */
export function loadBundle(bundle: string): Config {
  const path = join(bundle, 'config.json')
  return parseConfig(readConfig(path, `is ${bundle} a bundle?`), path)
}

/** What `hint` asks is asked where there is no such file. `path` '-': standard input. */
export function readConfig(path: string, hint = ''): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new UserError(code === 'ENOENT' ? `${path} does not exist${hint && `: ${hint}`}` : message)
  }
}

export function parseConfig(text: string, path: string): Config {
  return parse(text, path, validateConfig) as Config
}

/** runtime-spec's `process`, as `exec --process FILE` has it. */
export function parseProcess(text: string, path: string): ProcessConfig {
  return parse(text, path, validateProcess) as ProcessConfig
}

/** runtime-spec's `linux.resources`, as `update --resources FILE` has it. */
export function parseResources(text: string, path: string): ResourcesConfig {
  return parse(text, path, validateResources) as ResourcesConfig
}

function parse(text: string, path: string, validate: typeof validateConfig): unknown {
  if (text.length > MAX_BYTES) throw new UserError(`${path} is longer than ${MAX_BYTES} bytes`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}`)
  }
  try {
    withoutNulls(value)
  } catch (error) {
    // Or it is nested so deep that nobody can have meant it.
    throw new UserError(`${path}: ${(error as Error).message}`)
  }
  if (!validate(value)) throw new UserError(`${path}: ${sentence(validate.errors![0])}`)
  return LONG_NUMBER.test(text) ? withoutNulls(JSON.parse(text, exactly)) : value
}

/** Engines written in Go print fields that are not set as null; removes these, in place. */
function withoutNulls(value: unknown): unknown {
  // What is behind it would be lost on the way to the kernel.
  if (typeof value === 'string' && value.includes('\0')) throw new Error('a string has a NUL character in it')
  if (typeof value !== 'object' || value === null) return value
  for (const [key, each] of Object.entries(value)) {
    if (each !== null) withoutNulls(each)
    else if (!Array.isArray(value)) delete (value as Record<string, unknown>)[key]
  }
  return value
}

/** Keeps all 64 bits of what seccomp compares arguments with. */
function exactly(key: string, value: unknown, { source }: { source?: string } = {}): unknown {
  if (key !== 'value' && key !== 'valueTwo') return value
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
  return source !== undefined && /^\d+$/.test(source) ? BigInt(source) : value
}

function sentence(error: SchemaError): string {
  const path = fieldPath(error.instancePath)
  const { params, keyword } = error
  switch (keyword) {
    case 'required':
      return `${path === '' ? '' : `${path}.`}${params.missingProperty} is missing`
    case 'type':
      return `${path || 'the whole'} must be of type ${params.type}`
    case 'enum':
      return `${path} must be one of ${(params.allowedValues as string[]).join(', ')}`
    case 'minimum':
    case 'maximum':
      return `${path} must be ${params.comparison} ${params.limit}`
    case 'pattern':
      return `${path} must match ${params.pattern}`
    default:
      return `${path} is not as runtime-spec has it (${keyword})`
  }
}

/** '/mounts/3/options' → 'mounts[3].options' */
function fieldPath(pointer: string): string {
  let path = ''
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path += /^\d+$/.test(name) ? `[${name}]` : path === '' ? name : `.${name}`
  }
  return path
}
