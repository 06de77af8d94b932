/**
 * The options of a runtime as containerd's configuration has them, in one of two forms: the message of the runc shim,
 * which clients like ctr and Docker send to all runtimes, or TOML, in which containerd's CRI plugin passes on what is
 * configured for a runtime that it doesn't know:
 *
 *   [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.caisson.options]
 *     SystemdCgroup = true
 */
import { readFileSync } from 'node:fs'
import { UserError } from '../sandbox/user-error.ts'
import { WireMessage } from './wire.ts'

export interface ShimOptions {
  /** The directory of the containers' state; each namespace gets one below it. */
  readonly root?: string
  readonly systemdCgroup?: boolean
  /** A cgroup for the shim itself. */
  readonly shimCgroup?: string
  /** 'host', 'none' or 'sandbox', as caisson's --network. */
  readonly network?: string
  /** Rules of what containers may reach: 'allow 10.0.0.0/8, deny *'. */
  readonly policy?: string
  /** The directory for what goes over their interfaces. */
  readonly pcap?: string
  readonly debug?: boolean
}

const RUNC_OPTIONS = 'containerd.runc.v1.Options'
const TOML_OPTIONS = 'runtimeoptions.v1.Options'

/** From a google.protobuf.Any, or what is left of one when there are no options: no bytes. */
export function parseOptions(any: Uint8Array): ShimOptions {
  if (any.length === 0) return {}
  const envelope = WireMessage.decode(any)
  const type = envelope.text(1)
  const name = type.slice(type.lastIndexOf('/') + 1)
  const value = WireMessage.decode(envelope.bytes(2))
  if (name === '') return {}
  if (name === RUNC_OPTIONS) return runcOptions(value)
  if (name === TOML_OPTIONS) return tomlOptions(value)
  throw new UserError(
    `options of type ${name} are not understood; caisson takes ${RUNC_OPTIONS} and ${TOML_OPTIONS}`,
  )
}

/** By the numbers of proto/containerd/types/runc_options.proto. What speaks of runc alone means nothing here. */
function runcOptions(message: WireMessage): ShimOptions {
  return {
    root: message.text(7) || undefined,
    shimCgroup: message.text(3) || undefined,
    systemdCgroup: message.number(9) !== 0,
  }
}

/** type_url, config_path, config_body */
function tomlOptions(message: WireMessage): ShimOptions {
  const path = message.text(2)
  const body = message.text(3)
  if (body !== '') return parseToml(body, 'the options of runtime caisson')
  if (path === '') return {}
  try {
    return parseToml(readFileSync(path, 'utf8'), path)
  } catch (error) {
    if (error instanceof UserError) throw error
    throw new UserError(`ConfigPath of the options of runtime caisson: ${(error as Error).message}`)
  }
}

const KEYS: Readonly<Record<string, keyof ShimOptions | undefined>> = {
  Root: 'root',
  SystemdCgroup: 'systemdCgroup',
  ShimCgroup: 'shimCgroup',
  Network: 'network',
  Policy: 'policy',
  Pcap: 'pcap',
  Debug: 'debug',
}
const BOOLEANS = new Set<keyof ShimOptions>(['systemdCgroup', 'debug'])
/** Options of the runc shim that are meant for runc alone, and often left in a configuration. */
const MEANINGLESS = new Set([
  'BinaryName',
  'CriuImagePath',
  'CriuPath',
  'CriuWorkPath',
  'IoGid',
  'IoUid',
  'NoNewKeyring',
  'NoPivotRoot',
])

/** The little of TOML that flat options need: KEY = "text", 'text', true, false or a number, and comments. */
export function parseToml(text: string, where: string): ShimOptions {
  const options: Record<string, string | boolean> = {}
  for (const line of text.split('\n')) {
    if (/^\s*(#.*)?$/.test(line)) continue
    const [, key, quoted, literal, word] =
      /^\s*"?(\w+)"?\s*=\s*(?:"([^"\\]*)"|'([^']*)'|([\w.+-]+))\s*(?:#.*)?$/.exec(line) ?? []
    if (key === undefined) throw new UserError(`${where}: can't read ${JSON.stringify(line.trim())}`)
    if (MEANINGLESS.has(key)) continue
    const name = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined
    if (name === undefined) {
      throw new UserError(`${where}: there is no option ${key}; there are ${Object.keys(KEYS).join(', ')}`)
    }
    const isBoolean = word === 'true' || word === 'false'
    if (BOOLEANS.has(name) !== isBoolean || (word !== undefined && !isBoolean)) {
      throw new UserError(`${where}: ${key} must be ${BOOLEANS.has(name) ? 'true or false' : 'a text'}`)
    }
    options[name] = isBoolean ? word === 'true' : (quoted ?? literal)
  }
  return options
}
