/** What is told of tun and tap devices; /dev/net/tun makes and changes them. */
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_VNET_HDR,
  IFLA_TUN_GROUP,
  IFLA_TUN_MULTI_QUEUE,
  IFLA_TUN_NUM_DISABLED_QUEUES,
  IFLA_TUN_NUM_QUEUES,
  IFLA_TUN_OWNER,
  IFLA_TUN_PERSIST,
  IFLA_TUN_PI,
  IFLA_TUN_TYPE,
  IFLA_TUN_VNET_HDR,
} from '../../../abi/constants.ts'
import { EOPNOTSUPP } from '../../../abi/errno.ts'
import { INVALID_ID } from '../../../base/id-map.ts'
import type { NetDevice } from '../../link/device.ts'
import type { TunDevice } from '../../link/tun-device.ts'
import type { MessageWriter } from '../message.ts'
import { type LinkKind, type LinkRequest, refuse } from './kind.ts'

export const tunKind: LinkKind = {
  create({ request }: LinkRequest) {
    return refuse(request, 'tun/tap creation via rtnetlink is not supported.', EOPNOTSUPP)
  },

  /** Ids without a name in the first user namespace are left out, as those that were never set. */
  write(writer: MessageWriter, device: NetDevice): void {
    const tun = device as TunDevice
    const { mode, owner, ownerGroup } = tun
    const has = (bit: number) => ((mode & bit) !== 0 ? 1 : 0)
    writer.u8(IFLA_TUN_TYPE, mode & (IFF_TUN | IFF_TAP))
    if (owner !== INVALID_ID) writer.u32(IFLA_TUN_OWNER, owner)
    if (ownerGroup !== INVALID_ID) writer.u32(IFLA_TUN_GROUP, ownerGroup)
    writer.u8(IFLA_TUN_PI, 1 - has(IFF_NO_PI))
    writer.u8(IFLA_TUN_VNET_HDR, has(IFF_VNET_HDR))
    writer.u8(IFLA_TUN_PERSIST, has(IFF_PERSIST))
    writer.u8(IFLA_TUN_MULTI_QUEUE, has(IFF_MULTI_QUEUE))
    if (tun.multiQueue) {
      writer.u32(IFLA_TUN_NUM_QUEUES, tun.queues.length)
      writer.u32(IFLA_TUN_NUM_DISABLED_QUEUES, tun.detached.size)
    }
  },
}
