/** What an engine has at the other end of --console-socket: gets the master of a terminal and speaks over it. */
import { read, writeSync } from 'node:fs'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from '../../src/abi/constants.ts'
import { setWindowSize } from '../../src/oci/console.ts'
import { addon } from './container-client.ts'
import { until } from './leftovers.ts'

export class ConsoleReceiver {
  text = ''
  readonly #socket: number
  #master = -1

  /** Listens at `path`. */
  constructor(path: string) {
    this.#socket = addon.makeSocket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    const address = Buffer.alloc(110)
    address.writeUInt16LE(AF_UNIX)
    address.write(path, 2)
    if (addon.bindSocket(this.#socket, address) < 0 || addon.listenSocket(this.#socket, 1) < 0) {
      throw new Error(`can't listen at ${path}`)
    }
  }

  /** Until the terminal's output has `text`. */
  async says(text: string): Promise<void> {
    if (this.#master < 0) await this.#receive()
    await until(
      () => this.text.includes(text),
      `the terminal says ${JSON.stringify(text)}: ${JSON.stringify(this.text)}`,
    )
  }

  write(text: string): void {
    writeSync(this.#master, text)
  }

  resize(width: number, height: number): void {
    setWindowSize(addon, this.#master, { width, height })
  }

  close(): void {
    addon.close(this.#socket)
    // A read on it ends with its slave.
    if (this.#master >= 0) addon.close(this.#master)
  }

  async #receive(): Promise<void> {
    let connection = -1
    const accepted = () => {
      connection = addon.acceptSocket(this.#socket)
      return connection >= 0
    }
    await until(accepted, 'somebody connects')
    const name = new Uint8Array(4096)
    const descriptors = new Int32Array(4)
    await until(() => addon.receiveAll(connection, name, descriptors) > 0, 'a descriptor comes')
    addon.close(connection)
    this.#master = descriptors[1]
    this.#read()
  }

  #read(): void {
    const piece = Buffer.alloc(4096)
    read(this.#master, piece, 0, piece.length, null, (error, length) => {
      if (error !== null || length === 0) return
      this.text += piece.toString('latin1', 0, length)
      this.#read()
    })
  }
}
