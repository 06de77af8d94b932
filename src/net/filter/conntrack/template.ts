/**
 * Template: what a rule ahead of conntrack (`CT`, `ct zone set`) wants of the connection that a packet will belong to. Stands in
 * packet.connection until conntrack looks at the packet.
 */
import { IP_CT_NEW } from '../../../abi/constants.ts'
import type { Packet } from '../../packet.ts'

/** In which directions a zone tells connections apart: NF_CT_ZONE_DIR_*. */
export const ZONE_ORIGINAL = 1
export const ZONE_REPLY = 2
export const ZONE_BOTH = ZONE_ORIGINAL | ZONE_REPLY

export class Template {
  /** Zones of the connection's tuples. */
  readonly original: number
  readonly reply: number

  constructor(zone: number, directions: number) {
    this.original = (directions & ZONE_ORIGINAL) === 0 ? 0 : zone
    this.reply = (directions & ZONE_REPLY) === 0 ? 0 : zone
  }

  /** Unless the packet has been tracked already, or has a template. */
  attach(packet: Packet): void {
    if (packet.connection !== undefined) return
    packet.connection = this
    packet.connectionInfo = IP_CT_NEW
  }
}

/** Of packets about which no rule has said anything. */
export const PLAIN = new Template(0, ZONE_BOTH)
