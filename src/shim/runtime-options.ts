/** With what the runtime works for a shim: containers of each namespace of containerd are apart. */
import { join } from 'node:path'
import { policyLines } from '../oci/policy-text.ts'
import type { RuntimeOptions } from '../oci/runtime.ts'
import { DEFAULT_NETWORK } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { ShimFlags } from './bootstrap.ts'
import type { ShimOptions } from './options.ts'

const DEFAULT_ROOT = '/run/containerd/caisson'

export function runtimeOptions(packageRoot: string, flags: ShimFlags, options: ShimOptions): RuntimeOptions {
  const { root = DEFAULT_ROOT, systemdCgroup, network = DEFAULT_NETWORK } = options
  if (network !== 'sandbox' && network !== 'host' && network !== 'none') {
    throw new UserError(`Network = '${network}': there is 'sandbox', 'host' and 'none'`)
  }
  const debug = flags.debug || options.debug === true
  return {
    packageRoot,
    root: join(root, flags.namespace),
    systemdCgroup,
    network,
    flowRules: policyLines(options.policy ?? '', 'Policy'),
    captureDirectory: options.pcap,
    logLevel: debug ? 'debug' : 'warn',
  }
}
