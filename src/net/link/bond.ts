/**
 * BondDevice: several links as one (bonding.rst of Linux). Its slaves join by addPort, which opens them and gives them its address,
 * and leave by removePort, by being unregistered, or with it. What comes in by one of them has come in by the bond.
 *
 * `balance-rr`: packets go out in turn. `active-backup`: by one, until it fails. `balance-xor`: by a hash, so that those of
 * one connection stay together. `broadcast`: by all. Whether a link is there is looked at only with `miimon`, then at once.
 */
import {
  BOND_MODE_ACTIVEBACKUP,
  BOND_MODE_BROADCAST,
  BOND_MODE_ROUNDROBIN,
  BOND_MODE_XOR,
  BOND_XMIT_POLICY_LAYER2,
  ETH_HLEN,
  IFF_BROADCAST,
  IFF_MASTER,
  IFF_MULTICAST,
  IFF_SLAVE,
} from '../../abi/constants.ts'
import { EBUSY, EINVAL, ENETDOWN, EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Packet } from '../packet.ts'
import { flowHash } from '../qdisc/fair-queue.ts'
import { Frame } from '../qdisc/filter.ts'
import { type FrameHandler, NetDevice } from './device.ts'
import { checkNesting } from './nesting.ts'

export class BondSlave {
  readonly device: NetDevice
  readonly permanentAddress: Uint8Array
  /** As far as it is looked at. */
  linkUp = true
  failures = 0
  queue = 0
  priority = 0

  constructor(device: NetDevice) {
    this.device = device
    this.permanentAddress = device.address.slice()
  }
}

export class BondDevice extends NetDevice implements FrameHandler {
  override readonly kind = 'bond'
  readonly slaves: BondSlave[] = []
  mode = BOND_MODE_ROUNDROBIN
  /** ms; 0: links are taken for good. */
  monitor = 0
  hashPolicy = BOND_XMIT_POLICY_LAYER2
  packetsPerSlave = 1
  minLinks = 0
  allActive = false
  /** BOND_PRI_RESELECT_*: 0 always, 1 when better, 2 on failure. */
  reselect = 0
  active: BondSlave | undefined = undefined
  primary: NetDevice | undefined = undefined
  readonly #frame = new Frame()
  #turn = 0

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.flags = IFF_BROADCAST | IFF_MULTICAST | IFF_MASTER
    this.carrier = false
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override get below(): readonly NetDevice[] {
    return this.slaves.map(slave => slave.device)
  }
  slaveOf(device: NetDevice): BondSlave | undefined {
    return this.slaves.find(slave => slave.device === device)
  }

  /** bond_enslave. -EPERM: it is up. */
  override addPort(device: NetDevice): Status {
    const { stack } = this
    if (
      device.isLoopback ||
      device.headerLength !== ETH_HLEN ||
      device.stack !== stack ||
      stack === undefined
    )
      return -EINVAL
    if (device.master !== undefined || device.frameHandler !== undefined) return -EBUSY
    const nesting = checkNesting(this, device)
    if (nesting < 0) return nesting
    if (device.up) return -EPERM
    const slave = new BondSlave(device)
    if (this.slaves.length === 0 && !this.addressSet) stack.devices.setAddress(this, device.address)
    stack.devices.setAddress(device, this.address)
    stack.devices.setMtu(device, this.mtu)
    device.flags |= IFF_SLAVE
    const opened = stack.devices.setUp(device, true)
    if (opened < 0) {
      device.flags &= ~IFF_SLAVE
      return opened
    }
    device.master = this
    device.frameHandler = this
    device.promiscuity += this.promiscuity
    this.slaves.push(slave)
    this.portChanged()
    return 0
  }

  override removePort(device: NetDevice): Status {
    const at = this.slaves.findIndex(slave => slave.device === device)
    if (at < 0) return -EINVAL
    const [slave] = this.slaves.splice(at, 1)
    device.master = undefined
    device.frameHandler = undefined
    device.flags &= ~IFF_SLAVE
    device.promiscuity -= this.promiscuity
    const { stack } = device
    if (stack !== undefined) {
      stack.devices.setUp(device, false)
      stack.devices.setAddress(device, slave.permanentAddress)
    }
    if (this.active === slave) this.active = undefined
    this.portChanged()
    return 0
  }

