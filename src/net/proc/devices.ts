/** /sys/class/net of a namespace that has the kernel's own network: what rtnetlink(7) would tell of its devices. */
import { CAP_NET_ADMIN, IFALIASZ, RTM_NEWLINK } from '../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { NetDeviceFiles, NetDevices } from '../../fs/sys/net.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { IpStack } from '../ip-stack.ts'
import { BridgeDevice } from '../link/bridge.ts'
import { bridgePort } from '../netlink/kinds/bridge-port.ts'
import { linkFiles } from '../netlink/link-files.ts'
import { MessageWriter } from '../netlink/message.ts'
import { setFlags } from '../netlink/route/link.ts'
import { writeLink } from '../netlink/route/link-message.ts'
import { bridgeFiles, portFiles, setBridgeFile, setPortFile } from './bridge-files.ts'
import { devicesOf } from './links.ts'

export class StackDevices implements NetDevices {
  readonly #stack: IpStack
  readonly #ns: NetNamespace

  constructor(stack: IpStack, ns: NetNamespace) {
    this.#stack = stack
    this.#ns = ns
  }

  names(): readonly string[] {
    return devicesOf(this.#stack).map(device => device.name)
  }
  files(name: string): NetDeviceFiles | undefined {
    const device = this.#stack.devices.byOwnName(name)
    if (device === undefined) return undefined
    const writer = new MessageWriter()
    writeLink(writer, this.#stack, device, RTM_NEWLINK, 0, 0, 0)
    const files = linkFiles(writer.take())
    const port = bridgePort(device)
    if (port !== undefined) return { ...files, ...portFiles(...port) }
    return device instanceof BridgeDevice ? { ...files, ...bridgeFiles(device) } : files
  }

  master(name: string): string | undefined {
    return this.#stack.devices.byOwnName(name)?.master?.name
  }
  /** Of those below, only what is in this namespace can be named. */
  below(name: string): readonly string[] {
    const below = this.#stack.devices.byOwnName(name)?.below ?? []
    return below.filter(device => device.stack === this.#stack).map(device => device.name)
  }
  above(name: string): readonly string[] {
    const device = this.#stack.devices.byOwnName(name)
    if (device === undefined) return []
    const above = device.master === undefined ? device.uppers : [...device.uppers, device.master]
    return above.filter(other => other.stack === this.#stack).map(other => other.name)
  }

  set(name: string, file: string, text: string, cred: Credentials): Status {
    if (!cred.capable(CAP_NET_ADMIN, this.#ns.userNs)) return -EPERM
    const device = this.#stack.devices.byOwnName(name)
    if (device === undefined) return -ENODEV
    if (file === 'ifalias') {
      const alias = text.split('\n', 1)[0]
      if (alias.length >= IFALIASZ) return -EINVAL
      device.alias = alias
      return 0
    }
    const value = /^\s*(0x[0-9a-f]+|\d+)\s*$/i.test(text) ? Number(text) : -1
    if (value < 0 || value > 0xffffffff) return -EINVAL
    const port = bridgePort(device)
    if (port !== undefined && file.startsWith('brport/')) return setPortFile(...port, file, value)
    if (device instanceof BridgeDevice && file.startsWith('bridge/'))
      return setBridgeFile(device, file, value)
    if (file === 'mtu') return this.#stack.devices.setMtu(device, value)
    if (file === 'tx_queue_len') device.txQueueLength = value
    else if (file === 'netdev_group') device.group = value
    else if (file === 'flags') return setFlags(this.#stack, device, value)
    else return -EOPNOTSUPP
    return 0
  }
}
