/** `exec`: one more process in a container that runs. Its connection is its life: who holds it stands for the process. */
import { SIGKILL } from '../abi/constants.ts'
import type { GoodAnswer } from '../sandbox/control-client.ts'
import { attachProcess } from '../sandbox/launch.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { ProcessConfig } from './config.ts'
import { type Context, sentryOf, warn } from './context.ts'
import { type PreparedIo, type ProcessIo, prepareIo } from './io.ts'
import { writePidFile } from './pid-file.ts'
import { planProcess } from './process.ts'
import { type Standing, standingOf } from './standing.ts'
import type { SavedState, Status } from './state.ts'

export interface ExecRequest extends ProcessIo {
  readonly process: ProcessConfig
  /** Names the process among the container's, for `kill` and `wait`. */
  readonly execId?: string
  readonly ignorePaused?: boolean
  /** Of the process that stands for it. */
  readonly pidFile?: string
}

export interface OpenProcess {
  /** In the container's pid namespace. */
  readonly pid: number
  /** The caller's to close, or to give to ProcessConnection. */
  readonly connection: number
}

/** Starts the process; its connection is ours. */
export async function openProcess(
  context: Context,
  state: SavedState,
  status: Status,
  request: ExecRequest,
): Promise<OpenProcess> {
  const io = prepare(context, status, request)
  try {
    return await open(context, state, request, io)
  } finally {
    io.close()
  }
}

/** Starts the process, and one that stands for it. */
export async function execProcess(
  context: Context,
  state: SavedState,
  status: Status,
  request: ExecRequest,
): Promise<Standing> {
  const io = prepare(context, status, request)
  try {
    const { connection } = await open(context, state, request, io)
    try {
      const { packageRoot } = context.options
      const standing = standingOf(
        attachProcess(context.addon, { packageRoot, connection, terminal: io.terminal }),
      )
      try {
        if (request.pidFile !== undefined) writePidFile(request.pidFile, standing.pid)
      } catch (error) {
        standing.kill(SIGKILL)
        throw error
      }
      return standing
    } finally {
      // Where nobody stands for it the process ends by this.
      context.addon.close(connection)
    }
  } finally {
    io.close()
  }
}

function prepare(context: Context, status: Status, request: ExecRequest): PreparedIo {
  if (status === 'stopped' || status === 'creating') throw new UserError('cannot exec in a stopped container')
  if (status === 'paused' && request.ignorePaused !== true) {
    throw new UserError('cannot exec in a paused container (use --ignore-paused to override)')
  }
  const { terminal = false, consoleSize } = request.process
  return prepareIo(context, request, { terminal, size: consoleSize }, 0)
}

async function open(
  context: Context,
  state: SavedState,
  request: ExecRequest,
  io: PreparedIo,
): Promise<OpenProcess> {
  const warnings: string[] = []
  const planned = planProcess(request.process, true, warnings)
  for (const text of warnings) warn(context, text)
  const { answer, connection } = await sentryOf(context, state).open(
    {
      command: 'exec',
      container: state.id,
      exec: request.execId,
      process: { ...planned, stdio: io.stdio, passed: io.passed },
    },
    { descriptors: io.descriptors },
  )
  return { pid: pidOf(answer), connection }
}

function pidOf(answer: GoodAnswer): number {
  return 'started' in answer ? answer.started.pid : 0
}
