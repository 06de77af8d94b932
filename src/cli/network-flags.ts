/** The flags of `do` that are about its network. */
import { constants, openSync, readFileSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { type FlowRule, parseRule } from '../net/policy/rule.ts'
import { USER_V4, USER_V6 } from '../net/usermode/addresses.ts'
import type { SandboxOptions, UserNetworkSettings } from '../sandbox/options.ts'
import { parseResolverConfig, type ResolverConfig, resolverConfigText } from '../sandbox/resolver-config.ts'
import { hasTap } from '../sandbox/tap-network.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Flags, Words } from './flags.ts'
import { parsePublished } from './publish.ts'

type Kind = SandboxOptions['network']

export const NETWORK_FLAGS: Flags = {
  network: {
    value: 'KIND',
    help: "what the command reaches: 'none', the default; 'host': the network that you are in; 'user': the same, through sockets of yours; 'sandbox': the same as 'user', or for root a link to the network that you are in",
  },
  publish: {
    value: '[ADDRESS:]PORT:PORT[/udp]',
    short: 'p',
    help: "a port of yours that leads to one of the command's, with --network=user (repeatable)",
  },
  allow: {
    value: 'TARGET[:PORT][/tcp|udp|icmp]',
    help: 'what the command may reach, and nothing else: an address, a network, a name, *.NAME or * (repeatable)',
  },
  deny: {
    value: 'TARGET[:PORT][/...]',
    help: 'what it may not; of all these the first that matches decides',
  },
  pcap: { value: 'FILE', help: 'writes what goes over the network interfaces to a file for tcpdump' },
  'host-loopback': { help: 'with --network=user: 10.0.2.2 leads to your own loopback address' },
}

/** Of the flags that a network knows nothing of none may be given. */
const USER_FLAGS = ['publish', 'host-loopback']
const STACK_FLAGS = ['allow', 'deny', 'pcap']

/** `hostname`: the sandbox's; a byte string. */
export function networkOptions(
  words: Words,
  hostname: string,
): Pick<SandboxOptions, 'network' | 'files' | 'capture' | 'flowRules' | 'resolvers' | 'userNetwork'> {
  const network = parseNetwork(words.last('network') ?? 'none')
  const isUser = network === 'user'
  const hasStack = isUser || network === 'sandbox'
  for (const flag of USER_FLAGS) {
    if (!isUser && words.has(flag)) throw new UserError(`--${flag} needs --network=user`)
  }
  for (const flag of STACK_FLAGS) {
    if (!hasStack && words.has(flag))
      throw new UserError(`--${flag} needs --network=user or --network=sandbox`)
  }
  const resolver = hasStack ? callersResolver() : NO_RESOLVER
  return {
    network,
    files: [
      ...(hasStack ? [{ path: '/etc/hosts', text: hostsText(hostname) }] : []),
      ...(isUser
        ? [{ path: '/etc/resolv.conf', text: resolverConfigText(resolver, USER_V4.resolver.toString()) }]
        : []),
    ],
    flowRules: words.inOrder('allow', 'deny').map(({ name, value }) => parseFlowRule(name, value)),
    resolvers: isUser
      ? [USER_V4, USER_V6].map(({ resolver: address }) => address.toString())
      : resolver.servers,
    userNetwork: isUser ? userNetwork(words, resolver) : undefined,
    // Last: it leaves a file.
    capture: openCapture(words.last('pcap')),
  }
}
const NO_RESOLVER: ResolverConfig = { servers: [], names: [] }

function userNetwork(words: Words, resolver: ResolverConfig): UserNetworkSettings {
  return {
    hostLoopback: words.has('host-loopback'),
    resolvers: resolver.servers,
    published: words.all('publish').map(parsePublished),
  }
}

/** A pipe that nobody empties must not hold the sandbox up. */
function openCapture(path: string | undefined): number | undefined {
  if (path === undefined) return undefined
  const { O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0o644)
  } catch (error) {
    const reason = getSystemErrorMessage((error as { errno: number }).errno)
    throw new UserError(`--pcap ${path}: the file can't be written: ${reason}`)
  }
}

function parseFlowRule(flag: string, text: string): FlowRule {
  const rule = parseRule(flag === 'allow' ? 'allow' : 'deny', text)
  if (typeof rule === 'string') throw new UserError(`--${flag} ${text}: ${rule}`)
  return rule
}

/** A machine without the file asks itself, resolv.conf(5). */
function callersResolver(): ResolverConfig {
  try {
    return parseResolverConfig(readFileSync('/etc/resolv.conf', 'latin1'))
  } catch {
    return { servers: ['127.0.0.1'], names: [] }
  }
}

/** The caller's hosts(5), and the sandbox's own name, which else every look-up would ask a name server for. */
function hostsText(hostname: string): string {
  let text = '127.0.0.1\tlocalhost\n'
  try {
    text = readFileSync('/etc/hosts', 'latin1').replace(/\n?$/, '\n')
  } catch {
    // A machine without the file.
  }
  return `${text}127.0.1.1\t${hostname}\n`
}

function parseNetwork(kind: string): Kind {
  // Who may make no device for it has the network of ordinary users.
  if (kind === 'sandbox' && !hasTap()) return 'user'
  if (kind === 'none' || kind === 'host' || kind === 'sandbox' || kind === 'user') return kind
  throw new UserError(`--network: ${kind} is none of 'none', 'host', 'user' and 'sandbox'`)
}
