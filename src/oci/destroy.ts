/**
 * The end of a container, however it came to it and whatever is left of it: its processes, its cgroup, its poststop
 * hooks, and last its state, without which the rest could not be found again. Done twice it does no harm.
 */
import { SIGKILL } from '../abi/constants.ts'
import { HostCgroup } from './cgroup/host-cgroup.ts'
import { type Context, hookState, sentryOf, warn } from './context.ts'
import { runHooks } from './hooks.ts'
import { hasEnded, isAlive, signalProcess } from './process-identity.ts'
import type { SavedState } from './state.ts'

/** A process that was killed can take so long to write back its memory and to be gone. */
const DEATH_LIMIT_MS = 10_000
const DELETE_TIMEOUT_MS = 5_000

export async function destroy(context: Context, state: SavedState): Promise<void> {
  if (state.sandbox !== state.id) await leavePod(context, state)
  await killStanding(context, state)
  if (state.cgroup !== undefined) await HostCgroup.open(state.cgroup).remove()
  await returnNetwork(context, state)
  try {
    await runHooks(context.addon, 'poststop', state.poststop, hookState(state, 'stopped', 0))
  } catch (error) {
    // runtime-spec: a warning, and all goes on as if it had worked.
    warn(context, (error as Error).message)
  }
  context.store.remove(state.id)
}

/** Of a namespace that outlives the container. */
async function returnNetwork(context: Context, state: SavedState): Promise<void> {
  if (state.ownStack !== true || state.networkPath === undefined || state.sandbox !== state.id) return
  try {
    const { returnSandboxNetwork } = await import('./sandbox-network.ts')
    returnSandboxNetwork(context, state.id, state.networkPath)
  } catch (error) {
    warn(context, `container ${state.id}: ${(error as Error).message}`)
  }
}

/** What a sandbox that goes on has of the container. */
async function leavePod(context: Context, state: SavedState): Promise<void> {
  const first = context.store.find(state.sandbox)
  if (first?.process === undefined || !isAlive(first.process)) return
  try {
    const request = { command: 'delete', container: state.id, force: true } as const
    await sentryOf(context, state).ask(request, { timeoutMs: DELETE_TIMEOUT_MS })
  } catch (error) {
    // It ends, or does not know the container; one that hangs loses its client below, and the container with it.
    warn(context, `container ${state.id}: ${(error as Error).message}`)
  }
}

/** Kills the process that stands for the container, and with a sandbox's launcher all that is in the sandbox. */
async function killStanding({ addon }: Context, state: SavedState): Promise<void> {
  if (state.process === undefined) return
  // What is frozen does not die.
  if (state.cgroup !== undefined) HostCgroup.open(state.cgroup).thaw()
  if (signalProcess(addon, state.process, SIGKILL)) await hasEnded(state.process, DEATH_LIMIT_MS)
}
