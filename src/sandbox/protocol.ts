/**
 * What a sandbox can be asked over its control socket, and what it answers: plain data, one line of JSON each way.
 *
 * A client connects, sends one request, and gets one answer. Descriptors travel with the first byte of the request
 * (SCM_RIGHTS, at most MAX_DESCRIPTORS) and are named by their index among them. After the answers to `create` (of a
 * pod's further containers), `exec` and `wait` the connection goes on as the process's life, in binary:
 *
 *   client → sandbox   one byte per signal: its number (SIGWINCH: the terminal's size has changed)
 *   sandbox → client   four bytes, little endian, at the end: the exit status as wait(2) has it
 *
 * A client of `create` or `exec` that goes away before kills the process, as the death of a container's parent would; one
 * of `wait` does not. After the answer to `events` there comes a byte EVENT_* for each event, until the container stops.
 *
 * All strings are text as JSON has it; the sandbox makes byte strings of them.
 */

import type { LinkRates } from '../net/link/rate.ts'
import type { NetworkChange } from '../net/setup/change.ts'
import type { NetworkRecord } from '../net/setup/record.ts'

export const MAX_DESCRIPTORS = 250
/** Bytes of a request's line. A container's whole specification, with its seccomp program, is a tenth of it. */
export const MAX_REQUEST = 4 << 20

/** Processes of the container were killed for want of memory. */
export const EVENT_OOM = 1

/** The least memory limit of a sandbox on the host, in bytes: some 20 MiB of it are the sentry's own. */
export const LEAST_MEMORY = 64 << 20

/** Who a process is and what it runs; after runtime-spec's `process`, checked and resolved. */
export interface ProcessSpec {
  readonly args: readonly string[]
  /** NAME=value */
  readonly env: readonly string[]
  /** Absolute; made where it is missing. */
  readonly cwd: string
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
  readonly umask: number
  /** CAP_* numbers of the five sets. */
  readonly capabilities: {
    readonly bounding: readonly number[]
    readonly effective: readonly number[]
    readonly inheritable: readonly number[]
    readonly permitted: readonly number[]
    readonly ambient: readonly number[]
  }
  readonly rlimits: readonly RlimitSpec[]
  readonly noNewPrivileges: boolean
  readonly oomScoreAdj?: number
  /** The process gets a terminal of its own as descriptors 0 to 2 and as its controlling one. */
  readonly terminal: boolean
  /** IOPRIO_PRIO_VALUE */
  readonly ioPriority?: number
  readonly scheduler?: { readonly policy: number; readonly nice: number; readonly priority: number }
  /** CPUs that it may run on, as the guest sees them. */
  readonly cpuAffinity?: readonly number[]
  /**
   * Indices of the request's descriptors: standard input, output and error, or with `terminal` the slave of a host
   * terminal alone; then those that are passed on as 3, 4, ….
   */
  readonly stdio: readonly number[]
  readonly passed: readonly number[]
}

export interface RlimitSpec {
  /** RLIMIT_* */
  readonly resource: number
  /** 2^64 and 2^64-1: no limit. */
  readonly soft: number
  readonly hard: number
}

/** One entry of the guest's mount table, in order. */
export interface MountSpec {
  readonly target: string
  /** A file system of the sandbox's own ('proc', 'tmpfs', …), or 'bind' of a donated tree. */
  readonly type: string
  readonly source: string
  /** MS_* flags: of the mount, and with MS_BIND of what is bound. */
  readonly flags: number
  /** MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, with MS_REC, each after the mount; in order. */
  readonly propagation: readonly number[]
  /** What is left for the file system: 'size=64m,mode=1777'. */
  readonly options: string
  /** 'bind': index of a descriptor, the root of a detached host mount, without devices and set-user-ID. */
  readonly tree?: number
  /** tmpcopyup: the tmpfs begins with what the directory below it holds. */
  readonly copyUp?: boolean
  /** 'bind': the owners of files there are ids inside of these maps. */
  readonly idmap?: { readonly uidMap: readonly IdMapSpec[]; readonly gidMap: readonly IdMapSpec[] }
}

