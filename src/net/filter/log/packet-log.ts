/**
 * PacketLog: where rules that log (`log`, LOG, NFLOG) tell of packets: the kernel's log, or a group that a program listens to
 * over nfnetlink. Without either nothing is written.
 */
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import { describePacket } from './describe.ts'

/** A packet as a rule sees it. */
export interface LoggedPacket {
  readonly isV4: boolean
  /** NF_INET_* */
  readonly point: number
  readonly packet: Packet
  readonly input: NetDevice | undefined
  readonly output: NetDevice | undefined
}

/** What a rule says of how a group is to be told. */
export interface GroupOptions {
  readonly group: number
  /** Bytes of the packet; undefined: as many as the listener wants. */
  readonly snapshot: number | undefined
  /** How many packets may be told at once, 0: the listener says. */
  readonly threshold: number
}

export interface LogGroup {
  logged(packet: LoggedPacket, prefix: string, options: GroupOptions): void
}

export class PacketLog {
  /** Writes a line into the kernel's log: of the first namespace only, others must not fill it. */
  kernel: ((level: number, text: string) => void) | undefined = undefined
  /** Those that somebody has bound. */
  readonly groups = new Map<number, LogGroup>()
  #sequence = 0

  /** Numbers the packets that all groups are told of. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0
    return this.#sequence
  }

  /** `flags`: NF_LOG_* */
  toKernel(packet: LoggedPacket, level: number, flags: number, prefix: string): void {
    this.kernel?.(level, describePacket(packet, flags, prefix))
  }
  toGroup(packet: LoggedPacket, prefix: string, options: GroupOptions): void {
    this.groups.get(options.group)?.logged(packet, prefix, options)
  }
}
