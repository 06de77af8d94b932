/** ioctl(2) that makes bridges and their ports, as brctl(8) does: of any socket. `ip link` does the same by rtnetlink. */
import { SIOCBRADDBR, SIOCBRADDIF, SIOCBRDELBR, SIOCBRDELIF } from '../../abi/constants.ts'
import { EBUSY, EEXIST, EFAULT, EINVAL, ENODEV, ENXIO, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import { IFREQ } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { IFNAMSIZ, interfaceName } from '../interface-requests.ts'
import type { IpStack } from '../ip-stack.ts'
import { BridgeDevice } from '../link/bridge.ts'
import { randomMac } from '../link/veth.ts'
import { enslave } from '../netlink/kinds/kinds.ts'
import { removeDevice } from '../netlink/route/link.ts'

export function isBridgeRequest(request: number): boolean {
  return (
    request === SIOCBRADDBR || request === SIOCBRDELBR || request === SIOCBRADDIF || request === SIOCBRDELIF
  )
}

/** The caller may change the network. */
export function bridgeIoctl(
  stack: IpStack,
  context: IoctlContext,
  request: number,
  argument: number,
): Status {
  const ofPort = request === SIOCBRADDIF || request === SIOCBRDELIF
  const record = new Uint8Array(ofPort ? IFREQ.size : IFNAMSIZ)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const name = interfaceName(record)
  if (request === SIOCBRADDBR) return addBridge(stack, name)
  if (request === SIOCBRDELBR) return deleteBridge(stack, name)
  const port = new DataView(record.buffer).getInt32(IFREQ.ifr_ifindex, true)
  return changePort(stack, name, port, request === SIOCBRADDIF)
}

/** br_add_bridge. */
function addBridge(stack: IpStack, name: string): Status {
  if (stack.devices.byName(name) !== undefined) return -EEXIST
  const bridge = new BridgeDevice(name, randomMac(stack.random))
  const status = stack.devices.register(bridge)
  if (status >= 0) return 0
  bridge.close()
  return status
}

/** br_del_bridge. */
function deleteBridge(stack: IpStack, name: string): Status {
  const device = stack.devices.byName(name)
  if (device === undefined) return -ENXIO
  if (!(device instanceof BridgeDevice)) return -EPERM
  return device.up ? -EBUSY : removeDevice(stack, device)
}

/** add_del_if. */
function changePort(stack: IpStack, name: string, index: number, add: boolean): Status {
  const bridge = stack.devices.byName(name)
  if (bridge === undefined) return -ENODEV
  if (!(bridge instanceof BridgeDevice)) return -EOPNOTSUPP
  const port = stack.devices.byIndex(index)
  if (port === undefined) return -EINVAL
  if (add) return bridge.addPort(port)
  return port.master === bridge ? enslave(stack, port, 0) : -EINVAL
}
