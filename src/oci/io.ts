/**
 * What a process of a container has as standard input, output and error, and which descriptors it is passed: the
 * caller's own ones, or a terminal.
 */
import { closeSync } from 'node:fs'
import { UserError } from '../sandbox/user-error.ts'
import { openConsole, sendMaster, setWindowSize, type WindowSize } from './console.ts'
import type { Context } from './context.ts'

export interface ProcessIo {
  /** Descriptors for standard input, output and error; the caller's own if absent. */
  readonly stdio?: readonly number[]
  /** Passed on as 3, 4, … */
  readonly passed?: readonly number[]
  /** For a process with a terminal: who listens here gets the master of a new one. */
  readonly consoleSocket?: string
  /** Or this is one: the slave of a terminal that the caller has made, or the caller's own. */
  readonly terminal?: number
}

/** `descriptors` go to the sandbox in this order; `stdio` and `passed` are their indices. */
export interface PreparedIo {
  readonly descriptors: readonly number[]
  readonly stdio: readonly number[]
  readonly passed: readonly number[]
  readonly terminal?: number
  /** Closes what was opened for it. */
  close(): void
}

/** `first`: the index of the first descriptor, behind others that go to the sandbox. */
export function prepareIo(
  context: Context,
  io: ProcessIo,
  wanted: { readonly terminal: boolean; readonly size?: WindowSize },
  first: number,
): PreparedIo {
  const opened: number[] = []
  const terminal = wanted.terminal ? openTerminal(context, io, wanted.size, opened) : undefined
  if (!wanted.terminal && io.consoleSocket !== undefined) {
    throw new UserError('--console-socket is for processes with a terminal, and this one has none')
  }
  const standard = terminal === undefined ? (io.stdio ?? [0, 1, 2]) : [terminal]
  const passed = io.passed ?? []
  return {
    descriptors: [...standard, ...passed],
    stdio: standard.map((_, i) => first + i),
    passed: passed.map((_, i) => first + standard.length + i),
    terminal,
    close: () => {
      for (const fd of opened) closeSync(fd)
    },
  }
}

function openTerminal(
  context: Context,
  io: ProcessIo,
  size: WindowSize | undefined,
  opened: number[],
): number {
  const { addon } = context
  if (io.consoleSocket !== undefined) {
    const console = openConsole(addon, size)
    opened.push(console.slave)
    try {
      sendMaster(addon, io.consoleSocket, console)
    } catch (error) {
      closeSync(console.slave)
      throw error
    } finally {
      closeSync(console.master)
    }
    return console.slave
  }
  if (io.terminal === undefined) {
    throw new UserError('the process wants a terminal: --console-socket must say where to send its master')
  }
  if (size !== undefined) setWindowSize(addon, io.terminal, size)
  return io.terminal
}
