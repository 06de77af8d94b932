/** TcpMemory: what all connections of a namespace hold in buffers, against tcp_mem: tcp(7). In bytes. */
import type { Sysctls } from '../ip/sysctl.ts'
import type { TcpConnection } from './connection.ts'

const PAGE = 4096

export class TcpMemory {
  readonly #sysctl: Sysctls
  allocated = 0
  /** Buffers are not to grow; ends below the low mark. */
  pressure = false

  constructor(sysctl: Sysctls) {
    this.#sysctl = sysctl
  }

  /** Nothing more may be taken in. */
  get exhausted(): boolean {
    return this.allocated > this.#sysctl.ipv4.tcp_mem[2] * PAGE
  }

  /** Brings the account of a connection up to date. */
  update(conn: TcpConnection): void {
    const held = conn.receiveCharge + conn.buffer.length
    this.allocated += held - conn.charged
    conn.charged = held
    const { tcp_mem } = this.#sysctl.ipv4
    if (this.pressure) {
      if (this.allocated < tcp_mem[0] * PAGE) this.pressure = false
    } else if (this.allocated > tcp_mem[1] * PAGE) {
      this.pressure = true
      conn.protocol.network.counters.tcpExt.TCPMemoryPressures++
    }
  }
}
