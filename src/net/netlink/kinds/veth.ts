/** `ip link add veth0 type veth peer name veth1`: veth_newlink. */
import { IFLA_IFNAME, VETH_INFO_PEER } from '../../../abi/constants.ts'
import { EEXIST, EINVAL } from '../../../abi/errno.ts'
import { IFINFOMSG } from '../../../abi/layout.ts'
import type { OrErrno } from '../../../base/result.ts'
import { randomMac, type VethDevice, vethPair } from '../../link/veth.ts'
import { Attributes, viewOf } from '../message.ts'
import { namespaceOf } from '../route/namespace.ts'
import { addressFor, givenAddress, type LinkKind, type LinkRequest } from './kind.ts'

export const vethKind: LinkKind = {
  /** The other end is described like a link of its own, and may be in another namespace. */
  create(link: LinkRequest): OrErrno<VethDevice> {
    const { request, own, target, name, data } = link
    const peerInfo = data.get(VETH_INFO_PEER)
    if (peerInfo !== undefined && peerInfo.length < IFINFOMSG.size) return -EINVAL
    const about = new Attributes(peerInfo ?? new Uint8Array(0), peerInfo === undefined ? 0 : IFINFOMSG.size)
    const home = namespaceOf(request.task, about, own)
    if (typeof home === 'number') return home
    const peerName = about.string(IFLA_IFNAME) || 'veth%d'
    const peerAddress = givenAddress(about)
    if (typeof peerAddress === 'number') return peerAddress
    if (target.devices.byName(name) !== undefined) return -EEXIST
    const [device, peer] = vethPair(target.random, name, peerName)
    device.address = addressFor(link)
    peer.address = peerAddress ?? randomMac(home.random)
    const index = peerInfo === undefined ? 0 : viewOf(peerInfo).getInt32(IFINFOMSG.ifi_index, true)
    const status = home.devices.register(peer, Math.max(index, 0))
    return status < 0 ? status : device
  },
}
