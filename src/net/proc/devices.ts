/** /sys/class/net of a namespace that has the kernel's own network: what rtnetlink(7) would tell of its devices. */
import { CAP_NET_ADMIN, IFALIASZ, RTM_NEWLINK } from '../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { NetDeviceFiles, NetDevices } from '../../fs/sys/net.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { IpStack } from '../ip-stack.ts'
import { linkFiles } from '../netlink/link-files.ts'
import { MessageWriter } from '../netlink/message.ts'
import { setFlags } from '../netlink/route/link.ts'
import { writeLink } from '../netlink/route/link-message.ts'
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
    return linkFiles(writer.take())
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
    if (file === 'mtu') return this.#stack.devices.setMtu(device, value)
    if (file === 'tx_queue_len') device.txQueueLength = value
    else if (file === 'netdev_group') device.group = value
    else if (file === 'flags') return setFlags(this.#stack, device, value)
    else return -EOPNOTSUPP
    return 0
  }
}
