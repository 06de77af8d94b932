/**
 * The standard streams of a process, made from the paths that containerd gives:
 *
 *   FIFO of stdout   the process itself holds the writing end: its bytes move without us. We keep a reading end, so that
 *                    what is written is neither lost nor an error while containerd is away.
 *   FIFO of stdin    is copied into a pipe, whose reading end the process holds. We open the FIFO no sooner than the
 *                    client can call CloseIO for the process, and keep a writing end until it does.
 *   terminal         a pseudo terminal of the host: the process has its slave, we copy between its master and the FIFOs
 *
 * Streams are opened before the process is made. `handOver` is called when it is there, `openInput` when it may be typed
 * to, `close` when it is deleted.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { F_DUPFD_CLOEXEC } from '../abi/constants.ts'
import { openConsole, setWindowSize } from '../oci/console.ts'
import type { ProcessIo } from '../oci/io.ts'
import type { Addon } from '../platform/addon.ts'
import { newPipe } from '../sandbox/pipe.ts'
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
  readonly #paths: StreamPaths
  /** The process's own, until it has them. */
  #given: number[] = []
  /** Ours, for as long as the process is known. */
  #kept: number[] = []
  #io: ProcessIo = {}
  #master: number | undefined = undefined
  /** Where standard input goes, until its FIFO is opened. */
  #inputSink: number | undefined = undefined
  #stdinWriter: number | undefined = undefined
  #stdinClosed = false
  #input: Copier | undefined = undefined
  #output: Copier | undefined = undefined
  #logBinary: LogBinary | undefined = undefined

  private constructor(addon: Addon, paths: StreamPaths) {
    this.#addon = addon
    this.#paths = paths
  }

  static async open(addon: Addon, paths: StreamPaths, owner: StreamOwner): Promise<Streams> {
    const streams = new Streams(addon, paths)
    try {
      await streams.#open(owner)
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

  /** From now on bytes reach standard input. Once. */
  openInput(): void {
    const sink = this.#inputSink
    if (sink === undefined) return
    this.#inputSink = undefined
    let fifo: number
    try {
      fifo = open(this.#paths.stdin, O_RDONLY | O_NONBLOCK)
    } catch {
      // The client has gone already, and its FIFO with it: the process that runs by now finds the end of its input.
      closeSync(sink)
      return
    }
    if (!this.#stdinClosed) this.#stdinWriter = open(this.#paths.stdin, O_WRONLY | O_NONBLOCK)
    this.#input = new Copier(this.#addon, fifo, sink)
    void this.#input.done.then(() => {
      closeSync(fifo)
      closeSync(sink)
    })
  }

  /** It ends when the client has closed it, too. */
  closeStdin(): void {
    this.#stdinClosed = true
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
    if (this.#inputSink !== undefined) closeSync(this.#inputSink)
    for (const fd of this.#kept) closeSync(fd)
    this.#inputSink = undefined
    this.#kept = []
    this.#master = undefined
    this.#logBinary?.end()
    this.#logBinary = undefined
  }

  async #open(owner: StreamOwner): Promise<void> {
    const { stdin, stdout, stderr, terminal } = this.#paths
    const scheme = /^([a-z0-9-]+):\/\//.exec(stdout)?.[1] ?? 'fifo'
    if (scheme === 'binary') this.#logBinary = await LogBinary.start(this.#addon, stdout, owner)
    else if (scheme !== 'fifo' && scheme !== 'file') {
      throw new UserError(`standard output to ${stdout}: there is fifo, file and binary, no ${scheme}`)
    }
    if (terminal) return this.#openTerminal()
    this.#given.push(stdin === '' ? openSync('/dev/null', O_RDONLY) : this.#inputPipe())
    this.#given.push(this.#openOutput(stdout, this.#logBinary?.stdout))
    this.#given.push(this.#openOutput(scheme === 'file' ? stdout : stderr, this.#logBinary?.stderr))
    this.#io = { stdio: [...this.#given] }
  }

  #openTerminal(): void {
    const { stdin, stdout } = this.#paths
    const { master, slave } = openConsole(this.#addon)
    this.#given.push(slave)
    this.#kept.push(master)
    this.#master = master
    const output = this.#openOutput(stdout, this.#logBinary?.stdout)
    // Nothing comes that way; a program that reads to the end of both would wait for it.
    if (this.#logBinary !== undefined) closeSync(this.#logBinary.stderr)
    this.#output = new Copier(this.#addon, master, output)
    // At once: clients read to the end before they delete a process.
    void this.#output.done.then(() => closeSync(output))
    // Another descriptor, since one is waited for once only.
    if (stdin !== '') this.#inputSink = this.#addon.fcntl(master, F_DUPFD_CLOEXEC, 0)
    this.#io = { terminal: slave }
  }

  /** The reading end. */
  #inputPipe(): number {
    const { reader, writer } = newPipe(this.#addon)
    this.#inputSink = writer
    return reader
  }

  #openOutput(path: string, ofLogBinary: number | undefined): number {
    if (ofLogBinary !== undefined) return ofLogBinary
    if (path === '') return openSync('/dev/null', O_RDWR)
    if (path.startsWith('file://')) return openFile(new URL(path).pathname)
    // Opened for reading first: opened for writing alone it would be refused as long as nobody reads.
    const reader = open(path, O_RDONLY | O_NONBLOCK)
    if (!fstatSync(reader).isFIFO()) {
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
