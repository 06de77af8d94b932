/**
 * What becomes of a bundle (plan-container.ts): everything that the runtime does for a container, before anything is done.
 *
 * The plan is plain data. Its `spec` goes to the sandbox as it is, but for what only the runtime knows: the indices of the
 * descriptors of standard input and so on (`process.stdio`, `process.passed`), and `state`. The indices of trees
 * are those of `trees`: the runtime opens them in their order and sends them first.
 */
import type { ContainerNetwork } from '../sandbox/options.ts'
import type { ContainerSpec } from '../sandbox/protocol.ts'
import type { ConsoleSize, HookConfig, HookKind, ResourcesConfig } from './config.ts'

export interface ContainerPlan {
  readonly id: string
  /** Absolute. */
  readonly bundle: string
  readonly spec: ContainerSpec
  /** The first is the root. */
  readonly trees: readonly HostTree[]
  readonly network: NetworkPlan
  /** Whose sockets the container has. */
  readonly sockets: ContainerNetwork
  /** 'net.ipv4.ip_forward' → '1': to be set in that network namespace (sysctlPath). */
  readonly networkSysctl: Readonly<Record<string, string>>
  readonly cgroup: CgroupPlan
  readonly hooks: Readonly<Record<HookKind, readonly HookConfig[]>>
  readonly annotations: Readonly<Record<string, string>>
  /** Of the terminal, where process.terminal asks for one. */
  readonly consoleSize?: ConsoleSize
  /** What is left out and does no harm: one sentence each, for the log. */
  readonly warnings: readonly string[]
}

/** A host directory or file that is given to the sandbox, always without devices and set-user-ID. */
export interface HostTree {
  /** Absolute; a symbolic link at its end is followed. */
  readonly source: string
  /** With the mounts below it. */
  readonly recursive: boolean
  readonly readOnly: boolean
  /** Of a root that shall be read-only: it becomes so when the sandbox has made mountpoints in it. */
  readonly readOnlyOnceBuilt?: boolean
  /** Of config.json, for error messages: 'mounts[3].source'. */
  readonly field: string
}

/** Where the sandbox lives: a network namespace of its own, the caller's, or one that exists. */
export type NetworkPlan =
  | { readonly kind: 'new' }
  | { readonly kind: 'host' }
  | { readonly kind: 'path'; readonly path: string }

export interface CgroupPlan {
  /** linux.cgroupsPath, as the driver understands it; absent: one named after the container. */
  readonly path?: string
  readonly driver: 'cgroupfs' | 'systemd'
  readonly resources: ResourcesConfig
}
