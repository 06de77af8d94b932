/**
 * `caisson sandbox`: a sandbox for containers, started by launch.ts through the launcher. As it may have been started on
 * the mere chance that one will be wanted (spare.ts), it waits for its settings when it is there. It locks itself in
 * before it has heard of any container; everything comes over the control socket. It ends with its first container, with
 * that one's exit status.
 *
 * Until that container is there, whoever started it holds the other end of the pipe for reports: when that closes, nobody
 * is going to ask for one, and the sandbox ends.
 */
import { SIGKILL, SIGWINCH } from '../abi/constants.ts'
import { LinuxLinks } from '../platform/linux-links.ts'
import type { Container } from './container.ts'
import { Containers } from './containers.ts'
import { type Connection, ControlServer } from './control.ts'
import { awaitSettings, StartReports, watchLauncher } from './launcher-channel.ts'
import type { SentryOptions, SentrySettings } from './options.ts'
import type { ControlRequest } from './protocol.ts'
import { EXIT_CRASH, Sentry } from './sentry.ts'
import { UserError } from './user-error.ts'
import { unixMs } from './wall-clock.ts'

/** Bytes. With less, the pages of Node.js's file that only the start needed make the sentry look larger than the guest. */
const TIGHT = 256 << 20

/**
 * Whether the host, out of memory in the sandbox's cgroup, might take the sentry for the one to kill: where the launcher may
 * not ask for better (native/launcher/container.c), the sizes of processes decide.
 */
function isTight(container: Container): boolean {
  return container.cgroup.memory.max < TIGHT
}

/**
 * The exit status of the first container: 128 and the number if a signal ended it. `settingsOf` reads the flags that come
 * late.
 */
export async function serveContainers(
  options: SentryOptions,
  settingsOf: (flags: readonly string[]) => SentrySettings,
): Promise<number> {
  const sentry = new Sentry(options, [], true)
  const { addon, host, kernel } = sentry
  sentry.prepareSeal()
  sentry.set(settingsOf(awaitSettings(addon, host)))
  sentry.seal()

  const startedMs = unixMs(kernel)
  const containers = new Containers(kernel, new LinuxLinks(addon))
  const reports = new StartReports(host)
  const handle = (request: ControlRequest, connection: Connection): void => {
    if (containers.handle(request, connection)) {
      if (containers.first === undefined) return
      reports.close()
      if (request.command === 'create' && isTight(containers.first)) addon.trim()
    } else if (request.command === 'strace') {
      sentry.setStrace(request.on)
      connection.answer({ done: true })
    } else if (request.command === 'info') {
      const { id = '', process } = containers.first?.spec ?? {}
      const command = process?.args.join(' ') ?? ''
      connection.answer({ info: { id, command, startedMs, processes: kernel.liveTasks } })
    } else throw new UserError(`unknown command '${(request as { command?: unknown } | null)?.command}'`)
  }
  const control = new ControlServer(host, sentry.log, handle)
  let abandoned = false
  watchLauncher(host, {
    signal: signo => {
      const init = containers.first?.init
      if (signo === SIGWINCH) init?.resize()
      else init?.signal(signo)
    },
    connected: fd => control.connected(fd),
    closed: () => containers.first?.init.signal(SIGKILL),
  })
  reports.onReaderGone(() => {
    abandoned = containers.first === undefined
  })
  reports.say('serving')
  const served = await sentry.serve({
    over: () => containers.over || abandoned,
    lookAgain: () => containers.endLimit,
    between: () => control.work(),
  })
  containers.first?.network?.close()
  if (!served || abandoned) return EXIT_CRASH
  const status = containers.first!.init.status!
  const signo = status & 0x7f
  return signo === 0 ? status >> 8 : 128 + signo
}
