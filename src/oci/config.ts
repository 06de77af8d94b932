/**
 * A container's config.json as runtime-spec has it: what the schema holds true of a validated one (bundle.ts). Only what
 * Linux containers use; what becomes of each field is said in fields.ts.
 */

export interface Config {
  readonly ociVersion: string
  readonly process?: ProcessConfig
  readonly root?: { readonly path: string; readonly readonly?: boolean }
  readonly hostname?: string
  readonly domainname?: string
  readonly mounts?: readonly MountConfig[]
  readonly hooks?: HooksConfig
  readonly annotations?: Readonly<Record<string, string>>
  readonly linux?: LinuxConfig
}

export interface ProcessConfig {
  readonly terminal?: boolean
  readonly consoleSize?: ConsoleSize
  readonly user?: UserConfig
  readonly args?: readonly string[]
  readonly commandLine?: string
  readonly env?: readonly string[]
  readonly cwd: string
  readonly capabilities?: CapabilitiesConfig
  readonly rlimits?: readonly { readonly type: string; readonly soft: number; readonly hard: number }[]
  readonly noNewPrivileges?: boolean
  readonly apparmorProfile?: string
  readonly selinuxLabel?: string
  readonly oomScoreAdj?: number
  readonly scheduler?: SchedulerConfig
  readonly ioPriority?: { readonly class: string; readonly priority?: number }
  readonly execCPUAffinity?: { readonly initial?: string; readonly final?: string }
}

export interface ConsoleSize {
  readonly height: number
  readonly width: number
}

export interface UserConfig {
  readonly uid?: number
  readonly gid?: number
  readonly umask?: number
  readonly additionalGids?: readonly number[]
  readonly username?: string
}

export type CapabilitySet = 'bounding' | 'effective' | 'inheritable' | 'permitted' | 'ambient'
export type CapabilitiesConfig = Readonly<Partial<Record<CapabilitySet, readonly string[]>>>

export interface SchedulerConfig {
  readonly policy: string
  readonly nice?: number
  readonly priority?: number
  readonly flags?: readonly string[]
  readonly runtime?: number
  readonly deadline?: number
  readonly period?: number
}

export interface MountConfig {
  readonly destination: string
  readonly type?: string
  readonly source?: string
  readonly options?: readonly string[]
  readonly uidMappings?: readonly IdMapping[]
  readonly gidMappings?: readonly IdMapping[]
}

export interface IdMapping {
  readonly containerID: number
  readonly hostID: number
  readonly size: number
}

export interface HookConfig {
  readonly path: string
  readonly args?: readonly string[]
  readonly env?: readonly string[]
  /** Seconds. */
  readonly timeout?: number
}

export type HookKind =
  | 'prestart'
  | 'createRuntime'
  | 'createContainer'
  | 'startContainer'
  | 'poststart'
  | 'poststop'
export type HooksConfig = Readonly<Partial<Record<HookKind, readonly HookConfig[]>>>

export type NamespaceType = 'mount' | 'pid' | 'network' | 'uts' | 'ipc' | 'user' | 'cgroup' | 'time'

export interface LinuxConfig {
  readonly namespaces?: readonly { readonly type: NamespaceType; readonly path?: string }[]
  readonly uidMappings?: readonly IdMapping[]
  readonly gidMappings?: readonly IdMapping[]
  readonly timeOffsets?: Readonly<Record<string, { readonly secs?: number; readonly nanosecs?: number }>>
  readonly devices?: readonly DeviceConfig[]
  readonly netDevices?: Readonly<Record<string, unknown>>
  readonly cgroupsPath?: string
  readonly resources?: ResourcesConfig
  readonly rootfsPropagation?: string
  readonly seccomp?: SeccompConfig
  readonly sysctl?: Readonly<Record<string, string>>
  readonly maskedPaths?: readonly string[]
  readonly readonlyPaths?: readonly string[]
  readonly mountLabel?: string
  readonly intelRdt?: unknown
  readonly memoryPolicy?: unknown
  readonly personality?: { readonly domain?: string; readonly flags?: readonly string[] }
}

export interface DeviceConfig {
  readonly type: string
  readonly path: string
  readonly major?: number
  readonly minor?: number
  readonly fileMode?: number
  readonly uid?: number
  readonly gid?: number
}

export interface ResourcesConfig {
  readonly devices?: readonly DeviceRule[]
  readonly memory?: MemoryConfig
  readonly cpu?: CpuConfig
  readonly pids?: { readonly limit: number }
  readonly blockIO?: BlockIoConfig
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[]
  readonly network?: {
    readonly classID?: number
    readonly priorities?: readonly { readonly name: string; readonly priority: number }[]
  }
  readonly rdma?: Readonly<Record<string, { readonly hcaHandles?: number; readonly hcaObjects?: number }>>
  /** cgroup v2 files and what is written to them. */
  readonly unified?: Readonly<Record<string, string>>
}

export interface DeviceRule {
  readonly allow: boolean
  readonly type?: string
  readonly major?: number
  readonly minor?: number
  readonly access?: string
}

/** Bytes; -1: no limit. */
export interface MemoryConfig {
  readonly limit?: number
  readonly reservation?: number
  readonly swap?: number
  readonly kernel?: number
  readonly kernelTCP?: number
  readonly swappiness?: number
  readonly disableOOMKiller?: boolean
  readonly useHierarchy?: boolean
  readonly checkBeforeUpdate?: boolean
}

export interface CpuConfig {
  readonly shares?: number
  readonly quota?: number
  readonly burst?: number
  readonly period?: number
  readonly realtimeRuntime?: number
  readonly realtimePeriod?: number
  readonly cpus?: string
  readonly mems?: string
  readonly idle?: number
}

export interface BlockIoConfig {
  readonly weight?: number
  readonly leafWeight?: number
  readonly weightDevice?: readonly (BlockDevice & {
    readonly weight?: number
    readonly leafWeight?: number
  })[]
  readonly throttleReadBpsDevice?: readonly ThrottledDevice[]
  readonly throttleWriteBpsDevice?: readonly ThrottledDevice[]
  readonly throttleReadIOPSDevice?: readonly ThrottledDevice[]
  readonly throttleWriteIOPSDevice?: readonly ThrottledDevice[]
}

export interface BlockDevice {
  readonly major: number
  readonly minor: number
}

export interface ThrottledDevice extends BlockDevice {
  readonly rate?: number
}

export interface SeccompConfig {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly architectures?: readonly string[]
  readonly flags?: readonly string[]
  readonly listenerPath?: string
  readonly listenerMetadata?: string
  readonly syscalls?: readonly SeccompRule[]
}

export interface SeccompRule {
  readonly names: readonly string[]
  readonly action: string
  readonly errnoRet?: number
  readonly args?: readonly SeccompArgument[]
}

/** What a double can't hold exactly is a bigint. */
export interface SeccompArgument {
  readonly index: number
  readonly op: string
  readonly value: number | bigint
  readonly valueTwo?: number | bigint
}
