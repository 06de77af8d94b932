/**
 * cgroups that systemd makes: a container's is a transient scope unit, asked for over the bus by busctl(1).
 *
 * A scope begins with a process and ends with its last one. The first is a placeholder that sleeps until the launcher,
 * which joins by itself, is there.
 *
 * The root of a host has the system's manager do it, the root of a user namespace, as rootless engines call the runtime,
 * that of the user, who owns the cgroups below it.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { monotonicMs } from '../../sandbox/monotonic.ts'
import { UserError } from '../../sandbox/user-error.ts'
import { hostUid, isHostRoot } from '../host-root.ts'
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
  systemd: SystemdUnit,
  directory: string,
  limits: readonly Property[],
): Promise<ChildProcess> {
  refuseWithoutSystemd()
  const { unit, slice, user } = systemd
  const placeholder = spawn('sleep', [String(PLACEHOLDER_S)], { stdio: 'ignore', detached: true })
  placeholder.unref()
  try {
    await started(placeholder)
    await call(user, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', [
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
export async function setProperties({ unit, user }: SystemdUnit, list: readonly Property[]): Promise<void> {
  if (list.length > 0) await call(user, 'SetUnitProperties', 'sba(sv)', [unit, 'true', ...properties(list)])
}

export async function stopUnit({ unit, user }: SystemdUnit): Promise<void> {
  // One that is gone is what is wanted.
  await call(user, 'StopUnit', 'ss', [unit, 'replace']).catch(() => undefined)
  await call(user, 'ResetFailedUnit', 's', [unit]).catch(() => undefined)
}

/**
 * The cgroup of the user's manager, where that one is to be asked: by the root of a user namespace within a user's session.
 * Without a session it is the root of a container with a systemd of its own.
 */
export async function userManager(): Promise<string | undefined> {
  if (isHostRoot() || !hasSession()) return undefined
  refuseWithoutSystemd()
  const [service, object, manager] = MANAGER
  const answer = await busctl(true, ['get-property', service, object, manager, 'ControlGroup'])
  const path = /^s "(\/.*)"$/.exec(answer.trim())?.[1]
  if (path === undefined)
    throw new UserError(`systemd of the user does not tell its cgroup: ${answer.trim()}`)
  return path
}

function refuseWithoutSystemd(): void {
  if (existsSync(BOOTED)) return
  throw new UserError('--systemd-cgroup was given, but this host was not booted with systemd')
}

function hasSession(): boolean {
  const { DBUS_SESSION_BUS_ADDRESS: bus, XDG_RUNTIME_DIR: directory } = process.env
  return Boolean(bus || directory)
}

function properties(list: readonly Property[]): string[] {
  return [String(list.length), ...list.flat()]
}

async function call(
  user: boolean | undefined,
  method: string,
  signature: string,
  words: readonly string[],
): Promise<void> {
  await busctl(user, ['call', ...MANAGER, method, signature, ...words], `${method} of ${words[0]}`)
}

async function busctl(user: boolean | undefined, args: readonly string[], what = args[0]): Promise<string> {
  const flags = user ? ['--user', '--quiet'] : ['--quiet']
  const options = { timeout: BUS_TIMEOUT_MS, env: user ? userEnvironment() : process.env }
  try {
    return (await promisify(execFile)('busctl', [...flags, '--', ...args], options)).stdout
  } catch (error) {
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: string }
    if ((code as unknown) === 'ENOENT')
      throw new UserError("--systemd-cgroup needs systemd's busctl, which is not here")
    const whose = user ? 'systemd of the user' : 'systemd'
    throw new UserError(`${whose} refuses ${what}: ${stderr?.trim() || message}`)
  }
}

/** The user's bus is where the session says; engines that call the runtime for a clean-up may have lost the session. */
function userEnvironment(): NodeJS.ProcessEnv {
  if (hasSession()) return process.env
  return { ...process.env, XDG_RUNTIME_DIR: `/run/user/${hostUid()}` }
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
