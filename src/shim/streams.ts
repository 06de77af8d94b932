/**
 * The standard streams of a process, made from the paths that containerd gives. FIFOs and files are handed to the process
 * itself, which moves its bytes without us; only a terminal's go through the shim.
 *
 *   FIFO of stdout   the process holds the writing end; we keep a reading end, so that what is written is neither lost
 *                    nor an error while containerd is away
 *   FIFO of stdin    the process holds the reading end; we keep a writing end, so that it ends at CloseIO and not before
 *   terminal         a pseudo terminal of the host: the process has its slave, we copy between its master and the FIFOs
 *
 * Streams are opened before the process is made, `handOver` is called when it is there, `close` when it is deleted.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { F_DUPFD_CLOEXEC } from '../abi/constants.ts'
import { openConsole, setWindowSize } from '../oci/console.ts'
import type { ProcessIo } from '../oci/io.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import { Copier } from './copier.ts'
import { LogBinary } from './log-binary.ts'

export interface StreamPaths {
  readonly stdin: string
  /** A path, file:///PATH or binary:///PROGRAM?ARGUMENTS. */
  readonly stdout: string
  readonly stderr: string
  readonly terminal: boolean
}

/** Whose streams they are, for a program that takes the output. */
export interface StreamOwner {
  readonly id: string
  readonly namespace: string
}

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants

export class Streams {
  readonly #addon: Addon
  /** The process's own, until it has them. */
  #given: number[] = []
  /** Ours, for as long as the process is known. */
  #kept: number[] = []
  #stdinWriter: number | undefined = undefined
  #master: number | undefined = undefined
  #input: Copier | undefined = undefined
  #output: Copier | undefined = undefined
  #logBinary: LogBinary | undefined = undefined
  #io: ProcessIo = {}

  private constructor(addon: Addon) {
    this.#addon = addon
  }

  static async open(addon: Addon, paths: StreamPaths, owner: StreamOwner): Promise<Streams> {
    const streams = new Streams(addon)
    try {
      await streams.#open(paths, owner)
      return streams
    } catch (error) {
      streams.close()
      throw error
    }
  }

  /** For the runtime. */
  get io(): ProcessIo {
    return this.#io
  }

  /** The process has its descriptors. */
  handOver(): void {
    for (const fd of this.#given) closeSync(fd)
    this.#given = []
  }

  closeStdin(): void {
    if (this.#stdinWriter !== undefined) closeSync(this.#stdinWriter)
    this.#stdinWriter = undefined
  }

  resize(width: number, height: number): void {
    if (this.#master !== undefined) setWindowSize(this.#addon, this.#master, { width, height })
  }

  /** All that the process has written is where it belongs, once it has ended. */
  async drained(): Promise<void> {
    await this.#output?.done
  }

  close(): void {
    this.handOver()
    this.closeStdin()
    this.#input?.stop()
    this.#output?.stop()
    for (const fd of this.#kept) closeSync(fd)
    this.#kept = []
    this.#master = undefined
    this.#logBinary?.end()
    this.#logBinary = undefined
  }

  async #open(paths: StreamPaths, owner: StreamOwner): Promise<void> {
    const scheme = /^([a-z0-9-]+):\/\//.exec(paths.stdout)?.[1] ?? 'fifo'
    if (scheme === 'binary') this.#logBinary = await LogBinary.start(this.#addon, paths.stdout, owner)
    else if (scheme !== 'fifo' && scheme !== 'file') {
      throw new UserError(`standard output to ${paths.stdout}: there is fifo, file and binary, no ${scheme}`)
    }
    if (paths.terminal) {
      this.#openTerminal(paths)
      return
    }
    const stdin = this.#openInput(paths.stdin)
    const stdout = this.#openOutput(paths.stdout, this.#logBinary?.stdout)
    const stderrPath = scheme === 'file' ? paths.stdout : paths.stderr
    const stderr = this.#openOutput(stderrPath, this.#logBinary?.stderr)
    this.#given.push(stdin, stdout, stderr)
    this.#io = { stdio: [stdin, stdout, stderr] }
  }

  #openTerminal(paths: StreamPaths): void {
    const console = openConsole(this.#addon)
    this.#given.push(console.slave)
    this.#kept.push(console.master)
    this.#master = console.master
    const output = this.#openOutput(paths.stdout, this.#logBinary?.stdout)
    this.#kept.push(output)
    this.#output = new Copier(this.#addon, console.master, output)
    if (paths.stdin !== '') {
      const input = this.#openInput(paths.stdin)
      // A descriptor is waited for once only.
      const master = this.#addon.fcntl(console.master, F_DUPFD_CLOEXEC, 0)
      this.#kept.push(input, master)
      this.#input = new Copier(this.#addon, input, master)
    }
    this.#io = { terminal: console.slave }
  }

  #openInput(path: string): number {
    if (path === '') return openSync('/dev/null', O_RDONLY)
    const fd = open(path, O_RDONLY | O_NONBLOCK)
    if (isFifo(fd)) this.#stdinWriter = open(path, O_WRONLY | O_NONBLOCK)
    return fd
  }

  #openOutput(path: string, ofLogBinary: number | undefined): number {
    if (ofLogBinary !== undefined) return ofLogBinary
    if (path === '') return openSync('/dev/null', O_RDWR)
    if (path.startsWith('file://')) return openFile(new URL(path).pathname)
    // Opened for reading first: opened for writing alone it would be refused as long as nobody reads.
    const reader = open(path, O_RDONLY | O_NONBLOCK)
    if (!isFifo(reader)) {
      closeSync(reader)
      return open(path, O_WRONLY | O_APPEND)
    }
    this.#kept.push(reader)
    return open(path, O_WRONLY | O_NONBLOCK)
  }
}

function openFile(path: string): number {
  const file = decodeURIComponent(path)
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
  return open(file, O_WRONLY | O_APPEND | O_CREAT)
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o644)
  } catch (error) {
    throw new UserError(`a standard stream can't be opened: ${(error as Error).message}`)
  }
}

function isFifo(fd: number): boolean {
  return fstatSync(fd).isFIFO()
}
