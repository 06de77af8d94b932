/**
 * cgroups that systemd makes: a container's is a transient scope unit, asked for over the bus by busctl(1).
 *
 * A scope begins with a process and ends with its last one. The first is a placeholder that sleeps until the launcher,
 * which joins by itself, is there.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { monotonicMs } from '../../sandbox/monotonic.ts'
import { UserError } from '../../sandbox/user-error.ts'
import type { SystemdUnit } from './systemd-path.ts'
import type { Property } from './systemd-properties.ts'

const MANAGER = [
  'org.freedesktop.systemd1',
  '/org/freedesktop/systemd1',
  'org.freedesktop.systemd1.Manager',
] as const
/** As sd_booted(3) finds out. */
const BOOTED = '/run/systemd/system'
const PLACEHOLDER_S = 60
const BUS_TIMEOUT_MS = 20_000

/** Starts the unit; the placeholder is to be killed when another process is in it. */
export async function startUnit(
  { unit, slice }: SystemdUnit,
  directory: string,
  limits: readonly Property[],
): Promise<ChildProcess> {
  if (!existsSync(BOOTED)) {
    throw new UserError('--systemd-cgroup was given, but this host was not booted with systemd')
  }
  const placeholder = spawn('sleep', [String(PLACEHOLDER_S)], { stdio: 'ignore', detached: true })
  placeholder.unref()
  try {
    await started(placeholder)
    await call('StartTransientUnit', 'ssa(sv)a(sa(sv))', [
      ...[unit, 'replace'],
      ...properties([
        ['Description', 's', `caisson container ${unit}`],
        ['Slice', 's', slice],
        ['PIDs', 'au', '1', String(placeholder.pid)],
        ['Delegate', 'b', 'true'],
        ['DefaultDependencies', 'b', 'false'],
        ['CPUAccounting', 'b', 'true'],
        ['IOAccounting', 'b', 'true'],
        ['MemoryAccounting', 'b', 'true'],
        ['TasksAccounting', 'b', 'true'],
        ...limits,
      ]),
      '0',
    ])
    await appears(directory, unit)
    return placeholder
  } catch (error) {
    placeholder.kill('SIGKILL')
    throw error
  }
}

/** Has systemd change limits. */
export async function setProperties(unit: string, list: readonly Property[]): Promise<void> {
  if (list.length > 0) await call('SetUnitProperties', 'sba(sv)', [unit, 'true', ...properties(list)])
}

export async function stopUnit(unit: string): Promise<void> {
  // One that is gone is what is wanted.
  await call('StopUnit', 'ss', [unit, 'replace']).catch(() => undefined)
  await call('ResetFailedUnit', 's', [unit]).catch(() => undefined)
}

function properties(list: readonly Property[]): string[] {
  return [String(list.length), ...list.flat()]
}

async function call(method: string, signature: string, words: readonly string[]): Promise<void> {
  const args = ['--quiet', '--', 'call', ...MANAGER, method, signature, ...words]
  try {
    await promisify(execFile)('busctl', args, { timeout: BUS_TIMEOUT_MS })
  } catch (error) {
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: string }
    if ((code as unknown) === 'ENOENT')
      throw new UserError("--systemd-cgroup needs systemd's busctl, which is not here")
    throw new UserError(`systemd refuses ${method} of ${words[0]}: ${stderr?.trim() || message}`)
  }
}

function started(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve())
    child.once('error', error =>
      reject(new UserError(`no process for the scope can be started: ${error.message}`)),
    )
  })
}

/** The answer to StartTransientUnit says that a job was queued; the directory, that it is done. */
async function appears(directory: string, unit: string): Promise<void> {
  const deadline = monotonicMs() + BUS_TIMEOUT_MS
  while (!existsSync(directory)) {
    if (monotonicMs() > deadline) throw new UserError(`systemd has not made ${directory} for ${unit} in time`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}
