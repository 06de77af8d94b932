/** /sys/class/net of a namespace that has the kernel's own network: what rtnetlink(7) would tell of its devices. */
import { RTM_NEWLINK } from '../../abi/constants.ts'
import type { NetDeviceFiles, NetDevices } from '../../fs/sys/net.ts'
import type { IpStack } from '../ip-stack.ts'
import { linkFiles } from '../netlink/link-files.ts'
import { MessageWriter } from '../netlink/message.ts'
import { writeLink } from '../netlink/route/link-message.ts'
import { devicesOf } from './links.ts'

export class StackDevices implements NetDevices {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  names(): readonly string[] {
    return devicesOf(this.#stack).map(device => device.name)
  }
  files(name: string): NetDeviceFiles | undefined {
    const device = this.#stack.devices.byName(name)
    if (device === undefined) return undefined
    const writer = new MessageWriter()
    writeLink(writer, this.#stack, device, RTM_NEWLINK, 0, 0, 0)
    return linkFiles(writer.take())
  }
}
