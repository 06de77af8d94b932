/**
 * IPv4 options of received packets: checked for form, and source routes refused where they aren't allowed. Record route
 * and timestamps are passed on as they are: who asks for them gets his packet, without our mark in it.
 */
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { IPV4_HEADER } from './numbers.ts'

const IPOPT_END = 0
const IPOPT_NOOP = 1
const IPOPT_RR = 7
const IPOPT_TIMESTAMP = 68
const IPOPT_LSRR = 131
const IPOPT_SSRR = 137
const IPOPT_RA = 148

/** 0: fine; above 0: the offset of the fault in the header, for a parameter problem; -1: to be dropped without a word. */
export function checkOptions4(stack: IpStack, packet: Packet): number {
  const { view, network, transport } = packet
  let at = network + IPV4_HEADER
  while (at < transport) {
    const kind = view.getUint8(at)
    if (kind === IPOPT_END) return 0
    if (kind === IPOPT_NOOP) {
      at++
      continue
    }
    if (at + 1 >= transport) return at - network
    const length = view.getUint8(at + 1)
    if (length < 2 || at + length > transport) return at + 1 - network
    if (kind === IPOPT_LSRR || kind === IPOPT_SSRR) {
      if (length < 3 || view.getUint8(at + 2) < 4) return at + 2 - network
      if (!sourceRouteAllowed(stack, packet)) return -1
    } else if (kind === IPOPT_RR) {
      if (length < 3 || view.getUint8(at + 2) < 4) return at + 2 - network
    } else if (kind === IPOPT_TIMESTAMP) {
      if (length < 4 || view.getUint8(at + 2) < 5) return at + 2 - network
    } else if (kind === IPOPT_RA) {
      if (length < 4) return at + 1 - network
    }
    at += length
  }
  return 0
}

function sourceRouteAllowed(stack: IpStack, packet: Packet): boolean {
  const { all } = stack.sysctls.ipv4Conf
  const own = stack.sysctls.ipv4Conf.of(packet.device!.index)
  return all.accept_source_route !== 0 && own.accept_source_route !== 0
}

/**
 * The options that each fragment but the first carries: those with the 'copied' bit (RFC 791 §3.1); others are blanked
 * with no-ops, so that the header's length stays.
 */
export function blankUncopied(view: DataView, network: number): void {
  const end = network + (view.getUint8(network) & 15) * 4
  let at = network + IPV4_HEADER
  while (at < end) {
    const kind = view.getUint8(at)
    if (kind === IPOPT_END) return
    if (kind === IPOPT_NOOP) {
      at++
      continue
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0
    if (length < 2 || at + length > end) return
    if ((kind & 0x80) === 0) for (let i = 0; i < length; i++) view.setUint8(at + i, IPOPT_NOOP)
    at += length
  }
}
