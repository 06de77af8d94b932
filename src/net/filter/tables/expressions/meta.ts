/** meta: what is known of a packet beside its bytes, into a register; and the mark and priority from one. */
import {
  IFNAMSIZ,
  NF_INET_PRE_ROUTING,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_BREAK,
  NFT_META_CGROUP,
  NFT_META_CPU,
  NFT_META_IIF,
  NFT_META_IIFGROUP,
  NFT_META_IIFKIND,
  NFT_META_IIFNAME,
  NFT_META_IIFTYPE,
  NFT_META_L4PROTO,
  NFT_META_LEN,
  NFT_META_MARK,
  NFT_META_NFPROTO,
  NFT_META_NFTRACE,
  NFT_META_OIF,
  NFT_META_OIFGROUP,
  NFT_META_OIFKIND,
  NFT_META_OIFNAME,
  NFT_META_OIFTYPE,
  NFT_META_PKTTYPE,
  NFT_META_PRANDOM,
  NFT_META_PRIORITY,
  NFT_META_PROTOCOL,
  NFT_META_RTCLASSID,
  NFT_META_SDIF,
  NFT_META_SDIFNAME,
  NFT_META_SECPATH,
  NFT_META_SKGID,
  NFT_META_SKUID,
  NFT_META_TIME_DAY,
  NFT_META_TIME_HOUR,
  NFT_META_TIME_NS,
  NFTA_META_DREG,
  NFTA_META_KEY,
  NFTA_META_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { Status } from '../../../../base/result.ts'
import { put64 } from '../../../../base/words.ts'
import type { NetDevice } from '../../../link/device.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { weekdayOf } from '../../calendar.ts'
import type { BaseChain } from '../chain.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

/** The length of each key's value. */
const LENGTHS: ReadonlyMap<number, number> = new Map([
  [NFT_META_LEN, 4],
  [NFT_META_PROTOCOL, 2],
  [NFT_META_PRIORITY, 4],
  [NFT_META_MARK, 4],
  [NFT_META_IIF, 4],
  [NFT_META_OIF, 4],
  [NFT_META_IIFNAME, IFNAMSIZ],
  [NFT_META_OIFNAME, IFNAMSIZ],
  [NFT_META_IIFTYPE, 2],
  [NFT_META_OIFTYPE, 2],
  [NFT_META_IIFKIND, IFNAMSIZ],
  [NFT_META_OIFKIND, IFNAMSIZ],
  [NFT_META_SKUID, 4],
  [NFT_META_SKGID, 4],
  [NFT_META_NFPROTO, 1],
  [NFT_META_L4PROTO, 1],
  [NFT_META_PKTTYPE, 1],
  [NFT_META_IIFGROUP, 4],
  [NFT_META_OIFGROUP, 4],
  [NFT_META_PRANDOM, 4],
  [NFT_META_CPU, 4],
  [NFT_META_CGROUP, 4],
  [NFT_META_RTCLASSID, 4],
  [NFT_META_SECPATH, 1],
  [NFT_META_TIME_NS, 8],
  [NFT_META_TIME_DAY, 1],
  [NFT_META_TIME_HOUR, 4],
  [NFT_META_SDIF, 4],
  [NFT_META_SDIFNAME, IFNAMSIZ],
])
/** NFT_META_NFTRACE: packets are not traced, but may be told to be. */
const SETTABLE: ReadonlyMap<number, number> = new Map([
  [NFT_META_MARK, 4],
  [NFT_META_PRIORITY, 4],
  [NFT_META_PKTTYPE, 1],
  [NFT_META_NFTRACE, 1],
])

export const meta: ExpressionType = {
  name: 'meta',
  parse(_context, attributes) {
    const key = attributes.be32(NFTA_META_KEY)
    if (key === undefined) return -EINVAL
    if (attributes.has(NFTA_META_DREG) && attributes.has(NFTA_META_SREG)) return -EINVAL
    if (attributes.has(NFTA_META_SREG)) {
      const size = SETTABLE.get(key)
      if (size === undefined) return -EOPNOTSUPP
      const register = readRegister(attributes, NFTA_META_SREG, size)
      return register < 0 ? register : new SetMeta(register, key)
    }
    if (!attributes.has(NFTA_META_DREG)) return -EINVAL
    const length = LENGTHS.get(key)
    if (length === undefined) return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_META_DREG, length)
    return register < 0 ? register : new GetMeta(register, key)
  },
}

class GetMeta implements Expression {
  readonly name = 'meta'
  readonly #register: number
  readonly #key: number

