/** MLD: RFC 2710, RFC 3810: the messages; group-reporter.ts decides what is said when. */
import {
  ICMPV6_MGM_QUERY,
  ICMPV6_MGM_REDUCTION,
  ICMPV6_MGM_REPORT,
  ICMPV6_MLD2_REPORT,
  IPPROTO_HOPOPTS,
  IPPROTO_ICMPV6,
} from '../../abi/constants.ts'
import { IpAddress, V6_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { GroupMessages, GroupRecord, GroupReporter } from './group-reporter.ts'
import { parts } from './igmp.ts'
import { plainFlow } from './ipv4-output.ts'
import { NSEC_PER_MSEC } from './numbers.ts'

const ALL_ROUTERS = new IpAddress(0xff020000, 0, 0, 2)
const ALL_V2_ROUTERS = new IpAddress(0xff020000, 0, 0, 0x16)
/** A hop-by-hop header with the router alert of RFC 2711 for MLD. */
const ROUTER_ALERT = Uint8Array.of(0, 0, 5, 2, 0, 0, 1, 0)

export class MldProtocol implements GroupMessages {
  readonly #stack: IpStack
  reporter!: GroupReporter

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** A message of MLD that passed ICMPv6's checks, at packet.start; still the caller's. */
  received(packet: Packet): void {
    const { view, start, length, source } = packet
    const device = packet.device!
    // RFC 2710 §5, RFC 3810 §5: from this link, and not on its way to elsewhere.
    if (!source.isLinkLocal || packet.ttl !== 1 || length < 24) return
    const type = view.getUint8(start)
    const address = this.#stack.runtime.addresses.v6(view, start + 8)
    if (type === ICMPV6_MGM_REPORT) {
      this.reporter.heard(device, address)
      return
    }
    if (type !== ICMPV6_MGM_QUERY) return
    const asked = address.isAny ? undefined : address
    if (asked !== undefined && !asked.isMulticast) return
    const code = view.getUint16(start + 4)
    if (length < 28) {
      this.reporter.queried(device, {
        version: 2,
        address: asked,
        sources: [],
        maxResponse: code * NSEC_PER_MSEC,
      })
      return
    }
    const count = view.getUint16(start + 26)
    if (length < 28 + 16 * count) return
    const sources: IpAddress[] = []
    for (let i = 0; i < count; i++) sources.push(IpAddress.read(view, start + 28 + 16 * i, false))
    const wait = code < 32768 ? code : ((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3)
    this.reporter.queried(device, { version: 3, address: asked, sources, maxResponse: wait * NSEC_PER_MSEC })
  }

  report(device: NetDevice, records: readonly GroupRecord[]): void {
    for (const part of parts(records, 16)) {
      const size = 8 + part.reduce((sum, record) => sum + 20 + 16 * record.sources.length, 0)
      const packet = this.#stack.packets.allocate(size)
      let at = packet.append(size)
      const { view } = packet
      view.setUint32(at, (ICMPV6_MLD2_REPORT << 24) >>> 0)
      view.setUint32(at + 4, part.length)
      at += 8
      for (const record of part) {
        view.setUint32(at, ((record.type << 24) | record.sources.length) >>> 0)
        record.address.writeV6(view, at + 4)
        at += 20
        for (const source of record.sources) {
          source.writeV6(view, at)
          at += 16
        }
      }
      this.#send(packet, device, ALL_V2_ROUTERS)
    }
  }

  oldReport(device: NetDevice, address: IpAddress): void {
    this.#short(device, ICMPV6_MGM_REPORT, address, address)
  }
  oldLeave(device: NetDevice, address: IpAddress): void {
    this.#short(device, ICMPV6_MGM_REDUCTION, address, ALL_ROUTERS)
  }
  interval(device: NetDevice, old: boolean): number {
    const conf = this.#stack.sysctls.ipv6Conf.of(device.index)
    return old ? conf.mldv1_unsolicited_report_interval : conf.mldv2_unsolicited_report_interval
  }
  robustness(): number {
    return Math.max(1, this.#stack.sysctls.ipv6.mld_qrv)
  }
  /** force_mld_version 1 is what the reporter calls 2. */
  forced(device: NetDevice): number {
    const version = this.#stack.sysctls.ipv6Conf.of(device.index).force_mld_version
    return version === 0 ? 0 : version + 1
  }

  #short(device: NetDevice, type: number, address: IpAddress, to: IpAddress): void {
    const packet = this.#stack.packets.allocate(24)
    const at = packet.append(24)
    packet.bytes.fill(0, at, at + 24)
    packet.view.setUint8(at, type)
    address.writeV6(packet.view, at + 8)
    this.#send(packet, device, to)
  }

  #send(packet: Packet, device: NetDevice, to: IpAddress): void {
    // RFC 3590: before there is a link-local address, from none.
    const source = this.#stack.slaac.linkLocal(device) ?? V6_ANY
    const flow = plainFlow(IPPROTO_ICMPV6, source, to, device)
    flow.anySource = true
    flow.keepsAnySource = source.isAny
    flow.options = ROUTER_ALERT
    flow.optionsProtocol = IPPROTO_HOPOPTS
    flow.multicastTtl = 1
    flow.multicastLoop = false
    this.#stack.icmp6.send(packet, flow)
  }
}
