/** follow-network: what the launcher of a sandbox starts when the container's network namespace has changed. */
import { basename, dirname } from 'node:path'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb } from './flags.ts'
import { printError } from './output.ts'
import { packageRoot } from './package-root.ts'

export const followNetworkVerb: Verb = {
  usage: 'CONTROL-SOCKET',
  help: 'gives a running sandbox what has changed in its network namespace; the launcher starts it',
  flags: {},
  async run({ rest: [control, ...more] }) {
    if (control === undefined || more.length > 0) {
      throw new UserError('follow-network: say the control socket of a sandbox')
    }
    const { openContext } = await import('../oci/runtime.ts')
    const { followNetwork } = await import('../oci/follow-network.ts')
    const directory = dirname(control)
    const context = openContext({
      packageRoot: packageRoot(),
      root: dirname(directory),
      oneCommand: true,
      warn: text => printError(`caisson: ${text}\n`),
    })
    await followNetwork(context, basename(directory))
    return 0
  },
}