  constructor(register: number, key: number) {
    this.#register = register
    this.#key = key
  }
  evaluate(run: Evaluation): void {
    if (!load(run, this.#key, this.#register)) run.verdict = NFT_BREAK
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_META_KEY, this.#key)
    writeRegister(writer, NFTA_META_DREG, this.#register)
  }
}

class SetMeta implements Expression {
  readonly name = 'meta'
  readonly #register: number
  readonly #key: number

  constructor(register: number, key: number) {
    this.#register = register
    this.#key = key
  }
  evaluate({ packet, view, stack }: Evaluation): void {
    const value = view.getUint32(this.#register, true)
    if (this.#key === NFT_META_MARK) packet.mark = value
    else if (this.#key === NFT_META_PRIORITY) packet.priority = value
    else if (this.#key === NFT_META_PKTTYPE) packet.type = value & 0xff
    else if ((value & 1) === 0) packet.traceId = 0
    else packet.traceId ||= stack.random.u32() || 1
  }
  validate({ point }: BaseChain): Status {
    return this.#key === NFT_META_PKTTYPE && point !== NF_INET_PRE_ROUTING ? -EOPNOTSUPP : 0
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_META_KEY, this.#key)
    writeRegister(writer, NFTA_META_SREG, this.#register)
  }
}

const DAY = 24 * 3600

/** False: the packet has no such thing. */
function load(run: Evaluation, key: number, at: number): boolean {
  const { packet, view, input, output } = run
  switch (key) {
    case NFT_META_LEN:
      view.setUint32(at, packet.end - packet.network, true)
      return true
    case NFT_META_PROTOCOL:
      view.setUint32(at, 0)
      view.setUint16(at, packet.networkProtocol)
      return true
    case NFT_META_PRIORITY:
      view.setUint32(at, packet.priority, true)
      return true
    case NFT_META_MARK:
      view.setUint32(at, packet.mark, true)
      return true
    case NFT_META_NFPROTO:
      view.setUint32(at, run.isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6, true)
      return true
    case NFT_META_L4PROTO:
      view.setUint32(at, packet.transportProtocol, true)
      return packet.transport >= 0
    case NFT_META_PKTTYPE:
      view.setUint32(at, packet.type, true)
      return true
    case NFT_META_PRANDOM:
      view.setUint32(at, run.stack.random.u32(), true)
      return true
    // Of things that there are none of: a second processor, net_cls, classes of routes, IPsec, VRFs.
    case NFT_META_CPU:
    case NFT_META_RTCLASSID:
    case NFT_META_SECPATH:
    case NFT_META_SDIF:
      view.setUint32(at, 0, true)
      return true
    case NFT_META_CGROUP:
      view.setUint32(at, 0, true)
      return packet.owner !== undefined
    case NFT_META_SDIFNAME:
      storeName(run.bytes, at, '')
      return true
    case NFT_META_TIME_NS:
    case NFT_META_TIME_DAY:
    case NFT_META_TIME_HOUR:
      loadTime(run, key, at)
      return true
    case NFT_META_SKUID:
    case NFT_META_SKGID: {
      const { owner } = packet
      if (owner === undefined) return false
      view.setUint32(at, key === NFT_META_SKUID ? owner.uid : owner.gid, true)
      return true
    }
    case NFT_META_IIF:
    case NFT_META_IIFNAME:
    case NFT_META_IIFTYPE:
    case NFT_META_IIFKIND:
    case NFT_META_IIFGROUP:
      return loadDevice(run, input, key - NFT_META_IIF, at)
    case NFT_META_OIF:
    case NFT_META_OIFNAME:
    case NFT_META_OIFTYPE:
    case NFT_META_OIFGROUP:
    case NFT_META_OIFKIND:
      // The keys of the two devices are neighbours.
      return loadDevice(run, output, key - 1 - NFT_META_IIF, at)
  }
  return false
}

function loadTime({ view, stack }: Evaluation, key: number, at: number): void {
  const { sec, nsec } = stack.runtime.clock.realtime()
  if (key === NFT_META_TIME_NS) put64(view, at, sec * NSEC_PER_SEC + nsec)
  else if (key === NFT_META_TIME_HOUR) view.setUint32(at, sec % DAY, true)
  else view.setUint32(at, weekdayOf(sec), true)
}

/** `what`: of the input device's keys, counted from NFT_META_IIF. */
function loadDevice(
  { bytes, view }: Evaluation,
  device: NetDevice | undefined,
  what: number,
  at: number,
): boolean {
  switch (what + NFT_META_IIF) {
    case NFT_META_IIF:
      view.setUint32(at, device?.index ?? 0, true)
      return true
    case NFT_META_IIFNAME:
      storeName(bytes, at, device?.name ?? '')
      return true
    case NFT_META_IIFTYPE:
      view.setUint32(at, device?.type ?? 0, true)
      return device !== undefined
    case NFT_META_IIFGROUP:
      view.setUint32(at, device?.group ?? 0, true)
      return device !== undefined
  }
  storeName(bytes, at, device?.kind ?? '')
  return device !== undefined && device.kind !== ''
}

function storeName(bytes: Uint8Array, at: number, name: string): void {
  for (let i = 0; i < IFNAMSIZ; i++) bytes[at + i] = i < name.length ? name.charCodeAt(i) : 0
}
