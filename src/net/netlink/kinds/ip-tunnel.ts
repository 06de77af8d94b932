/** `ip link add tun0 type ipip remote … local …`, and `sit`: ipip_newlink, ipip6_newlink. */
import {
  IFLA_IPTUN_COLLECT_METADATA,
  IFLA_IPTUN_ENCAP_DPORT,
  IFLA_IPTUN_ENCAP_FLAGS,
  IFLA_IPTUN_ENCAP_SPORT,
  IFLA_IPTUN_ENCAP_TYPE,
  IFLA_IPTUN_FLAGS,
  IFLA_IPTUN_FWMARK,
  IFLA_IPTUN_LINK,
  IFLA_IPTUN_LOCAL,
  IFLA_IPTUN_PMTUDISC,
  IFLA_IPTUN_PROTO,
  IFLA_IPTUN_REMOTE,
  IFLA_IPTUN_TOS,
  IFLA_IPTUN_TTL,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import type { NetDevice } from '../../link/device.ts'
import { IpTunnelDevice } from '../../link/ip-tunnel.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { LinkKind, LinkRequest } from './kind.ts'

export const ipipKind = ipTunnelKind('ipip')
export const sitKind = ipTunnelKind('sit')

function ipTunnelKind(kind: 'ipip' | 'sit'): LinkKind {
  return {
    create({ own, name, data }: LinkRequest): OrErrno<IpTunnelDevice> {
      const valid = validate(data)
      if (valid < 0) return valid
      const device = new IpTunnelDevice(kind, name, own)
      const status = apply(device, data)
      if (status < 0) device.close()
      return status < 0 ? status : device
    },
    change(device: NetDevice, data: Attributes): Status {
      const valid = validate(data)
      return valid < 0 ? valid : apply(device as IpTunnelDevice, data)
    },
    write,
  }
}

/** Neither through UDP nor by rules that say the ends of each packet, nor by marks. */
function validate(data: Attributes): Status {
  if (data.has(IFLA_IPTUN_COLLECT_METADATA) || (data.u16(IFLA_IPTUN_ENCAP_TYPE) ?? 0) !== 0)
    return -EOPNOTSUPP
  if ((data.u32(IFLA_IPTUN_FWMARK) ?? 0) !== 0) return -EOPNOTSUPP
  // A fixed time to live and fragments don't go together.
  return (data.u8(IFLA_IPTUN_TTL) ?? 0) !== 0 && data.u8(IFLA_IPTUN_PMTUDISC) === 0 ? -EINVAL : 0
}

function apply(device: IpTunnelDevice, data: Attributes): Status {
  const local = readEnd(data.get(IFLA_IPTUN_LOCAL)) ?? device.local
  const remote = readEnd(data.get(IFLA_IPTUN_REMOTE)) ?? device.remote
  const underlay = data.u32(IFLA_IPTUN_LINK) ?? device.underlay
  for (const other of device.home.tunnels) {
    if (other === device || !(other instanceof IpTunnelDevice) || other.kind !== device.kind) continue
    if (other.local.equals(local) && other.remote.equals(remote) && other.underlay === underlay)
      return -EEXIST
  }
  device.local = local
  device.remote = remote
  device.underlay = underlay
  device.ttl = data.u8(IFLA_IPTUN_TTL) ?? device.ttl
  device.tos = data.u8(IFLA_IPTUN_TOS) ?? device.tos
  device.pathMtu = (data.u8(IFLA_IPTUN_PMTUDISC) ?? (device.pathMtu ? 1 : 0)) !== 0
  device.aim()
  return 0
}

/** An end of a tunnel over IPv4: the attribute's value. */
export function readEnd(value: Uint8Array | undefined): IpAddress | undefined {
  return value === undefined || value.length < 4 ? undefined : IpAddress.read(viewOf(value), 0, true)
}

function write(writer: MessageWriter, device: NetDevice): void {
  const tunnel = device as IpTunnelDevice
  writer.u32(IFLA_IPTUN_LINK, tunnel.underlay)
  writer.bytes(IFLA_IPTUN_LOCAL, tunnel.local.bytes())
  writer.bytes(IFLA_IPTUN_REMOTE, tunnel.remote.bytes())
  writer.u8(IFLA_IPTUN_TTL, tunnel.ttl)
  writer.u8(IFLA_IPTUN_TOS, tunnel.tos)
  writer.u8(IFLA_IPTUN_PROTO, tunnel.inner)
  writer.u8(IFLA_IPTUN_PMTUDISC, tunnel.pathMtu ? 1 : 0)
  writer.u32(IFLA_IPTUN_FWMARK, 0)
  if (tunnel.kind === 'sit') writer.u16(IFLA_IPTUN_FLAGS, 0)
  for (const type of [IFLA_IPTUN_ENCAP_TYPE, IFLA_IPTUN_ENCAP_FLAGS]) writer.u16(type, 0)
  for (const type of [IFLA_IPTUN_ENCAP_SPORT, IFLA_IPTUN_ENCAP_DPORT]) writer.be16(type, 0)
}
