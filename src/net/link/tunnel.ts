/**
 * TunnelDevice: a device whose cable is an IP network: what it sends goes as the payload of packets of its home's, the
 * namespace in which it was made, wherever it is moved later (ip-tunnel.ts, vxlan.ts). It ends with its home at the latest.
 */
import { ELOOP } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, type Packet } from '../packet.ts'
import { NetDevice } from './device.ts'

/** Tunnels whose outer packets go by tunnels; what goes deeper runs in a circle. */
export const MAX_TUNNEL_DEPTH = 8
/** Flows to different ends that are remembered: as many as a device without one of its own may have. */
const MAX_FLOWS = 256
/** Room for what another tunnel, IP and Ethernet put in front. */
const NEEDED_HEADROOM = 128

export abstract class TunnelDevice extends NetDevice {
  readonly home: IpStack
  /** Ends of the tunnel; any: whatever fits. */
  local: IpAddress = V4_ANY
  remote: IpAddress = V4_ANY
  /** Index of the only device of the home's that outer packets use; 0 for any. */
  underlay = 0
  /** 0: that of the packet inside, or the usual one. */
  ttl = 0
  /** Of outer packets; an odd number: that of the packet inside. */
  tos = 0
  readonly #flows = new Map<string, Flow>()

  constructor(name: string, home: IpStack) {
    super(name)
    this.home = home
    this.carrierKnown = false
    home.tunnels.add(this)
  }

  override close(): void {
    super.close()
    this.home.tunnels.delete(this)
  }

  /** The way to an end, remembered: a device without an end of its own has many. */
  protected flowTo(end: IpAddress, protocol: number): Flow {
    let flow = this.#flows.get(end.key)
    if (flow === undefined) {
      if (this.#flows.size >= MAX_FLOWS) this.#flows.clear()
      flow = new Flow()
      flow.protocol = protocol
      flow.source = this.local
      flow.destination = end
      flow.device = this.underlay
      this.#flows.set(end.key, flow)
    }
    return flow
  }
  /** The device that outer packets go out by, as far as it is known. */
  protected wayOut(protocol: number): NetDevice | undefined {
    if (this.underlay !== 0) return this.home.devices.byIndex(this.underlay)
    if (this.remote.isAny) return undefined
    const route = this.home.ip.routeFor(this.flowTo(this.remote, protocol))
    return typeof route === 'number' ? undefined : route.device
  }
  /** The ends have changed. */
  protected forgetFlows(): void {
    this.#flows.clear()
  }

  override transmit(packet: Packet): Status {
    const { runtime } = this.home
    if (runtime.tunnelDepth >= MAX_TUNNEL_DEPTH) return this.lost(packet, -ELOOP)
    this.countSent(packet.length)
    const outer = packet.withHeadroom(NEEDED_HEADROOM)
    if (this.stack !== this.home) outer.scrubAll()
    outer.connection = undefined
    runtime.tunnelDepth++
    try {
      return this.wrap(outer)
    } finally {
      runtime.tunnelDepth--
    }
  }

  /** Puts the tunnel's header in front and sends it. Owns the packet. */
  protected abstract wrap(packet: Packet): Status

  /** A packet that came in, its outer headers pulled: the inner one at packet.start. */
  protected unwrapped(packet: Packet): void {
    const { stack } = this
    if (stack === undefined) {
      packet.release()
      return
    }
    if (packet.checksumStart < packet.start) packet.checksum = CHECKSUM_NONE
    packet.link = packet.network = packet.transport = -1
    packet.scrub()
    packet.connection = undefined
    if (stack !== this.home) packet.scrubAll()
    stack.receive(this, packet)
  }

  protected lost(packet: Packet, status: Status): Status {
    this.statistics.txErrors++
    packet.release()
    return status
  }
}
