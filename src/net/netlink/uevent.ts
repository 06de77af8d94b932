/** NETLINK_KOBJECT_UEVENT: the kernel tells of devices that come and go; nothing can be sent to it. */
import { CAP_SYS_ADMIN } from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import type { NetDevice } from '../link/device.ts'
import type { NetlinkProtocol, NetlinkRequest } from './protocol.ts'

export const ueventProtocol: NetlinkProtocol = {
  groups: 1,
  anyoneListens: true,
  anyoneSends: false,
  /** Events to be handed on, which only systems' managers send. */
  receive(request: NetlinkRequest): number {
    return request.socket.capable(request.task, CAP_SYS_ADMIN) ? 0 : -EPERM
  },
}

/** `action`: 'add' or 'remove'. */
export function interfaceEvent(action: string, device: NetDevice, number: number): Uint8Array {
  const path = `/devices/virtual/net/${device.name}`
  const lines = [
    `${action}@${path}`,
    `ACTION=${action}`,
    `DEVPATH=${path}`,
    'SUBSYSTEM=net',
    `INTERFACE=${device.name}`,
    `IFINDEX=${device.index}`,
    `SEQNUM=${number}`,
  ]
  return toBytes(lines.map(line => `${line}\0`).join(''))
}