  /** A slave's link has changed, or what is looked at: bond_select_active_slave. */
  override portChanged(): void {
    for (const slave of this.slaves) {
      const up = this.monitor === 0 || slave.device.running
      if (slave.linkUp && !up) slave.failures++
      slave.linkUp = up
    }
    const usable = this.slaves.filter(slave => slave.linkUp)
    const { stack } = this
    stack?.devices.setCarrier(this, usable.length > 0 && usable.length >= this.minLinks)
    if (this.mode !== BOND_MODE_ACTIVEBACKUP) return
    const primary = usable.find(slave => slave.device === this.primary)
    const stays = this.active !== undefined && usable.includes(this.active)
    const next =
      primary !== undefined && (!stays || this.reselect === 0) ? primary : stays ? this.active : usable[0]
    if (next !== this.active) this.activate(next)
  }

  /** From now on by this one; neighbours are told. */
  activate(slave: BondSlave | undefined): void {
    const before = this.active
    this.active = slave
    const { stack } = this
    if (stack === undefined || slave === undefined || before === undefined || !this.up) return
    for (const entry of stack.addresses.of(this)) if (entry.address.isV4) stack.arp.announce(entry)
  }

  override stopped(): void {
    this.#turn = 0
  }
  override filterChanged(): void {
    for (const { device } of this.slaves) device.filterChanged()
  }
  override close(): void {
    super.close()
    for (const { device } of [...this.slaves]) this.removePort(device)
  }

  override transmit(packet: Packet): Status {
    if (this.mode === BOND_MODE_BROADCAST) return this.#toAll(packet)
    const slave = this.#choose(packet)
    if (slave === undefined) return this.#lost(packet)
    this.countSent(packet.length)
    return slave.device.stack!.transmit(slave.device, packet)
  }

  #choose(packet: Packet): BondSlave | undefined {
    if (this.mode === BOND_MODE_ACTIVEBACKUP) return this.active
    const usable = this.slaves.filter(slave => slave.linkUp && slave.device.up)
    if (usable.length === 0) return undefined
    if (this.mode === BOND_MODE_XOR) return usable[this.#hash(packet) % usable.length]
    const turn = this.#turn++
    if (this.packetsPerSlave === 0) return usable[this.stack!.random.below(usable.length)]
    return usable[Math.floor(turn / this.packetsPerSlave) % usable.length]
  }

  /** bond_xmit_hash: of hardware addresses and the protocol, or of what IP says. */
  #hash(packet: Packet): number {
    const { bytes, start } = packet
    if (this.hashPolicy === BOND_XMIT_POLICY_LAYER2)
      return bytes[start + 5] ^ bytes[start + 11] ^ bytes[start + 12] ^ bytes[start + 13]
    this.#frame.leaving(packet, this, 0)
    return flowHash(this.#frame, 0)
  }

  #toAll(packet: Packet): Status {
    const usable = this.slaves.filter(slave => slave.linkUp && slave.device.up)
    if (usable.length === 0) return this.#lost(packet)
    this.countSent(packet.length)
    const last = usable.pop()!
    for (const { device } of usable) device.stack!.transmit(device, packet.clone())
    return last.device.stack!.transmit(last.device, packet)
  }

  #lost(packet: Packet): Status {
    this.statistics.txDropped++
    packet.release()
    return -ENETDOWN
  }

  /** From a slave. One that is only there in case the active one fails is not listened to. */
  handleFrame(device: NetDevice, packet: Packet): boolean {
    const waits = this.mode === BOND_MODE_ACTIVEBACKUP && this.active?.device !== device && !this.allActive
    if (waits || this.stack === undefined) {
      packet.release()
      return true
    }
    packet.start = packet.link
    packet.network = -1
    this.stack.receive(this, packet)
    return true
  }
}
