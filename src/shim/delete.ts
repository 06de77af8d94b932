/**
 * `delete`: cleans up after a shim that is dead, or was never there. It answers how the container has ended, if that is
 * known, and that it was killed otherwise; and it always does what it can. containerd calls it after each container, also
 * when there is nothing to do, and waits for it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadAddon } from '../platform/addon.ts'
import { removeDeadSocket } from './address.ts'
import type { ShimFlags } from './bootstrap.ts'
import { BUNDLE_FILES } from './bundle-files.ts'
import type { ShimOptions } from './options.ts'
import { unmountRootfs } from './rootfs.ts'
import { runtimeOptions } from './runtime-options.ts'
import { encodeWire } from './wire.ts'

const KILLED = 128 + 9

export interface SavedExit {
  readonly pid: number
  readonly exitStatus: number
  readonly exitedAt: string
}

/** The answer, a DeleteResponse (proto/containerd/task). `warn`: what of it failed. */
export async function deleteLeftOver(
  packageRoot: string,
  flags: ShimFlags,
  warn: (text: string) => void,
): Promise<Uint8Array> {
  const bundle = flags.bundle || process.cwd()
  const read = <T>(name: string): T | undefined => readJson(join(bundle, name), warn)
  const exit = read<SavedExit>(BUNDLE_FILES.exit)
  const pid = exit?.pid ?? read<number>(BUNDLE_FILES.pid) ?? 0
  const attempt = async (what: string, work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      warn(`${what}: ${(error as Error).message}`)
    }
  }
  await attempt(`container ${flags.id}`, async () => {
    const options = runtimeOptions(packageRoot, flags, read<ShimOptions>(BUNDLE_FILES.options) ?? {})
    if (!existsSync(join(options.root, flags.id))) return
    const { Runtime } = await import('../oci/runtime.ts')
    await new Runtime({ ...options, warn }).delete(flags.id, true)
  })
  const addon = loadAddon(join(packageRoot, 'native/build/caisson.node'))
  await attempt('the root file system', () => unmountRootfs(addon, join(bundle, 'rootfs')))
  await attempt('the socket', () => removeDeadSocket(addon, bundle))
  const seconds = Math.floor((exit === undefined ? Date.now() : Date.parse(exit.exitedAt)) / 1000)
  return encodeWire({ 1: pid, 2: exit?.exitStatus ?? KILLED, 3: encodeWire({ 1: seconds }) })
}

function readJson<T>(path: string, warn: (text: string) => void): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') warn(`${path}: ${(error as Error).message}`)
    return undefined
  }
}
