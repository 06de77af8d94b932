/** `ip link add gre1 type gre remote … local … key 5`, and `gretap`: ipgre_newlink. */
import {
  IFLA_GRE_COLLECT_METADATA,
  IFLA_GRE_ENCAP_DPORT,
  IFLA_GRE_ENCAP_FLAGS,
  IFLA_GRE_ENCAP_SPORT,
  IFLA_GRE_ENCAP_TYPE,
  IFLA_GRE_FWMARK,
  IFLA_GRE_IFLAGS,
  IFLA_GRE_IGNORE_DF,
  IFLA_GRE_IKEY,
  IFLA_GRE_LINK,
  IFLA_GRE_LOCAL,
  IFLA_GRE_OFLAGS,
  IFLA_GRE_OKEY,
  IFLA_GRE_PMTUDISC,
  IFLA_GRE_REMOTE,
  IFLA_GRE_TOS,
  IFLA_GRE_TTL,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { NetDevice } from '../../link/device.ts'
import { GRE_FLAGS, GRE_KEY, GreDevice } from '../../link/gre.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import { readEnd } from './ip-tunnel.ts'
import type { LinkKind, LinkRequest } from './kind.ts'

export const greKind = kindFor('gre')
export const gretapKind = kindFor('gretap')

function kindFor(kind: 'gre' | 'gretap'): LinkKind {
  return {
    create({ own, name, address, data }: LinkRequest): OrErrno<GreDevice> {
      const valid = validate(data)
      if (valid < 0) return valid
      const device = new GreDevice(kind, name, own, address)
      const status = apply(device, data)
      if (status < 0) device.close()
      return status < 0 ? status : device
    },
    change(device: NetDevice, data: Attributes): Status {
      const valid = validate(data)
      return valid < 0 ? valid : apply(device as GreDevice, data)
    },
    write,
  }
}

/** Neither through UDP nor by rules that say the ends of each packet, nor by marks, nor with fragments that must not be. */
function validate(data: Attributes): Status {
  const flags = (data.be16(IFLA_GRE_IFLAGS) ?? 0) | (data.be16(IFLA_GRE_OFLAGS) ?? 0)
  if ((flags & ~GRE_FLAGS) !== 0) return -EINVAL
  if (data.has(IFLA_GRE_COLLECT_METADATA) || (data.u16(IFLA_GRE_ENCAP_TYPE) ?? 0) !== 0) return -EOPNOTSUPP
  if ((data.u32(IFLA_GRE_FWMARK) ?? 0) !== 0 || (data.u8(IFLA_GRE_IGNORE_DF) ?? 0) !== 0) return -EOPNOTSUPP
  return (data.u8(IFLA_GRE_TTL) ?? 0) !== 0 && data.u8(IFLA_GRE_PMTUDISC) === 0 ? -EINVAL : 0
}

function apply(device: GreDevice, data: Attributes): Status {
  const local = readEnd(data.get(IFLA_GRE_LOCAL)) ?? device.local
  const remote = readEnd(data.get(IFLA_GRE_REMOTE)) ?? device.remote
  if (remote.isMulticast) return -EOPNOTSUPP
  const underlay = data.u32(IFLA_GRE_LINK) ?? device.underlay
  const flags = data.be16(IFLA_GRE_IFLAGS) ?? device.inputFlags
  const key = data.be32(IFLA_GRE_IKEY) ?? device.inputKey
  for (const other of device.home.tunnels) {
    if (other === device || !(other instanceof GreDevice) || other.kind !== device.kind) continue
    const sameKey = ((other.inputFlags ^ flags) & GRE_KEY) === 0 && other.inputKey === key
    const sameEnds = other.local.equals(local) && other.remote.equals(remote)
    if (sameKey && sameEnds && other.underlay === underlay) return -EEXIST
  }
  device.local = local
  device.remote = remote
  device.underlay = underlay
  device.inputFlags = flags
  device.inputKey = key
  device.outputFlags = data.be16(IFLA_GRE_OFLAGS) ?? device.outputFlags
  device.outputKey = data.be32(IFLA_GRE_OKEY) ?? device.outputKey
  device.ttl = data.u8(IFLA_GRE_TTL) ?? device.ttl
  device.tos = data.u8(IFLA_GRE_TOS) ?? device.tos
  device.pathMtu = (data.u8(IFLA_GRE_PMTUDISC) ?? (device.pathMtu ? 1 : 0)) !== 0
  device.aim()
  return 0
}

function write(writer: MessageWriter, device: NetDevice): void {
  const tunnel = device as GreDevice
  writer.u32(IFLA_GRE_LINK, tunnel.underlay)
  writer.be16(IFLA_GRE_IFLAGS, tunnel.inputFlags)
  writer.be16(IFLA_GRE_OFLAGS, tunnel.outputFlags)
  writer.be32(IFLA_GRE_IKEY, tunnel.inputKey)
  writer.be32(IFLA_GRE_OKEY, tunnel.outputKey)
  writer.bytes(IFLA_GRE_LOCAL, tunnel.local.bytes())
  writer.bytes(IFLA_GRE_REMOTE, tunnel.remote.bytes())
  writer.u8(IFLA_GRE_TTL, tunnel.ttl)
  writer.u8(IFLA_GRE_TOS, tunnel.tos)
  writer.u8(IFLA_GRE_PMTUDISC, tunnel.pathMtu ? 1 : 0)
  writer.u32(IFLA_GRE_FWMARK, 0)
  for (const type of [IFLA_GRE_ENCAP_TYPE, IFLA_GRE_ENCAP_FLAGS]) writer.u16(type, 0)
  for (const type of [IFLA_GRE_ENCAP_SPORT, IFLA_GRE_ENCAP_DPORT]) writer.be16(type, 0)
  writer.u8(IFLA_GRE_IGNORE_DF, 0)
}
