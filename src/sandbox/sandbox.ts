/**
 * A sandbox from its options to its exit status: joins the host, the jail, the platform, the kernel and its file systems.
 *
 *   1. the zygote, which the launcher has started, learns what stubs may do
 *   2. the jail's root: only what is donated
 *   3. the kernel with its file systems; the program is loaded, but does not run
 *   4. capabilities go, the seccomp filter closes
 *   5. the loop: guest code runs until the first process has ended and taken the others with it
 */
import { join } from 'node:path'
import { O_DIRECTORY, O_PATH, SIGKILL } from '../abi/constants.ts'
import { E2BIG, EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ENOMEM, ENOTDIR, errnoName } from '../abi/errno.ts'
import { decodeText } from '../base/bytes.ts'
import { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { forgetConstants } from '../kernel/constant-calls.ts'
import { Kernel } from '../kernel/kernel.ts'
import { killGroup } from '../kernel/signal.ts'
import type { Task } from '../kernel/task.ts'
import { loadAddon } from '../platform/addon.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { Systrap } from '../platform/systrap/systrap.ts'
import { compileRows } from '../syscalls/dispatch.ts'
import { syscallRows } from '../syscalls/table.ts'
import { FdTable } from '../vfs/fd-table.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup, type WalkContext } from '../vfs/namei.ts'
import { FsState, type Path } from '../vfs/path.ts'
import { MAY_EXEC, permission } from '../vfs/permission.ts'
import { ControlServer } from './control.ts'
import { registerFileSystems } from './file-systems.ts'
import { Jail } from './jail.ts'
import { watchLauncher, ZYGOTE_FD } from './launcher-channel.ts'
import { Log } from './log.ts'
import type { SandboxOptions, SandboxUser } from './options.ts'
import { prefetchRules } from './prefetch.ts'
import { ProcessMemory } from './process-memory.ts'
import { buildRoot } from './root.ts'
import { Stdio } from './stdio.ts'
import { Tidier } from './tidy.ts'
import { Strace } from './trace.ts'
import { UserError } from './user-error.ts'

/** Runs the command of `options` in a new sandbox: its exit status, 128 and the number if a signal ended it. */
export async function runSandbox(options: SandboxOptions): Promise<number> {
  const root = options.packageRoot
  const addon = loadAddon(join(root, 'native/build/caisson.node'))
  const host = new LinuxHost(addon)
  const log = new Log(addon, options.logLevel)
  const platform = new Systrap({
    addon,
    host,
    zygote: ZYGOTE_FD,
    prefetch: prefetchRules(syscallRows),
  })
  platform.patching = options.patch
  const jail = Jail.enterRoot(addon, host, options.donations)
  if (jail.proc >= 0) host.ownFds = host.openat2(jail.proc, 'self/fd', O_PATH | O_DIRECTORY, 0, 0)
  if (jail.proc >= 0) {
    const memory = new ProcessMemory(host, jail.proc)
    platform.residentPages = pid => memory.resident(pid)
    platform.peakPages = pid => memory.peak(pid)
  }
  const kernel = new Kernel(platform, host, {
    syscalls: compileRows(syscallRows),
    log,
    hostname: options.hostname,
  })
  registerFileSystems(kernel)
  const strace = new Strace(syscallRows, line => log.line(line))
  if (options.strace) kernel.trace = strace

  const stdio = new Stdio(kernel, host)
  const init = startCommand(kernel, options, jail, stdio)
  jail.dropCapabilities()
  jail.seal(options.logLevel === 'debug')

  platform.followLoop()
  const tidier = new Tidier(kernel, addon)
  platform.onZygoteGone = () =>
    log.error('the process that makes guest processes was killed: no program can be started any more')
  platform.onQuiet = () => tidier.tidy()
  const control = new ControlServer(host, {
    info: () => ({
      id: options.id,
      command: options.args.map(decodeText).join(' '),
      startedMs: started,
      processes: kernel.liveTasks,
    }),
    setStrace: on => {
      for (const task of kernel.tasks()) forgetConstants(task)
      kernel.trace = on ? strace : undefined
    },
  })
  const started = Date.now()
  watchLauncher(host, {
    signal: signo => stdio.signal(init, signo),
    connected: fd => control.connected(fd),
    closed: () => killGroup(init.group, SIGKILL),
  })
  stdio.start()
  try {
    await serve(kernel, platform)
  } catch (error) {
    log.error(crashReport(kernel, error))
    return EXIT_CRASH
  } finally {
    stdio.close()
  }
  const status = init.group.exitStatus
  const signo = status & 0x7f
  return signo === 0 ? status >> 8 : 128 + signo
}

/** As for all failures of caisson itself. */
const EXIT_CRASH = 125

/** What is known when the sentry fails outside of a system call's handler: the error, and what the guest was doing. */
function crashReport(kernel: Kernel, error: unknown): string {
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const lines = [`bug: the kernel failed, and the sandbox ends: ${trace}`]
  for (const task of kernel.tasks()) {
    const call =
      task.callNumber < 0 ? 'guest code' : `${kernel.syscalls.name(task.callNumber)}(${task.args.join(', ')})`
    lines.push(`  pid ${task.tid} ${task.comm}: in ${call}${task === kernel.current ? ', being served' : ''}`)
    if (lines.length > 50) break
  }
  return lines.join('\n')
}

/** Serves until the first process has ended; what it leaves behind ends with it. */
async function serve(kernel: Kernel, platform: Systrap): Promise<void> {
  while (!kernel.init!.dead) {
    while (!platform.loopReady && !kernel.init!.dead) kernel.turn(Number.POSITIVE_INFINITY)
    platform.loopReady = false
    await new Promise(resolve => setImmediate(resolve))
  }
  kernel.shutdown()
  platform.destroy()
}

function startCommand(kernel: Kernel, options: SandboxOptions, jail: Jail, stdio: Stdio): Task {
  const namespace = buildRoot(kernel, options, jail.mounts)
  const cred = credentialsOf(kernel, options.user)
  const place = namespace.rootPath
  const fs = new FsState(place, place, 0o022)
  const walk: WalkContext = { fs, cred, mountNs: namespace }
  const cwd = workingDirectory(walk, options.cwd)
  if (failed(cwd)) throw new UserError(`can't start in ${decodeText(options.cwd)}: ${reasonOf(-cwd)}`)
  fs.cwd = cwd
  const command = options.args[0]!
  const path = findCommand(walk, command, options.env)
  if (failed(path)) throw commandError(walk, command, path)
  const fds = new FdTable()
  stdio.install(fds, walk)
  const task = kernel.startInit({
    path,
    argv: options.args,
    envp: options.env,
    cred,
    fs,
    fds,
    ns: kernel.initialNamespaces(namespace),
    protectInit: false,
    prepare: started => stdio.adopt(started),
  })
  if (failed(task)) throw commandError(walk, command, task)
  return task
}

function credentialsOf(kernel: Kernel, user: SandboxUser): Credentials {
  const cred = new Credentials(kernel.userNs)
  cred.uid = cred.euid = cred.suid = cred.fsuid = user.uid
  cred.gid = cred.egid = cred.sgid = cred.fsgid = user.gid
  cred.groups = user.groups
  if (user.uid === 0) cred.permitted = cred.effective = cred.bounding
  return cred
}

/** As chdir(2). */
function workingDirectory(walk: WalkContext, name: string): OrErrno<Path> {
  const path = lookup(walk, undefined, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (failed(path)) return path
  const status = permission(walk.cred, path.dentry.inode!, MAY_EXEC)
  return status < 0 ? status : path
}

/** As execvp(3): a name with a slash is itself, others are looked for in the guest's PATH. */
function findCommand(walk: WalkContext, command: string, env: readonly string[]): OrErrno<string> {
  if (command === '') return -ENOENT
  if (command.includes('/')) return command
  const path = env.find(entry => entry.startsWith('PATH='))?.slice(5) ?? '/usr/local/bin:/usr/bin:/bin'
  let error = -ENOENT
  for (const directory of path.split(':')) {
    const candidate = `${directory === '' ? '.' : directory}/${command}`
    const found = lookup(walk, undefined, candidate, LOOKUP_FOLLOW)
    if (failed(found)) continue
    const inode = found.dentry.inode!
    if (inode.isRegular && (inode.mode & 0o111) !== 0) return candidate
    error = -EACCES
  }
  return error
}

/** As env(1) and shells have it: 127 when there is no such command, 126 when it can't be executed. */
function commandError(walk: WalkContext, command: string, error: number): UserError {
  const name = decodeText(command)
  if (error !== -ENOENT) return new UserError(`${name}: can't be executed: ${reasonOf(-error)}`, 126)
  const isThere = command.includes('/') && !failed(lookup(walk, undefined, command, LOOKUP_FOLLOW))
  return new UserError(`${name}: ${isThere ? 'its interpreter is missing' : 'command not found'}`, 127)
}

/** What an errno means to somebody who wants to start a command. */
function reasonOf(errno: number): string {
  return REASONS.get(errno) ?? errnoName(errno)
}
const REASONS: ReadonlyMap<number, string> = new Map([
  [E2BIG, 'its arguments are too long'],
  [EACCES, 'permission denied'],
  [ELIBBAD, 'its interpreter is damaged'],
  [ELOOP, 'too many symbolic links, or interpreters of interpreters'],
  [ENOENT, 'no such directory'],
  [ENOEXEC, 'neither a program for this machine nor a script'],
  [ENOMEM, 'out of memory'],
  [ENOTDIR, 'not a directory'],
])
