/** exec: a process in a running container. */
import { join } from 'node:path'
import { F_SETFD } from '../abi/constants.ts'
import type { CapabilitiesConfig, ProcessConfig } from '../oci/config.ts'
import type { ExecRequest, Runtime } from '../oci/runtime.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Verb, Words } from './flags.ts'
import { openRuntime, preservedDescriptors } from './oci-runtime.ts'
import { packageRoot } from './package-root.ts'

export const execVerb: Verb = {
  usage: '[FLAG...] ID COMMAND [ARGUMENT...], or --process FILE ID',
  help: 'runs one more process in a container',
  flags: {
    process: { short: 'p', value: 'FILE', help: "the process as config.json has it ('-': standard input)" },
    tty: { short: 't', help: 'with a terminal' },
    user: { short: 'u', value: 'UID[:GID]', help: 'as this user, by number' },
    cwd: { value: 'DIR', help: 'where it starts' },
    env: { short: 'e', value: 'NAME=VALUE', help: 'one more variable (repeatable)' },
    'additional-gids': { short: 'g', value: 'GID', help: 'one more group (repeatable)' },
    cap: { short: 'c', value: 'CAP_NAME', help: 'one more capability (repeatable)' },
    'no-new-privs': { help: 'set-user-ID programs gain nothing' },
    'pid-file': { value: 'FILE', help: 'where to write the pid of the process that stands for it' },
    detach: { short: 'd', help: "don't wait for its end" },
    'console-socket': { value: 'PATH', help: "socket that gets the master of the process's terminal" },
    'preserve-fds': { value: 'N', help: 'pass on N descriptors, from 3' },
    'ignore-paused': { help: 'in a paused container too, where it waits' },
    cgroup: { value: 'PATH', help: 'not there: processes are in the cgroup of their container' },
    apparmor: { value: 'PROFILE', help: "taken for compatibility: the sandbox's kernel has no AppArmor" },
    'process-label': { value: 'LABEL', help: "taken for compatibility: the sandbox's kernel has no SELinux" },
  },
  async run(words, globals) {
    const [id, ...args] = words.rest
    if (id === undefined) throw new UserError('the ID of a container is missing')
    if (words.has('cgroup')) throw new UserError('--cgroup: processes are in the cgroup of their container')
    const runtime = await openRuntime(globals)
    const process = await processOf(runtime, id, words, args)
    const request: ExecRequest = {
      process,
      consoleSocket: words.last('console-socket'),
      passed: preservedDescriptors(words, runtime.addon),
      pidFile: words.last('pid-file'),
      ignorePaused: words.has('ignore-paused'),
    }
    if (!words.has('detach')) return inForeground(runtime, id, request)
    await runtime.exec(id, request)
    return 0
  },
}

/** From a file, or the container's own process with what the flags change of it. */
async function processOf(
  runtime: Runtime,
  id: string,
  words: Words,
  args: readonly string[],
): Promise<ProcessConfig> {
  const path = words.last('process')
  if (path !== undefined) {
    const { parseProcess, readConfig } = await import('../oci/bundle.ts')
    return parseProcess(readConfig(path), path)
  }
  if (args.length === 0) throw new UserError('exec: say what to run, or --process FILE')
  const own = runtime.processConfig(id)
  return {
    ...own,
    args,
    terminal: words.has('tty'),
    consoleSize: undefined,
    cwd: words.last('cwd') ?? own?.cwd ?? '/',
    env: [...(own?.env ?? []), ...words.all('env')],
    noNewPrivileges: words.has('no-new-privs') || own?.noNewPrivileges === true,
    capabilities: withCapabilities(own?.capabilities, words.all('cap')),
    user: {
      ...own?.user,
      ...parseUser(words.last('user')),
      additionalGids: [...(own?.user?.additionalGids ?? []), ...words.all('additional-gids').map(parseId)],
    },
  }
}

/** As runc: into every set. */
function withCapabilities(own: CapabilitiesConfig = {}, more: readonly string[]): CapabilitiesConfig {
  if (more.length === 0) return own
  const sets = ['bounding', 'effective', 'inheritable', 'permitted', 'ambient'] as const
  return Object.fromEntries(sets.map(set => [set, [...new Set([...(own[set] ?? []), ...more])]]))
}

function parseUser(text: string | undefined): { uid?: number; gid?: number } {
  if (text === undefined) return {}
  const [uid, gid, ...rest] = text.split(':')
  if (rest.length > 0) throw new UserError(`--user ${text}: expected UID or UID:GID`)
  return gid === undefined ? { uid: parseId(uid) } : { uid: parseId(uid), gid: parseId(gid) }
}

function parseId(text: string): number {
  if (/^\d+$/.test(text) && Number(text) < 0xffffffff) return Number(text)
  throw new UserError(`${text} is no user or group by number`)
}

/** Becomes the process that stands for it. */
async function inForeground(runtime: Runtime, id: string, request: ExecRequest): Promise<number> {
  if (request.consoleSocket !== undefined) {
    throw new UserError('--console-socket is for --detach: here the terminal is that of the caller')
  }
  const { addon } = runtime
  let { terminal } = request
  if (request.process.terminal === true) {
    const { findTerminal } = await import('../oci/console.ts')
    terminal = findTerminal(addon)
    if (terminal === undefined) throw new UserError('there is no terminal here that the process could have')
  }
  const { connection } = await runtime.openProcess(id, { ...request, terminal })
  if (request.pidFile !== undefined) {
    const { writePidFile } = await import('../oci/pid-file.ts')
    writePidFile(request.pidFile, process.pid)
  }
  // The one descriptor that it keeps.
  addon.fcntl(connection, F_SETFD, 0)
  process.execve!(join(packageRoot(), 'native/build/caisson'), ['caisson', 'attach', String(connection)], {})
  return 0
}
