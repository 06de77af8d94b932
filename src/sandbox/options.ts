/** What a sandbox is started with. The CLI fills it from flags; containers come later, over the control socket. */

import type { FlowRule } from '../net/policy/rule.ts'

/** A host directory or file that the sandbox is given. */
export interface Donation {
  /** Absolute path on the host, symbolic links resolved; a byte string. */
  readonly source: string
  /** Where the guest sees it; a byte string. '/' is the root's lower layer. */
  readonly target: string
  readonly readOnly: boolean
}

export interface SandboxUser {
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
}

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/**
 * Whose sockets containers have: those of the kernel's own network stack, those of the host's kernel in the container's
 * network namespace, or none but unix sockets.
 */
export type ContainerNetwork = 'sandbox' | 'host' | 'none'

/** As native/launcher/spare.c expects it. */
export const DEFAULT_NETWORK: ContainerNetwork = 'sandbox'

/** Both byte strings. */
export interface ShownFile {
  readonly path: string
  readonly text: string
}

/** A port of the caller's machine that leads to one of the guest's. */
export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp'
  /** Of the caller's; '' for all. */
  readonly address: string
  readonly port: number
  readonly guestPort: number
  /** As it was asked for. */
  readonly text: string
}

export interface UserNetworkSettings {
  /** The gateway's address leads to the caller's loopback. */
  readonly hostLoopback: boolean
  /** The caller's resolvers. */
  readonly resolvers: readonly string[]
  readonly published: readonly PublishedPort[]
}

/** What may be said when the sentry is already there. */
export interface SentrySettings {
  readonly strace: boolean
  readonly logLevel: LogLevel
  /** Whether call sites are patched. */
  readonly patch: boolean
}

/** What every sentry is started with. */
export interface SentryOptions extends SentrySettings {
  /** The directory of caisson's own package: native parts are found there. */
  readonly packageRoot: string
  readonly hostname: string
  /**
   * 'host': internet sockets are those of the network namespace that the sentry lives in; 'sandbox': of the kernel's own
   * network; 'user': the same, with a way out over sockets of the caller's.
   */
  readonly network: 'none' | 'host' | 'sandbox' | 'user'
}

/** `caisson do`. */
export interface SandboxOptions extends SentryOptions {
  /** Names the sandbox for `caisson ps` and the control socket. */
  readonly id: string
  /** The command and its arguments: byte strings. The command is looked for in the guest's PATH. */
  readonly args: readonly string[]
  /** Whether process 1 is an init, which starts the command; its program is donated. */
  readonly init: boolean
  /** NAME=value byte strings. */
  readonly env: readonly string[]
  /** Absolute, a byte string. */
  readonly cwd: string
  readonly user: SandboxUser
  /** The first is the root. */
  readonly donations: readonly Donation[]
  /** Whether the guest's root refuses writes; otherwise they go to an overlay in memory. */
  readonly readOnlyRoot: boolean
  /** Most bytes that the overlay may hold. */
  readonly overlaySize: number
  /** Files that the guest sees in place of the host's: absolute paths. */
  readonly files: readonly ShownFile[]
  /** A descriptor for what goes over the network's interfaces; undefined: nobody wants to see it. */
  readonly capture: number | undefined
  /** What the guest may reach; without rules everything that its network reaches. */
  readonly flowRules: readonly FlowRule[]
  /** Whom the guest asks for names; what they answer is believed where rules have names. */
  readonly resolvers: readonly string[]
  /** Where the network is 'user'. */
  readonly userNetwork: UserNetworkSettings | undefined
}
