/** The flags in front of the verb: runc's, and those of runsc's that have a meaning here. */
import { join } from 'node:path'
import { parseRate } from '../net/link/rate.ts'
import { isHostRoot } from '../oci/host-root.ts'
import { policyLines } from '../oci/policy-text.ts'
import type { RuntimeOptions } from '../oci/runtime.ts'
import { DEFAULT_NETWORK } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Flags, Words } from './flags.ts'
import { packageRoot } from './package-root.ts'

const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
const NETWORKS = ['sandbox', 'host', 'none'] as const

export const GLOBAL_FLAGS: Flags = {
  version: { short: 'v', help: 'print the version' },
  root: { value: 'DIR', help: 'where the state of containers is; /run/caisson if absent' },
  log: { value: 'FILE', help: 'where to write what went wrong, besides standard error' },
  'log-format': { value: 'FORMAT', help: "of that file: 'text' (if absent) or 'json'" },
  'log-level': { value: 'LEVEL', help: `what sandboxes log: ${LOG_LEVELS.join(', ')}; 'warn' if absent` },
  debug: { help: 'the same as --log-level=debug' },
  'debug-log': { value: 'FILE', help: "where sandboxes log; 'DIR/': to a file per container in it" },
  strace: { help: "trace the containers' system calls to the debug log" },
  'systemd-cgroup': { help: "make cgroups by systemd: linux.cgroupsPath is 'SLICE:PREFIX:NAME'" },
  network: {
    value: 'KIND',
    help: "whose sockets containers have: 'sandbox' (if absent): a network stack of the sandbox's own; 'host': those of the host's kernel, in the container's network namespace; 'none'",
  },
  allow: {
    value: 'TARGET[:PORT][/...]',
    help: 'what containers may reach, and nothing else, as of `do` (repeatable)',
  },
  deny: {
    value: 'TARGET[:PORT][/...]',
    help: 'what they may not; the first of all these that matches decides',
  },
  'egress-rate': { value: 'RATE', help: "what each of a container's interfaces sends at most: '10mbit'" },
  'ingress-rate': { value: 'RATE', help: 'what it gets at most' },
  pcap: {
    value: 'DIR',
    help: "writes what goes over a container's interfaces to DIR/ID.pcapng, for tcpdump",
  },
  platform: { value: 'NAME', help: "how guest code is run: 'systrap' is the one there is" },
  rootless: { value: 'BOOL', help: 'taken for compatibility; root or not is found out' },
}

export function runtimeOptions(globals: Words): RuntimeOptions {
  const platform = globals.last('platform') ?? 'systrap'
  if (platform !== 'systrap')
    throw new UserError(`--platform=${platform}: 'systrap' is the only one there is`)
  const level = globals.has('debug') ? 'debug' : oneOf(globals, 'log-level', LOG_LEVELS, 'warn')
  return {
    packageRoot: packageRoot(),
    root: globals.last('root') ?? defaultRoot(),
    systemdCgroup: globals.has('systemd-cgroup'),
    network: oneOf(globals, 'network', NETWORKS, DEFAULT_NETWORK),
    flowRules: globals
      .inOrder('allow', 'deny')
      .flatMap(({ name, value }) => policyLines(`${name} ${value}`, `--${name}`)),
    rates: { egress: rateOf(globals, 'egress-rate'), ingress: rateOf(globals, 'ingress-rate') },
    captureDirectory: globals.last('pcap'),
    logLevel: level,
    debugLog: globals.last('debug-log'),
    strace: globals.has('strace'),
    oneCommand: true,
  }
}

function rateOf(globals: Words, flag: string): number | undefined {
  const text = globals.last(flag)
  if (text === undefined) return undefined
  const rate = parseRate(text)
  if (typeof rate === 'string') throw new UserError(`--${flag}: ${rate}`)
  return rate
}

function defaultRoot(): string {
  const runtime = process.env.XDG_RUNTIME_DIR
  if (isHostRoot()) return '/run/caisson'
  return runtime ? join(runtime, 'caisson') : `/tmp/caisson-${process.geteuid!()}`
}

function oneOf<T extends string>(globals: Words, flag: string, values: readonly T[], absent: T): T {
  const given = globals.last(flag)
  if (given === undefined) return absent
  const value = values.find(each => each === given)
  if (value === undefined) throw new UserError(`--${flag}: ${given} is none of ${values.join(', ')}`)
  return value
}
