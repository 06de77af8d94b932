/** A pseudo terminal of the host's, whose user is the test. */
import * as fs from 'node:fs'
import { O_NOCTTY, O_NONBLOCK, O_RDWR, TIOCGPTN, TIOCSPTLCK, TIOCSWINSZ } from '../../src/abi/constants.ts'
import { EIO } from '../../src/abi/errno.ts'
import { addon } from './container-client.ts'
import { until } from './leftovers.ts'

export class Pty {
  readonly master: number
  slave: number
  text = ''

  constructor() {
    this.master = fs.openSync('/dev/ptmx', O_RDWR | O_NOCTTY | O_NONBLOCK)
    addon.ioctl(this.master, TIOCSPTLCK, new Uint8Array(4))
    const number = new Uint8Array(4)
    addon.ioctl(this.master, TIOCGPTN, number)
    this.slave = fs.openSync(`/dev/pts/${new DataView(number.buffer).getUint32(0, true)}`, O_RDWR | O_NOCTTY)
  }

  resize(rows: number, columns: number): void {
    addon.ioctl(this.master, TIOCSWINSZ, new Uint8Array(new Uint16Array([rows, columns, 0, 0]).buffer))
  }
  type(text: string): void {
    fs.writeSync(this.master, text)
  }
  /** Waits for text that ends in `end`. */
  async says(end: string): Promise<void> {
    try {
      await until(() => this.#read().includes(end), `the terminal shows ${JSON.stringify(end)}`)
    } catch (error) {
      throw new Error(`${(error as Error).message}; it shows ${JSON.stringify(this.text)}`)
    }
    this.text = this.text.slice(this.text.indexOf(end) + end.length)
  }
  closeSlave(): void {
    fs.closeSync(this.slave)
  }
  close(): void {
    fs.closeSync(this.master)
  }

  /** Nobody has the slave open. */
  get hungUp(): boolean {
    this.#read()
    return this.#ended
  }

  #ended = false
  #read(): string {
    const piece = Buffer.alloc(4096)
    for (;;) {
      const length = addon.pread(this.master, piece, -1)
      this.#ended = length === -EIO
      if (length <= 0) return this.text
      this.text += piece.toString('latin1', 0, length)
    }
  }
}

export function openPty(): Pty {
  return new Pty()
}