export interface DeviceSpec {
  readonly path: string
  /** S_IFCHR, S_IFBLK or S_IFIFO. */
  readonly type: number
  readonly major: number
  readonly minor: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** As DeviceRule of the kernel's cgroups: of both kinds, any major or any minor number where that is absent. */
export interface DeviceRuleSpec {
  readonly allow: boolean
  readonly type?: 'c' | 'b'
  readonly major?: number
  readonly minor?: number
  /** BPF_DEVCG_ACC_* */
  readonly access: number
}

/** A classic BPF program of seccomp(2), and SECCOMP_FILTER_FLAG_*. */
export interface SeccompSpec {
  /** struct sock_filter's four fields, instruction after instruction. */
  readonly program: readonly number[]
  readonly flags: number
}

export interface IdMapSpec {
  readonly inside: number
  readonly outside: number
  readonly count: number
}

/** Limits as the guest's cgroup shows and obeys them; absent: none, or with `update` what there was; -1: none. */
export interface LimitsSpec {
  /** Bytes. */
  readonly memory?: number
  readonly memoryHigh?: number
  readonly swap?: number
  readonly pids?: number
  /** µs of CPU time per period. */
  readonly cpuQuota?: number
  readonly cpuPeriod?: number
  /** cgroup v2's weight, 1 to 10000. */
  readonly cpuWeight?: number
  /** '0-1,3' */
  readonly cpus?: string
}

/**
 * The interfaces of a container's network namespace, taken from the host's kernel for the kernel's own stack
 * (take-network.ts). The request's descriptors are those of `links`, behind them those to the resolver, the side link's, and the
 * file's for a capture.
 */
export interface NetworkSpec {
  readonly record: NetworkRecord
  /** Indices of the links that frames go over. */
  readonly links: readonly number[]
  /** How many sockets there are to a name server of the engine's in the namespace (engine-resolver.ts). */
  readonly resolvers: number
  /** There is a way from the namespace on the host to the sandbox (side-network.ts). */
  readonly side: boolean
  /** There is a file for what goes over its interfaces. */
  readonly capture: boolean
  /** Lists of rules that must all allow a flow, each rule as of parseRuleLine. */
  readonly policies: readonly (readonly string[])[]
  /** Of each link. */
  readonly rates: LinkRates
  /** The container's name servers, whose answers are believed where rules have names. */
  readonly trusted: readonly string[]
}

/** What has become of them since then (take-network.ts). Descriptors are those of `links`, behind them those to the resolver. */
export interface NetworkUpdate {
  readonly change?: NetworkChange
  /** Indices of the new links that frames go over. */
  readonly links: readonly number[]
  /** More than 0: the engine has a name server there now. */
  readonly resolvers: number
}

export type NamespaceChoice = 'new' | { readonly of: string }

export interface ContainerSpec {
  readonly id: string
  readonly process: ProcessSpec
  /** `tree`: index of the root's descriptor, a detached host mount. */
  readonly root: { readonly tree: number; readonly readOnly: boolean; readonly propagation: number }
  readonly mounts: readonly MountSpec[]
  readonly hostname?: string
  readonly domainname?: string
  /** For each kind: a new one, or that of another container of the pod. Of the network also the host's own. */
  readonly namespaces: Readonly<
    Record<'pid' | 'ipc' | 'uts' | 'cgroup', NamespaceChoice> & Record<'net', NamespaceChoice | 'host'>
  >
  /** With maps: a user namespace of the container's own. */
  readonly uidMap: readonly IdMapSpec[]
  readonly gidMap: readonly IdMapSpec[]
  readonly devices: readonly DeviceSpec[]
  /** What the container may do with devices; of the rules for one the last counts. */
  readonly deviceRules: readonly DeviceRuleSpec[]
  readonly seccomp: readonly SeccompSpec[]
  readonly maskedPaths: readonly string[]
  readonly readonlyPaths: readonly string[]
  /** 'net.ipv4.ip_forward' → '1' */
  readonly sysctl: Readonly<Record<string, string>>
  /** personality(2) */
  readonly personality?: number
  /** Offsets of the time namespace, ns, by 'monotonic' and 'boottime'. */
  readonly timeOffsets?: Readonly<Record<string, number>>
  readonly limits: LimitsSpec
  /** In-container hooks (startContainer), run in the container before its process, as its root. */
  readonly startHooks: readonly HookSpec[]
  /** runtime-spec's state, for the standard input of `startHooks`. */
  readonly state: string
}

export interface HookSpec {
  readonly path: string
  readonly args: readonly string[]
  readonly env: readonly string[]
  readonly timeoutMs?: number
}

export type ControlRequest =
  /** Makes a container; its process stands ready and does not run yet. The first one's end is the sandbox's. */
  | { readonly command: 'create'; readonly spec: ContainerSpec }
  /** `network`: with the first container of a sandbox that has a stack of its own. */
  | { readonly command: 'start'; readonly container: string; readonly network?: NetworkSpec }
  /** What has changed of it; to the same container. */
  | { readonly command: 'network'; readonly container: string; readonly update: NetworkUpdate }
  | {
      readonly command: 'exec'
      readonly container: string
      /** Names the process among the container's; absent for one that nobody will name. */
      readonly exec?: string
      readonly process: ProcessSpec
    }
  /** `exec` absent: the container's first process. `all`: every process of the container. */
  | {
      readonly command: 'signal'
      readonly container: string
      readonly exec?: string
      readonly signo: number
      readonly all?: boolean
    }
  | { readonly command: 'wait'; readonly container: string; readonly exec?: string }
  /** Answered when none of the container's processes runs any more; they can be killed all the same. */
  | { readonly command: 'pause' | 'resume'; readonly container: string }
  | { readonly command: 'events'; readonly container: string }
  /** Ends what is left of a stopped container of a pod; `force` ends a running one first. */
  | { readonly command: 'delete'; readonly container: string; readonly force?: boolean }
  | { readonly command: 'processes'; readonly container: string }
  | { readonly command: 'stats'; readonly container: string }
  | { readonly command: 'update'; readonly container: string; readonly limits: LimitsSpec }
  | { readonly command: 'containers' }
  | { readonly command: 'info' }
  | { readonly command: 'strace'; readonly on: boolean }

export interface ProcessInfo {
  /** In the container's pid namespace. */
  readonly pid: number
  /** Of the process that carries its memory, in the sandbox's own pid namespace: /proc/PID/status has it as NSpid. */
  readonly hostPid: number
  readonly ppid: number
  readonly uid: number
  readonly comm: string
  readonly args: readonly string[]
  readonly terminal: string
  /** Since the epoch, ms; used CPU time, ms. */
  readonly startedMs: number
  readonly cpuMs: number
}

export interface ContainerStats {
  readonly memory: number
  readonly memoryPeak: number
  readonly oomKills: number
  readonly pids: number
  readonly cpuUsageMs: number
  readonly cpuUserMs: number
  readonly cpuSystemMs: number
}

export type ContainerStatus = 'created' | 'running' | 'stopped'

export interface SandboxInfo {
  readonly id: string
  readonly command: string
  /** Since the epoch. */
  readonly startedMs: number
  /** Guest processes alive. */
  readonly processes: number
}

export type ControlAnswer =
  | { readonly info: SandboxInfo }
  | { readonly done: true }
  /** create and exec: the process's number in its pid namespace. */
  | { readonly started: { readonly pid: number } }
  | { readonly processes: readonly ProcessInfo[] }
  | { readonly stats: ContainerStats }
  | {
      readonly containers: readonly {
        readonly id: string
        readonly status: ContainerStatus
        readonly pid: number
      }[]
    }
  /** One sentence; `status`: what the command line ends with (126, 127: the program can't be executed, is missing). */
  | { readonly error: string; readonly status?: number }
