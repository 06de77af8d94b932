/** RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK, RTM_GETLINK: rtnetlink(7), `ip link`. */
import {
  CAP_NET_ADMIN,
  IFF_ALLMULTI,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_PROMISC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_ALT_IFNAME,
  IFLA_BROADCAST,
  IFLA_CARRIER,
  IFLA_GROUP,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_TXQLEN,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RTM_NEWLINK,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM, ERANGE } from '../../../abi/errno.ts'
import { IFINFOMSG } from '../../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../../base/result.ts'
import type { Task } from '../../../kernel/task.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { bridgePort, changePort } from '../kinds/bridge-port.ts'
import { createDevice, enslave, kindOf } from '../kinds/kinds.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from './address.ts'
import { writeLink } from './link-message.ts'
import { namespaceOf } from './namespace.ts'

/** What of a device's flags requests may change, beside up and down. */
const FREE_FLAGS = IFF_NOARP | IFF_MULTICAST | IFF_PROMISC | IFF_ALLMULTI
const IFALIASZ = 256
const IFNAMSIZ = 16

export function getLinks(stack: IpStack, request: NetlinkRequest): Status | Dump {
  const { sequence, port } = request
  if ((request.flags & NLM_F_DUMP) === 0) {
    const device = findDevice(stack, request)
    if (typeof device === 'number') return device
    const writer = new MessageWriter()
    writeLink(writer, stack, device, RTM_NEWLINK, 0, sequence, port)
    return request.answer(writer)
  }
  // Old programs send a struct rtgenmsg only.
  const attributes = new Attributes(request.body, Math.min(IFINFOMSG.size, request.body.length))
  if (request.socket.strict && request.body.length < IFINFOMSG.size) {
    request.reason = 'Invalid header for link dump'
    return -EINVAL
  }
  const master = attributes.u32(IFLA_MASTER)
  const kind = attributes.nested(IFLA_LINKINFO)?.string(IFLA_INFO_KIND)
  const flags = (master ?? 0) !== 0 || kind !== undefined ? NLM_F_DUMP_FILTERED : 0
  const found = sortedDevices(stack).filter(device => {
    if ((master ?? 0) !== 0 && device.master?.index !== master) return false
    return kind === undefined || device.kind === kind
  })
  return new ListDump(
    found,
    (writer, device) => {
      if (device.stack === stack)
        writeLink(writer, stack, device, RTM_NEWLINK, NLM_F_MULTI | flags, sequence, port)
    },
    0,
    () => stack.generation,
  )
}

/** The device that a message names, by index or by name. */
export function findDevice(stack: IpStack, request: NetlinkRequest): OrErrno<NetDevice> {
  if (request.body.length < IFINFOMSG.size) return -EINVAL
  const attributes = new Attributes(request.body, IFINFOMSG.size)
  const index = request.view.getInt32(IFINFOMSG.ifi_index, true)
  if (index < 0) return -EINVAL
  if (index > 0) return stack.devices.byIndex(index) ?? -ENODEV
  const name = attributes.string(IFLA_IFNAME) ?? attributes.string(IFLA_ALT_IFNAME)
  if (name === undefined) return -EINVAL
  return stack.devices.byName(name) ?? -ENODEV
}

