/** IGMP: RFC 1112, RFC 2236, RFC 3376: the messages; group-reporter.ts decides what is said when. */
import { IPPROTO_IGMP, RT_SCOPE_LINK } from '../../abi/constants.ts'
import { IpAddress, V4_ANY } from '../address.ts'
import { checksumOf, sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { GroupMessages, GroupRecord, GroupReporter } from './group-reporter.ts'
import { plainFlow } from './ipv4-output.ts'
import { selectSource4 } from './source-selection.ts'
import type { TransportProtocol } from './transport.ts'

const QUERY = 0x11
const V1_REPORT = 0x12
const V2_REPORT = 0x16
const V2_LEAVE = 0x17
const V3_REPORT = 0x22
const ALL_ROUTERS = IpAddress.v4(0xe0000002)
const ALL_V3_ROUTERS = IpAddress.v4(0xe0000016)
/** RFC 2113: routers look at it. */
const ROUTER_ALERT = Uint8Array.of(148, 4, 0, 0)
/** 0.1 s, in which response times are given. */
const TENTH = 1e8
/** Records of one report, so that it fits in any packet. */
const MAX_BYTES = 1400

export class IgmpProtocol implements TransportProtocol, GroupMessages {
  readonly #stack: IpStack
  reporter!: GroupReporter

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  receive(packet: Packet): void {
    const { view, start, length } = packet
    if (length >= 8 && sumView(view, start, length) === 0xffff) this.#process(packet)
    packet.release()
  }
  error(): void {}

  report(device: NetDevice, records: readonly GroupRecord[]): void {
    for (const part of parts(records, 4)) {
      const size = 8 + part.reduce((sum, record) => sum + 8 + 4 * record.sources.length, 0)
      const packet = this.#stack.packets.allocate(size)
      let at = packet.append(size)
      const { view } = packet
      view.setUint32(at, V3_REPORT << 24)
      view.setUint32(at + 4, part.length)
      at += 8
      for (const record of part) {
        view.setUint32(at, ((record.type << 24) | record.sources.length) >>> 0)
        view.setUint32(at + 4, record.address.w3)
        at += 8
        for (const source of record.sources) {
          view.setUint32(at, source.w3)
          at += 4
        }
      }
      this.#send(packet, device, ALL_V3_ROUTERS)
    }
  }

  oldReport(device: NetDevice, address: IpAddress, version: number): void {
    this.#short(device, version === 1 ? V1_REPORT : V2_REPORT, address, address)
  }
  oldLeave(device: NetDevice, address: IpAddress): void {
    this.#short(device, V2_LEAVE, address, ALL_ROUTERS)
  }
  interval(device: NetDevice, old: boolean): number {
    const conf = this.#stack.sysctls.ipv4Conf.of(device.index)
    return old ? conf.igmpv2_unsolicited_report_interval : conf.igmpv3_unsolicited_report_interval
  }
  robustness(): number {
    return Math.max(1, this.#stack.sysctls.ipv4.igmp_qrv)
  }
  forced(device: NetDevice): number {
    return this.#stack.sysctls.most(device.index, 'force_igmp_version')
  }

  #process(packet: Packet): void {
    const { view, start, length } = packet
    const device = packet.device!
    const type = view.getUint8(start)
    const address = this.#stack.runtime.addresses.v4(view.getUint32(start + 4))
    if (type === V1_REPORT || type === V2_REPORT) {
      this.reporter.heard(device, address)
      return
    }
    if (type !== QUERY) return
    const code = view.getUint8(start + 1)
    const asked = address.isAny ? undefined : address
    if (asked !== undefined && !asked.isMulticast) return
    if (length < 12) {
      const version = code === 0 ? 1 : 2
      this.reporter.queried(device, {
        version,
        address: asked,
        sources: [],
        maxResponse: (code || 100) * TENTH,
      })
      return
    }
    const count = view.getUint16(start + 10)
    if (length < 12 + 4 * count) return
    const sources: IpAddress[] = []
    for (let i = 0; i < count; i++) sources.push(IpAddress.v4(view.getUint32(start + 12 + 4 * i)))
    this.reporter.queried(device, {
      version: 3,
      address: asked,
      sources,
      maxResponse: (decode(code) || 1) * TENTH,
    })
  }

  #short(device: NetDevice, type: number, address: IpAddress, to: IpAddress): void {
    const packet = this.#stack.packets.allocate(8)
    const at = packet.append(8)
    packet.view.setUint32(at, type << 24)
    packet.view.setUint32(at + 4, address.w3)
    this.#send(packet, device, to)
  }

  #send(packet: Packet, device: NetDevice, to: IpAddress): void {
    const { view, start, length } = packet
    view.setUint16(start + 2, checksumOf(sumView(view, start, length)))
    const flow = plainFlow(IPPROTO_IGMP, V4_ANY, to, device)
    const source = selectSource4(this.#stack, device, undefined, RT_SCOPE_LINK)
    if (!source.isAny) flow.source = source
    flow.anySource = true
    flow.options = ROUTER_ALERT
    flow.multicastTtl = 1
    flow.multicastLoop = false
    flow.tos = 0xc0
    this.#stack.ip.send(packet, flow)
  }
}

/** RFC 3376 §4.1.1: above 127 it is a small float. */
export function decode(code: number): number {
  return code < 128 ? code : ((code & 15) | 16) << (((code >> 4) & 7) + 3)
}

/** Records in groups that fit in a packet. `size`: of an address. */
export function* parts(records: readonly GroupRecord[], size: number): IterableIterator<GroupRecord[]> {
  let part: GroupRecord[] = []
  let bytes = 0
  for (const record of records) {
    const most = Math.floor((MAX_BYTES - 20) / size)
    const sources = record.sources.slice(0, most)
    const own = 4 + size + size * sources.length
    if (bytes + own > MAX_BYTES && part.length > 0) {
      yield part
      part = []
      bytes = 0
    }
    part.push({ type: record.type, address: record.address, sources })
    bytes += own
  }
  if (part.length > 0) yield part
}
