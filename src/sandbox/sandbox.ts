/** `caisson do`: a sandbox for one command, from its options to the command's exit status. */
import {
  PRIO_PROCESS,
  SIGCONT,
  SIGHUP,
  SIGINT,
  SIGKILL,
  SIGQUIT,
  SIGTERM,
  SIGTSTP,
  SIGUSR1,
  SIGUSR2,
  SIGWINCH,
} from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { decodeText } from '../base/bytes.ts'
import { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno } from '../base/result.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { killGroup, sendToGroup } from '../kernel/signal.ts'
import { kernelSignal } from '../kernel/signal-info.ts'
import type { Task } from '../kernel/task.ts'
import { Capture } from '../net/link/capture.ts'
import { netStack } from '../net/stack.ts'
import { FdTable } from '../vfs/fd-table.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup, type WalkContext } from '../vfs/namei.ts'
import { FsState, type Path } from '../vfs/path.ts'
import { MAY_EXEC, permission } from '../vfs/permission.ts'
import { commandError, findCommand, reasonOf, variable } from './command.ts'
import { ControlServer } from './control.ts'
import { useRules } from './flow-policy.ts'
import { INIT_PATH } from './init-program.ts'
import { watchLauncher } from './launcher-channel.ts'
import type { SandboxOptions, SandboxUser } from './options.ts'
import { buildRoot } from './root.ts'
import { EXIT_CRASH, Sentry } from './sentry.ts'
import { Stdio } from './stdio.ts'
import { connectTap, tapBlock } from './tap-network.ts'
import { UserError } from './user-error.ts'
import { unixMs } from './wall-clock.ts'

/** Signals to the launcher that go where the caller's terminal would have sent them. */
const PASSED_ON = new Set([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT])

/** Runs the command of `options` in a new sandbox: its exit status, 128 and the number if a signal ended it. */
export async function runSandbox(options: SandboxOptions): Promise<number> {
  const writable = options.donations.some(donation => !donation.readOnly)
  // Before the jail, in which there is nothing to load from.
  const userNetwork = options.userNetwork === undefined ? undefined : await import('./user-network.ts')
  const sentry = new Sentry(options, options.donations, writable)
  const { kernel, host } = sentry
  const guard = useRules(kernel, [options.flowRules], options.resolvers, sentry.log)
  const network = userNetwork?.UserNetwork.open(sentry, options.userNetwork!, options.flowRules, guard)
  const tap = options.network === 'sandbox' ? tapBlock(sentry) : undefined
  const capture = options.capture === undefined ? undefined : startCapture(sentry, options.capture)
  const stdio = new Stdio(kernel)
  const init = startCommand(kernel, options, sentry.jail.mounts, stdio)
  // As the caller has it, for the host and for the guest. getpriority(2): the call itself gives 20 less the nice value.
  init.scheduling.nice = 20 - sentry.addon.syscall(NR.getpriority, PRIO_PROCESS, 0)
  sentry.seal()
  if (tap !== undefined) connectTap(sentry, tap, guard)

  const startedMs = unixMs(kernel)
  const command = options.args.map(decodeText).join(' ')
  const control = new ControlServer(host, sentry.log, (request, connection) => {
    if (request.command === 'info') {
      connection.answer({ info: { id: options.id, command, startedMs, processes: kernel.liveTasks } })
    } else if (request.command === 'strace') {
      sentry.setStrace(request.on)
      connection.answer({ done: true })
    } else throw new UserError(`a sandbox of one command knows nothing of '${request.command}'`)
  })
  watchLauncher(host, {
    signal: signo => {
      if (signo === SIGWINCH) stdio.resize()
      else if (PASSED_ON.has(signo)) sendToGroup(init.group, kernelSignal(signo))
    },
    connected: fd => control.connected(fd),
    closed: () => killGroup(init.group, SIGKILL),
  })
  stdio.start()
  network?.start()
  const served = await sentry.serve({
    over: () => init.group.dead,
    lookAgain: () => Number.POSITIVE_INFINITY,
    between: () => control.work(),
  })
  stdio.close()
  capture?.close()
  if (capture !== undefined && capture.lost > 0) {
    sentry.log.warn(
      `--pcap: ${capture.lost} packets are not in the file, which could not be written fast enough`,
    )
  }
  if (!served) return EXIT_CRASH
  const status = init.group.exitStatus
  const signo = status & 0x7f
  return signo === 0 ? status >> 8 : 128 + signo
}

/** Writes what goes over the interfaces of the guest's first network namespace to `fd`. */
function startCapture({ host, kernel }: Sentry, fd: number): Capture {
  const capture = new Capture(kernel.clock, kernel.timers, bytes => host.pwrite(fd, bytes, -1))
  netStack(kernel.net).ip!.taps.push(capture)
  return capture
}

function startCommand(
  kernel: Kernel,
  options: SandboxOptions,
  mounts: readonly number[],
  stdio: Stdio,
): Task {
  const namespace = buildRoot(kernel, options, mounts)
  const cred = credentialsOf(kernel, options.user)
  const place = namespace.rootPath
  const fs = new FsState(place, place, 0o022)
  const walk: WalkContext = { fs, cred, mountNs: namespace }
  const cwd = workingDirectory(walk, options.cwd)
  if (failed(cwd)) throw new UserError(`can't start in ${decodeText(options.cwd)}: ${reasonOf(-cwd)}`)
  fs.cwd = cwd
  const command = options.args[0]!
  const path = findCommand(walk, command, variable(options.env, 'PATH') ?? '/usr/local/bin:/usr/bin:/bin')
  if (failed(path)) throw commandError(walk, command, path)
  const fds = new FdTable()
  stdio.installOwn(fds, walk)
  const task = kernel.startInit({
    path: options.init ? INIT_PATH : path,
    argv: options.init ? [INIT_PATH, ...options.args] : options.args,
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
