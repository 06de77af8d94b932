/** DeviceTable: the interfaces of one stack, by index and by name, and the changes that can be made to them. */
import { ETH_ALEN, IFF_UP } from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, ENFILE, ENOENT } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

/** A namespace's guest can't fill the sentry's memory with interfaces. */
const MAX_DEVICES = 4096
const IFNAMSIZ = 16

export class DeviceTable {
  readonly #stack: IpStack
  readonly #byIndex = new Map<number, NetDevice>()
  readonly #byName = new Map<string, NetDevice>()
  #nextIndex = 1

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  get all(): IterableIterator<NetDevice> {
    return this.#byIndex.values()
  }
  get count(): number {
    return this.#byIndex.size
  }
  byIndex(index: number): NetDevice | undefined {
    return this.#byIndex.get(index)
  }
  /** By its name or one of its alternative ones. */
  byName(name: string): NetDevice | undefined {
    return this.#byName.get(name)
  }
  /** By the name that it goes by: in /proc and /sys. */
  byOwnName(name: string): NetDevice | undefined {
    const device = this.#byName.get(name)
    return device?.name === name ? device : undefined
  }

  /**
   * Takes a device in, down. A name with `%d` gets the first free number. `index`: the one it should have, 0 for the next.
   * -EEXIST, -EINVAL (name), -EBUSY (index), -ENFILE.
   */
  register(device: NetDevice, index = 0): Status {
    if (device.stack !== undefined) throw new Error('device is registered already')
    if (this.#byIndex.size >= MAX_DEVICES) return -ENFILE
    const name = this.#freeName(device.name)
    if (typeof name === 'number') return name
    if (index !== 0 && this.#byIndex.has(index)) return -EBUSY
    for (const other of device.alternativeNames) if (this.#byName.has(other)) return -EEXIST
    device.name = name
    device.index = index || this.#freeIndex()
    device.flags &= ~IFF_UP
    device.stack = this.#stack
    this.#byIndex.set(device.index, device)
    this.#byName.set(device.name, device)
    for (const other of device.alternativeNames) this.#byName.set(other, device)
    this.#stack.deviceAdded(device)
    return 0
  }

  /** Takes it out, with all that hangs on it. Its maker may register it with another stack, or close it. */
  unregister(device: NetDevice): void {
    if (device.stack !== this.#stack) return
    if (device.up) this.setUp(device, false)
    this.#stack.deviceRemoved(device)
    this.#byIndex.delete(device.index)
    this.#byName.delete(device.name)
    for (const other of device.alternativeNames) this.#byName.delete(other)
    device.stack = undefined
    device.index = 0
    device.wasUp = false
  }

  setUp(device: NetDevice, up: boolean): Status {
    if (device.up === up) return 0
    if (up) {
      const status = device.opened()
      if (status < 0) return status
      device.flags |= IFF_UP
      device.wasUp = true
      this.#stack.deviceUp(device)
    } else {
      device.flags &= ~IFF_UP
      this.#stack.deviceDown(device)
      device.stopped()
    }
    this.#stack.listener?.linkChanged(device, false)
    device.master?.portChanged()
    for (const upper of device.uppers) upper.lowerChanged()
    return 0
  }

  /** The cable was put in or pulled out. Routes stay, as Linux's do. */
  setCarrier(device: NetDevice, carrier: boolean): void {
    if (device.carrier === carrier) return
    device.carrier = carrier
    if (device.stack !== this.#stack) return
    this.#stack.generation++
    this.#stack.listener?.linkChanged(device, false)
    if (carrier && device.up) this.#stack.carrierOn(device)
    device.master?.portChanged()
    for (const upper of device.uppers) upper.lowerChanged()
  }

  setMtu(device: NetDevice, mtu: number): Status {
    const status = device.checkMtu(mtu)
    if (status < 0 || device.mtu === mtu) return status
    device.mtu = mtu
    this.#stack.mtuChanged(device)
    this.#stack.listener?.linkChanged(device, false)
    for (const upper of device.uppers) upper.lowerChanged()
    return 0
  }

  rename(device: NetDevice, name: string): Status {
    if (name === device.name) return 0
    const free = this.#freeName(name)
    if (typeof free === 'number') return free
    this.#byName.delete(device.name)
    device.name = free
    this.#byName.set(free, device)
    this.#stack.listener?.linkChanged(device, false)
    return 0
  }

  addName(device: NetDevice, name: string): Status {
    if (this.#byName.has(name)) return -EEXIST
    device.alternativeNames.push(name)
    this.#byName.set(name, device)
    return 0
  }
  removeName(device: NetDevice, name: string): Status {
    if (!this.#byName.has(name)) return -ENOENT
    const at = device.alternativeNames.indexOf(name)
    if (at < 0) return -EINVAL
    device.alternativeNames.splice(at, 1)
    this.#byName.delete(name)
    return 0
  }

  /** The MAC address. */
  setAddress(device: NetDevice, address: Uint8Array): Status {
    if (address.length !== ETH_ALEN) return -EINVAL
    if ((address[0] & 1) !== 0 || address.every(byte => byte === 0)) return -EADDRNOTAVAIL
    device.address = address.slice()
    this.#stack.hardwareAddressChanged(device)
    this.#stack.listener?.linkChanged(device, false)
    return 0
  }

  #freeIndex(): number {
    while (this.#byIndex.has(this.#nextIndex)) this.#nextIndex++
    return this.#nextIndex++
  }

  #freeName(name: string): string | number {
    if (name.includes('%')) {
      const at = name.indexOf('%d')
      if (at < 0 || name.includes('%', at + 1)) return -EINVAL
      for (let i = 0; i <= MAX_DEVICES; i++) {
        const candidate = name.slice(0, at) + i + name.slice(at + 2)
        if (!this.#byName.has(candidate)) return validName(candidate) ? candidate : -EINVAL
      }
      return -ENFILE
    }
    if (!validName(name)) return -EINVAL
    return this.#byName.has(name) ? -EEXIST : name
  }
}

/** dev_valid_name: no path part, no white space. */
function validName(name: string): boolean {
  return name !== '' && name.length < IFNAMSIZ && name !== '.' && name !== '..' && !/[\s/:]/.test(name)
}