export function newLink(stack: IpStack, request: NetlinkRequest): Status {
  const { body, view, flags } = request
  if (body.length < IFINFOMSG.size) return -EINVAL
  const attributes = new Attributes(body, IFINFOMSG.size)
  const found = findDevice(stack, request)
  if (!failed(found)) {
    if ((flags & NLM_F_EXCL) !== 0) return -EEXIST
    if ((flags & NLM_F_REPLACE) !== 0) return -EOPNOTSUPP
    const status = changeKind(request, found, attributes.nested(IFLA_LINKINFO))
    return status < 0 ? status : change(stack, request, found, attributes)
  }
  const index = view.getInt32(IFINFOMSG.ifi_index, true)
  if (index < 0) {
    request.reason = "ifindex can't be negative"
    return -EINVAL
  }
  if ((flags & NLM_F_CREATE) === 0) return -ENODEV
  const info = attributes.nested(IFLA_LINKINFO)
  const kind = info?.string(IFLA_INFO_KIND)
  if (info === undefined || kind === undefined) {
    request.reason = 'Unknown device type'
    return -EOPNOTSUPP
  }
  const target = namespaceOf(request.task, attributes, stack)
  if (typeof target === 'number') return target
  const made = createDevice(request, target, kind, attributes)
  if (typeof made === 'number') return made
  const status = target.devices.register(made, index)
  if (status < 0) {
    made.close()
    return status
  }
  return configure(target, request, made, attributes)
}

/** What its kind has of its own, and what it has as a port. */
function changeKind(request: NetlinkRequest, device: NetDevice, info: Attributes | undefined): Status {
  const data = info?.nested(IFLA_INFO_DATA)
  if (data !== undefined) {
    const kind = kindOf(device)
    if (info!.string(IFLA_INFO_KIND) !== device.kind || kind?.change === undefined) return -EOPNOTSUPP
    const status = kind.change(device, data, request)
    if (status < 0) return status
  }
  const portData = info?.nested(IFLA_INFO_SLAVE_DATA)
  if (portData === undefined) return 0
  const port = bridgePort(device)
  return port === undefined ? -EOPNOTSUPP : changePort(...port, portData)
}

/** A new device has its MTU and the like; it goes up if the flags say so. */
export function configure(
  stack: IpStack,
  request: NetlinkRequest,
  device: NetDevice,
  attributes: Attributes,
): Status {
  const mtu = attributes.u32(IFLA_MTU)
  if (mtu !== undefined) {
    const status = stack.devices.setMtu(device, mtu)
    if (status < 0) return undo(stack, device, status)
  }
  device.txQueueLength = attributes.u32(IFLA_TXQLEN) ?? device.txQueueLength
  device.group = attributes.u32(IFLA_GROUP) ?? device.group
  const alias = attributes.string(IFLA_IFALIAS)
  if (alias !== undefined) device.alias = alias
  const master = attributes.u32(IFLA_MASTER)
  if (master !== undefined && master !== 0) {
    const status = enslave(stack, device, master)
    if (status < 0) return undo(stack, device, status)
  }
  return setFlags(stack, device, flagsOf(request, device))
}

function undo(stack: IpStack, device: NetDevice, status: Status): Status {
  stack.devices.unregister(device)
  device.close()
  return status
}

export function setLink(stack: IpStack, request: NetlinkRequest): Status {
  if (request.body.length < IFINFOMSG.size) return -EINVAL
  const device = findDevice(stack, request)
  if (typeof device === 'number') return device
  return change(stack, request, device, new Attributes(request.body, IFINFOMSG.size))
}

