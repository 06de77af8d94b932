/** ioctl(2) of /dev/net/tun: which device a file is a queue of, and how that is. */
import {
  CAP_NET_ADMIN,
  IFF_ATTACH_QUEUE,
  IFF_DETACH_QUEUE,
  IFF_MULTI_QUEUE,
  IFF_NAPI,
  IFF_NAPI_FRAGS,
  IFF_NO_CARRIER,
  IFF_NO_PI,
  IFF_NOFILTER,
  IFF_ONE_QUEUE,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  SIOCGIFHWADDR,
  SIOCSIFHWADDR,
  TUN_F_CSUM,
  TUN_F_TSO_ECN,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_UFO,
  TUN_F_USO4,
  TUN_F_USO6,
  TUNGETFEATURES,
  TUNGETIFF,
  TUNGETSNDBUF,
  TUNGETVNETHDRSZ,
  TUNGETVNETLE,
  TUNSETCARRIER,
  TUNSETGROUP,
  TUNSETIFF,
  TUNSETIFINDEX,
  TUNSETLINK,
  TUNSETNOCSUM,
  TUNSETOFFLOAD,
  TUNSETOWNER,
  TUNSETPERSIST,
  TUNSETQUEUE,
  TUNSETSNDBUF,
  TUNSETVNETHDRSZ,
  TUNSETVNETLE,
} from '../../abi/constants.ts'
import { E2BIG, EBADFD, EBUSY, EEXIST, EFAULT, EINVAL, EPERM } from '../../abi/errno.ts'
import { IFREQ } from '../../abi/layout.ts'
import { toBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import { INVALID_ID, toKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { IFNAMSIZ, interfaceName } from '../interface-requests.ts'
import { makeTun, TunDevice } from './tun-device.ts'
import type { TunFile } from './tun-file.ts'

const SOCKADDR_DATA = 2
const ETH_ALEN = 6
const MAX_QUEUES = 256
/** sizeof(struct virtio_net_hdr), and more than any version of it has. */
const LEAST_HEADER = 10
const LARGEST_HEADER = 128
const TYPES = IFF_TUN | IFF_TAP
const FEATURES = IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NAPI | IFF_NAPI_FRAGS

export function tunIoctl(file: TunFile, context: IoctlContext, request: number, argument: number): number {
  if (request === TUNGETFEATURES) return putNumber(context, argument, TYPES | IFF_NO_CARRIER | FEATURES)
  if (request === TUNSETIFF) return setInterface(file, context, argument)
  if (request === TUNSETQUEUE) return setQueue(file, context, argument)
  if (request === TUNSETIFINDEX) {
    if (file.device !== undefined) return -EPERM
    const index = getNumber(context, argument)
    if (index === undefined) return -EFAULT
    if (index < 0) return -EINVAL
    file.wantedIndex = index
    return 0
  }
  const { device } = file
  if (device === undefined) return -EBADFD
  if (request === TUNGETIFF) return getInterface(file, device, context, argument)
  return deviceIoctl(device, context, request, argument)
}

/** tun_set_iff: attaches the file to the device of this name, which is made if there is none. */
function setInterface(file: TunFile, context: IoctlContext, argument: number): number {
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  if (file.device !== undefined) return -EEXIST
  const view = new DataView(record.buffer)
  const name = interfaceName(record)
  const flags = view.getUint16(IFREQ.ifr_flags, true)
  const device = attach(file, name, flags, context.cred)
  if (typeof device === 'number') return device
  record.fill(0, 0, IFNAMSIZ)
  record.set(toBytes(device.name))
  return context.copyOut(argument, record)
}

function attach(file: TunFile, name: string, flags: number, cred: Credentials): TunDevice | Status {
  const { stack, ns } = file
  const administers = cred.capable(CAP_NET_ADMIN, ns.userNs)
  if ((flags & IFF_NAPI_FRAGS) !== 0) {
    if (!administers) return -EPERM
    if ((flags & IFF_NAPI) === 0 || (flags & TYPES) !== IFF_TAP) return -EINVAL
  }
  let device: TunDevice
  const found = stack.devices.byName(name)
  if (found !== undefined) {
    if ((flags & IFF_TUN_EXCL) !== 0) return -EBUSY
    if (!(found instanceof TunDevice) || (flags & found.mode & TYPES) === 0) return -EINVAL
    if ((flags & IFF_MULTI_QUEUE) !== (found.mode & IFF_MULTI_QUEUE)) return -EINVAL
    if (!administers && !mayAttach(found, cred)) return -EPERM
    if (!found.multiQueue && found.queues.length > 0) return -EBUSY
    if (found.fileCount >= MAX_QUEUES) return -E2BIG
    if (found.fileCount === 0) {
      found.mode = (found.mode & ~FEATURES) | (flags & FEATURES)
      // Whoever was behind it before could take more, perhaps.
      found.features = { ...found.features, checksum: false, segmentation: false, udpSegmentation: false }
    }
    device = found
  } else {
    if (!administers) return -EPERM
    const type = (flags & IFF_TUN) !== 0 ? IFF_TUN : flags & IFF_TAP
    const made = makeTun(stack, name, type | (flags & FEATURES), file.wantedIndex)
    if (typeof made === 'number') return made
    device = made
  }
  device.queues.push(file)
  file.device = device
  stack.devices.setCarrier(device, (flags & IFF_NO_CARRIER) === 0)
  return device
}

/** tun_not_capable: without an owner and a group, everybody who was let in so far. */
function mayAttach({ owner, ownerGroup }: TunDevice, cred: Credentials): boolean {
  return (
    (owner === INVALID_ID || cred.euid === owner) && (ownerGroup === INVALID_ID || cred.inGroup(ownerGroup))
  )
}

/** IFF_ATTACH_QUEUE and IFF_DETACH_QUEUE: whether the device sends by this file. */
function setQueue(file: TunFile, context: IoctlContext, argument: number): number {
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const flags = new DataView(record.buffer).getUint16(IFREQ.ifr_flags, true)
  const { device } = file
  if (device === undefined) return -EINVAL
  const away = device.detached.has(file)
  if ((flags & IFF_ATTACH_QUEUE) !== 0) {
    if (!away) return -EINVAL
    if (!context.cred.capable(CAP_NET_ADMIN, file.ns.userNs) && !mayAttach(device, context.cred))
      return -EPERM
    device.detached.delete(file)
    device.queues.push(file)
    return 0
  }
  if ((flags & IFF_DETACH_QUEUE) === 0 || !device.multiQueue || away) return -EINVAL
  device.queues.splice(device.queues.indexOf(file), 1)
  device.detached.add(file)
  return 0
}

function getInterface(file: TunFile, device: TunDevice, context: IoctlContext, argument: number): number {
  const record = new Uint8Array(IFREQ.size)
  record.set(toBytes(device.name))
  const detached = device.detached.has(file) ? IFF_DETACH_QUEUE : 0
  // There are no filters (TUNATTACHFILTER).
  new DataView(record.buffer).setUint16(IFREQ.ifr_flags, device.shownMode | detached | IFF_NOFILTER, true)
  return context.copyOut(argument, record)
}

function deviceIoctl(device: TunDevice, context: IoctlContext, request: number, argument: number): number {
  switch (request) {
    case TUNSETNOCSUM:
      return 0
    case TUNSETPERSIST:
      device.mode = argument !== 0 ? device.mode | IFF_PERSIST : device.mode & ~IFF_PERSIST
      return 0
    case TUNSETOWNER:
      return setId(context.cred.userNs.uidMap, argument, id => (device.owner = id))
    case TUNSETGROUP:
      return setId(context.cred.userNs.gidMap, argument, id => (device.ownerGroup = id))
    case TUNSETLINK:
      if (device.up) return -EBUSY
      device.type = argument & 0xffff
      return 0
    case TUNSETOFFLOAD:
      return setOffloads(device, argument)
    case TUNGETSNDBUF:
      return putNumber(context, argument, device.sendBuffer)
    case TUNSETSNDBUF: {
      const size = getNumber(context, argument)
      if (size === undefined) return -EFAULT
      if (size <= 0) return -EINVAL
      device.sendBuffer = size
      return 0
    }
    case TUNGETVNETHDRSZ:
      return putNumber(context, argument, device.offloadHeader)
    case TUNSETVNETHDRSZ: {
      const size = getNumber(context, argument)
      if (size === undefined) return -EFAULT
      if (size < LEAST_HEADER || size > LARGEST_HEADER) return -EINVAL
      device.offloadHeader = size
      return 0
    }
    // The header is in the machine's order, which is that one.
    case TUNGETVNETLE:
      return putNumber(context, argument, 0)
    case TUNSETVNETLE:
      return getNumber(context, argument) === undefined ? -EFAULT : 0
    case TUNSETCARRIER: {
      const carrier = getNumber(context, argument)
      if (carrier === undefined) return -EFAULT
      device.stack?.devices.setCarrier(device, carrier !== 0)
      return 0
    }
    case SIOCGIFHWADDR:
    case SIOCSIFHWADDR:
      return hardwareAddress(device, context, request, argument)
    default:
      return -EINVAL
  }
}

function setId(map: Parameters<typeof toKernelId>[0], argument: number, set: (id: number) => void): Status {
  const id = argument >>> 0
  const kernelId = toKernelId(map, id)
  if (kernelId === INVALID_ID) return -EINVAL
  set(kernelId)
  return 0
}

/** What the program behind it can take: packets to be split, and checksums that aren't complete. */
function setOffloads(device: TunDevice, wanted: number): Status {
  const TSO = TUN_F_TSO4 | TUN_F_TSO6
  const USO = TUN_F_USO4 | TUN_F_USO6
  const all = (bits: number) => (wanted & bits) === bits
  // What can be had: nothing without the checksum, ECN with TSO, one of the USOs with the other.
  let known = 0
  if (all(TUN_F_CSUM)) known = TUN_F_CSUM | TSO | TUN_F_UFO
  if (known !== 0 && (wanted & TSO) !== 0) known |= TUN_F_TSO_ECN
  if (known !== 0 && all(USO)) known |= USO
  if (wanted > 0xff || (wanted & ~known) !== 0) return -EINVAL
  // Without the header there is no way to tell.
  const told = (device.mode & IFF_VNET_HDR) !== 0
  device.features = {
    checksum: told && all(TUN_F_CSUM),
    segmentation: told && all(TSO),
    udpSegmentation: told && all(USO),
    gsoMaxSize: 65536,
  }
  return 0
}

/** By struct ifreq; a tun has no address. */
function hardwareAddress(
  device: TunDevice,
  context: IoctlContext,
  request: number,
  argument: number,
): number {
  const record = new Uint8Array(IFREQ.size)
  if (request === SIOCSIFHWADDR) {
    if (context.copyIn(argument, record) < 0) return -EFAULT
    const at = IFREQ.ifr_hwaddr + SOCKADDR_DATA
    const { stack } = device
    if (!device.isTap || stack === undefined) return -EINVAL
    return stack.devices.setAddress(device, record.slice(at, at + ETH_ALEN))
  }
  record.set(toBytes(device.name))
  new DataView(record.buffer).setUint16(IFREQ.ifr_hwaddr, device.type, true)
  if (device.isTap) record.set(device.address, IFREQ.ifr_hwaddr + SOCKADDR_DATA)
  return context.copyOut(argument, record)
}

function getNumber(context: IoctlContext, address: number): number | undefined {
  const bytes = new Uint8Array(4)
  return context.copyIn(address, bytes) < 0 ? undefined : new DataView(bytes.buffer).getInt32(0, true)
}

function putNumber(context: IoctlContext, address: number, value: number): number {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, value, true)
  return context.copyOut(address, bytes)
}
