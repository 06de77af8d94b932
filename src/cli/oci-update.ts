/** pause, resume, update: what changes a container that runs. */
import type { CpuConfig, MemoryConfig, ResourcesConfig } from '../oci/config.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Flags, Verb, Words } from './flags.ts'
import { idOf, openRuntime } from './oci-runtime.ts'

export const pauseVerb: Verb = {
  usage: 'ID',
  help: 'stops all processes of a container where they are',
  flags: {},
  flagsAnywhere: true,
  async run(words, globals) {
    await (await openRuntime(globals)).pause(idOf(words))
    return 0
  },
}

export const resumeVerb: Verb = {
  usage: 'ID',
  help: 'lets a paused container go on',
  flags: {},
  flagsAnywhere: true,
  async run(words, globals) {
    await (await openRuntime(globals)).resume(idOf(words))
    return 0
  },
}

type Place = readonly ['memory', keyof MemoryConfig] | readonly ['cpu', keyof CpuConfig]

/** Flags for single limits: where each is in runtime-spec's resources. */
const LIMITS: Readonly<Record<string, { place: Place; value: 'BYTES' | 'N' | 'LIST'; help: string }>> = {
  memory: { place: ['memory', 'limit'], value: 'BYTES', help: 'memory; -1: no limit' },
  'memory-reservation': {
    place: ['memory', 'reservation'],
    value: 'BYTES',
    help: 'memory that is left to it',
  },
  'memory-swap': { place: ['memory', 'swap'], value: 'BYTES', help: 'memory and swap together' },
  'kernel-memory': { place: ['memory', 'kernel'], value: 'BYTES', help: 'left out by newer kernels' },
  'kernel-memory-tcp': { place: ['memory', 'kernelTCP'], value: 'BYTES', help: 'left out by newer kernels' },
  'cpu-period': { place: ['cpu', 'period'], value: 'N', help: 'µs in which the quota is counted' },
  'cpu-quota': { place: ['cpu', 'quota'], value: 'N', help: 'µs of CPU time per period' },
  'cpu-burst': { place: ['cpu', 'burst'], value: 'N', help: 'µs that may be saved up' },
  'cpu-share': { place: ['cpu', 'shares'], value: 'N', help: "its weight against others', 2 to 262144" },
  'cpu-rt-period': {
    place: ['cpu', 'realtimePeriod'],
    value: 'N',
    help: 'the same for real-time scheduling',
  },
  'cpu-rt-runtime': {
    place: ['cpu', 'realtimeRuntime'],
    value: 'N',
    help: 'the same for real-time scheduling',
  },
  'cpu-idle': { place: ['cpu', 'idle'], value: 'N', help: '1: runs when nothing else does' },
  'cpuset-cpus': { place: ['cpu', 'cpus'], value: 'LIST', help: 'CPUs: 0-3,5' },
  'cpuset-mems': { place: ['cpu', 'mems'], value: 'LIST', help: 'memory nodes' },
}

const UPDATE_FLAGS: Flags = {
  resources: { short: 'r', value: 'FILE', help: "limits as linux.resources has them ('-': standard input)" },
  ...Object.fromEntries(Object.entries(LIMITS).map(([name, { value, help }]) => [name, { value, help }])),
  'blkio-weight': { value: 'N', help: 'weight of block I/O, 10 to 1000' },
  'pids-limit': { value: 'N', help: 'number of processes; -1: no limit' },
}

export const updateVerb: Verb = {
  usage: '[FLAG...] ID',
  help: 'changes the limits of a container',
  flags: UPDATE_FLAGS,
  flagsAnywhere: true,
  async run(words, globals) {
    const id = idOf(words)
    const resources = await resourcesOf(words)
    await (await openRuntime(globals)).update(id, resources)
    return 0
  },
}

async function resourcesOf(words: Words): Promise<ResourcesConfig> {
  const path = words.last('resources')
  if (path !== undefined) {
    const { parseResources, readConfig } = await import('../oci/bundle.ts')
    return parseResources(readConfig(path), path)
  }
  const sections: Record<'memory' | 'cpu', Record<string, number | string>> = { memory: {}, cpu: {} }
  for (const [flag, { place, value }] of Object.entries(LIMITS)) {
    const given = words.last(flag)
    if (given === undefined || given === '') continue
    const [section, key] = place
    sections[section][key] =
      value === 'LIST' ? given : value === 'BYTES' ? parseBytes(flag, given) : parseCount(flag, given)
  }
  const weight = words.last('blkio-weight')
  const pids = words.last('pids-limit')
  return {
    ...sections,
    ...(weight === undefined ? {} : { blockIO: { weight: parseCount('blkio-weight', weight) } }),
    ...(pids === undefined ? {} : { pids: { limit: parseCount('pids-limit', pids) } }),
  }
}

function parseCount(flag: string, text: string): number {
  if (/^-?\d+$/.test(text)) return Number(text)
  throw new UserError(`--${flag}: ${text} is not a number`)
}

function parseBytes(flag: string, text: string): number {
  if (text === '-1') return -1
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text)
  if (match === null) throw new UserError(`--${flag}: ${text} is no size like 512m or 2g`)
  return Math.floor(Number(match[1]) * 1024 ** ' kmgtp'.indexOf(match[2].toLowerCase() || ' '))
}