/** do_setlink: one thing after the other; what was done before a failure stays. */
function change(stack: IpStack, request: NetlinkRequest, device: NetDevice, attributes: Attributes): Status {
  let home = stack
  const target = namespaceOf(request.task, attributes, stack)
  if (typeof target === 'number') return target
  const name = attributes.string(IFLA_IFNAME)
  if (name !== undefined && name.length >= IFNAMSIZ) return -ERANGE
  if (target !== stack) {
    const status = move(request.task, device, stack, target, name)
    if (status < 0) return status
    home = target
  }
  const address = attributes.get(IFLA_ADDRESS)
  if (address !== undefined) {
    if (device.isLoopback && !device.up) return -EOPNOTSUPP
    const status = home.devices.setAddress(device, address)
    if (status < 0) return status
    device.addressSet = true
  }
  const mtu = attributes.u32(IFLA_MTU)
  if (mtu !== undefined) {
    const status = home.devices.setMtu(device, mtu)
    if (status < 0) {
      if (mtu < device.minMtu) request.reason = 'mtu less than device minimum'
      else if (mtu > device.maxMtu) request.reason = 'mtu greater than device maximum'
      return status
    }
  }
  device.group = attributes.u32(IFLA_GROUP) ?? device.group
  if (name !== undefined && name !== '' && name !== device.name) {
    const status = home.devices.rename(device, name)
    if (status < 0) return status
  }
  const alias = attributes.string(IFLA_IFALIAS)
  if (alias !== undefined) {
    if (alias.length >= IFALIASZ) return -EINVAL
    device.alias = alias
    home.listener?.linkChanged(device, false)
  }
  const broadcast = attributes.get(IFLA_BROADCAST)
  if (broadcast !== undefined) device.broadcast.set(broadcast.subarray(0, device.broadcast.length))
  const master = attributes.u32(IFLA_MASTER)
  if (master !== undefined) {
    const status = enslave(home, device, master)
    if (status < 0) return status
  }
  const carrier = attributes.u8(IFLA_CARRIER)
  if (carrier !== undefined) {
    if (device.kind !== 'dummy') return -EOPNOTSUPP
    home.devices.setCarrier(device, carrier !== 0)
  }
  const status = setFlags(home, device, flagsOf(request, device))
  if (status < 0) return status
  device.txQueueLength = attributes.u32(IFLA_TXQLEN) ?? device.txQueueLength
  return 0
}

/** rtnl_dev_combine_flags: only what `ifi_change` says, or all that is said. */
function flagsOf(request: NetlinkRequest, device: NetDevice): number {
  const flags = request.view.getUint32(IFINFOMSG.ifi_flags, true)
  const mask = request.view.getUint32(IFINFOMSG.ifi_change, true)
  if (mask === 0) return flags === 0 ? device.flags : flags
  return (flags & mask) | (device.flags & ~mask)
}

/** dev_change_flags. */
export function setFlags(stack: IpStack, device: NetDevice, flags: number): Status {
  const before = device.flags
  device.flags = (before & ~FREE_FLAGS) | (flags & FREE_FLAGS)
  const counted = (bit: number) =>
    (device.flags & bit) === (before & bit) ? 0 : (device.flags & bit) !== 0 ? 1 : -1
  device.promiscuity += counted(IFF_PROMISC)
  device.allMulticast += counted(IFF_ALLMULTI)
  if (device.flags !== before) device.filterChanged()
  if (((before ^ flags) & IFF_UP) !== 0) return stack.devices.setUp(device, (flags & IFF_UP) !== 0)
  if (device.flags !== before) stack.listener?.linkChanged(device, false)
  return 0
}

/** Into another namespace, down and without addresses. */
function move(task: Task, device: NetDevice, from: IpStack, to: IpStack, name: string | undefined): Status {
  if (device.isLoopback || device.kind === 'bridge') return -EINVAL
  if (!task.cred.capable(CAP_NET_ADMIN, task.ns.net.userNs)) return -EPERM
  const wanted = name || device.name
  if (!wanted.includes('%') && to.devices.byName(wanted) !== undefined) return -EEXIST
  const { index, name: before } = device
  from.devices.unregister(device)
  device.name = wanted
  // It keeps its index where that is free.
  const status = to.devices.register(device, to.devices.byIndex(index) === undefined ? index : 0)
  if (status === 0) return 0
  device.name = before
  if (from.devices.register(device, index) < 0) device.close()
  return status
}

export function deleteLink(stack: IpStack, request: NetlinkRequest): Status {
  const device = findDevice(stack, request)
  if (typeof device === 'number') return device
  // What no `ip link add` has made can't be deleted: the loopback device, links of the host.
  if (device.kind === '') return -EOPNOTSUPP
  return removeDevice(stack, device)
}

export function removeDevice(stack: IpStack, device: NetDevice): Status {
  if (device.stack !== stack) return -EBUSY
  stack.devices.unregister(device)
  device.close()
  return 0
}
