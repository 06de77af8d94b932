/** What a sandbox is started with. The CLI fills it from flags; containers come later, over the control socket. */

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
   * network, which reaches nothing but itself yet.
   */
  readonly network: 'none' | 'host' | 'sandbox'
}

/** `caisson do`. */
export interface SandboxOptions extends SentryOptions {
  /** Names the sandbox for `caisson ps` and the control socket. */
  readonly id: string
  /** The command and its arguments: byte strings. The command is looked for in the guest's PATH. */
  readonly args: readonly string[]
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
}
