/**
 * `planContainer` turns a validated config.json into a ContainerPlan. What can't be done is refused, by the field's name
 * (UserError), and so are fields that contradict each other.
 */
import { PER_LINUX, PER_LINUX32 } from '../abi/constants.ts'
import type { ContainerNetwork } from '../sandbox/options.ts'
import type { HookSpec } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Config, HookConfig, HooksConfig, LinuxConfig } from './config.ts'
import { planDeviceRules } from './device-rules.ts'
import { planDevices } from './devices.ts'
import { judgeFields } from './fields.ts'
import { planLimits } from './limits.ts'
import type { Membership } from './membership.ts'
import { planMounts, planRoot } from './mounts.ts'
import { isOwnNetwork, planNamespaces } from './namespaces.ts'
import type { ContainerPlan } from './plan.ts'
import { planProcess } from './process.ts'
import { compileSeccomp } from './seccomp/compile.ts'
import { planSysctl } from './sysctl.ts'

export interface PlanOptions {
  readonly id: string
  /** Absolute. */
  readonly bundle: string
  readonly systemdCgroup: boolean
  /** Whose sockets containers are to have. */
  readonly network: ContainerNetwork
  readonly membership: Membership
}

const DOMAINS: Readonly<Record<string, number>> = { LINUX: PER_LINUX, LINUX32: PER_LINUX32 }

export function planContainer(config: Config, options: PlanOptions): ContainerPlan {
  const { id, bundle, membership } = options
  const { process, linux = {}, annotations = {}, hooks = {} } = config
  if (!/^1\./.test(config.ociVersion)) {
    throw new UserError(`ociVersion is ${config.ociVersion}; version 1 of the specification is understood`)
  }
  const warnings = judgeFields(config)
  if (process === undefined) throw new UserError('process is missing: what shall be run?')
  const root = planRoot(config, bundle)
  const { network, ...namespaces } = planNamespaces(config, membership.sandbox, membership.members, warnings)
  const { mounts, trees } = planMounts(config.mounts ?? [], bundle, 1, namespaces, warnings)
  // Who asks for the host's network wants that, whatever others have; and a process that lives there already needs it.
  const isOthers = isOwnNetwork(network) || membership.strangers === true
  const sockets = options.network === 'sandbox' && isOthers ? 'host' : options.network
  if (options.network === 'sandbox' && membership.strangers === true) {
    warnings.push(
      'linux.namespaces: the network namespace is that of a process outside of sandboxes, so the container has the sockets of the host there',
    )
  }
  const sysctl = planSysctl(linux.sysctl ?? {}, network.kind !== 'host', sockets === 'sandbox')
  checkHooks(hooks)
  const resources = linux.resources ?? {}
  const terminal = process.terminal ?? false
  return {
    id,
    bundle,
    spec: {
      id,
      process: planProcess(process, false, warnings),
      root: { tree: 0, readOnly: config.root?.readonly ?? false, propagation: root.propagation },
      mounts,
      ...namespaces,
      devices: planDevices(linux, warnings),
      deviceRules: planDeviceRules(resources.devices ?? []),
      seccomp: linux.seccomp === undefined ? [] : [compileSeccomp(linux.seccomp)],
      maskedPaths: absolute(linux.maskedPaths, 'linux.maskedPaths'),
      readonlyPaths: absolute(linux.readonlyPaths, 'linux.readonlyPaths'),
      sysctl: sysctl.guest,
      personality: planPersonality(linux.personality),
      limits: planLimits(resources),
      startHooks: (hooks.startContainer ?? []).map(startHook),
      state: '',
    },
    trees: [root.tree, ...trees],
    network,
    sockets,
    networkSysctl: sysctl.network,
    cgroup: {
      path: linux.cgroupsPath || undefined,
      driver: options.systemdCgroup ? 'systemd' : 'cgroupfs',
      resources,
    },
    hooks: {
      prestart: hooks.prestart ?? [],
      createRuntime: hooks.createRuntime ?? [],
      createContainer: hooks.createContainer ?? [],
      startContainer: hooks.startContainer ?? [],
      poststart: hooks.poststart ?? [],
      poststop: hooks.poststop ?? [],
    },
    annotations,
    consoleSize: terminal ? process.consoleSize : undefined,
    warnings,
  }
}

function checkHooks(hooks: HooksConfig): void {
  for (const [kind, list] of Object.entries(hooks)) {
    list.forEach(({ path }, i) => {
      if (!path.startsWith('/'))
        throw new UserError(`hooks.${kind}[${i}].path must be absolute, and is '${path}'`)
    })
  }
}

function startHook({ path, args = [path], env = [], timeout }: HookConfig): HookSpec {
  return { path, args, env, timeoutMs: timeout === undefined ? undefined : timeout * 1000 }
}

function planPersonality(personality: LinuxConfig['personality']): number | undefined {
  return personality === undefined ? undefined : DOMAINS[personality.domain ?? 'LINUX']
}

function absolute(paths: readonly string[] = [], field: string): readonly string[] {
  const relative = paths.find(path => !path.startsWith('/'))
  if (relative !== undefined) throw new UserError(`${field} must be absolute paths, and has '${relative}'`)
  return paths
}
