/** What all of the runtime's work has at hand. */
import type { LinkRates } from '../net/link/rate.ts'
import type { Addon } from '../platform/addon.ts'
import { ControlClient } from '../sandbox/control-client.ts'
import type { ContainerNetwork, LogLevel } from '../sandbox/options.ts'
import type { Spare } from '../sandbox/spare.ts'
import type { SavedState, StateStore } from './state.ts'

export interface RuntimeOptions {
  /** The directory of caisson's own package. */
  readonly packageRoot: string
  /** Where the state of containers is. */
  readonly root: string
  /** Cgroups are made by systemd. */
  readonly systemdCgroup?: boolean
  /** Whose sockets containers have; DEFAULT_NETWORK if absent. */
  readonly network?: ContainerNetwork
  /** What containers may reach: 'allow TARGET', 'deny TARGET', in order (net/policy/rule.ts). */
  readonly flowRules?: readonly string[]
  /** Of each interface of a container, bits a second. */
  readonly rates?: LinkRates
  /** Where what goes over a container's interfaces is written to: ID.pcapng. */
  readonly captureDirectory?: string
  readonly logLevel?: LogLevel
  /** Where sandboxes log, a file or 'DIR/'; a file of the container's state if absent. */
  readonly debugLog?: string
  readonly strace?: boolean
  /** The process does nothing else: it may be held up by a sandbox that does not answer. */
  readonly oneCommand?: boolean
  /** Hears what is left out of a config.json, and what went wrong where the work goes on. */
  readonly warn?: (text: string) => void
}

export interface Context {
  readonly options: RuntimeOptions
  readonly addon: Addon
  readonly store: StateStore
  /** A sandbox for the next container, if the launcher has made one beside this program. */
  readonly spare?: Spare
}

/** The sentry that serves the container. */
export function sentryOf({ addon, store, options }: Context, state: SavedState): ControlClient {
  return new ControlClient(addon, store.controlSocket(state.sandbox), options.oneCommand)
}

export function warn({ options }: Context, text: string): void {
  options.warn?.(text)
}

/** runtime-spec's state of the container, as hooks get it. */
export function hookState(state: SavedState, status: string, pid: number): string {
  const { id, bundle, annotations, ociVersion } = state
  return JSON.stringify({ ociVersion, id, status, pid, bundle, annotations })
}
