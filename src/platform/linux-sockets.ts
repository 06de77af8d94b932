/** The HostSockets that are a Linux system's, through the native addon. */
import { MSG_DONTWAIT, MSG_NOSIGNAL } from '../abi/constants.ts'
import type { SocketAddon } from './addon.ts'
import type { HostMessage, HostSockets } from './host-sockets.ts'

/** sizeof(struct sockaddr_storage) */
const MAX_ADDRESS = 128
/** More than all control messages that a socket can be told to receive at once. */
const MAX_CONTROL = 4096
const NOTHING = new Uint8Array(0)
const UNNEEDED = MSG_DONTWAIT | MSG_NOSIGNAL

export class LinuxSockets implements HostSockets {
  readonly #addon: SocketAddon
  readonly message: HostMessage = { address: NOTHING, control: NOTHING, flags: 0 }
  readonly #address = new Uint8Array(MAX_ADDRESS)
  readonly #control = new Uint8Array(MAX_CONTROL)
  readonly #out = new Int32Array(3)

  constructor(addon: SocketAddon) {
    this.#addon = addon
  }

  open(family: number, type: number, protocol: number): number {
    return this.#addon.makeSocket(family, type, protocol)
  }
  close(fd: number): number {
    return this.#addon.close(fd)
  }
  bind(fd: number, address: Uint8Array): number {
    return this.#addon.bindSocket(fd, address)
  }
  connect(fd: number, address: Uint8Array): number {
    return this.#addon.connectSocket(fd, address)
  }
  listen(fd: number, backlog: number): number {
    return this.#addon.listenSocket(fd, backlog)
  }
  accept(fd: number, peer?: Uint8Array): number {
    return this.#addon.acceptSocket(fd, peer)
  }
  shutdown(fd: number, how: number): number {
    return this.#addon.shutdownSocket(fd, how)
  }

  name(fd: number, peer: boolean): Uint8Array | number {
    const length = this.#addon.socketName(fd, peer ? 1 : 0, this.#address)
    return length < 0 ? length : this.#address.slice(0, length)
  }

  getOption(fd: number, level: number, name: number, length: number): Uint8Array | number {
    const value = new Uint8Array(length)
    const used = this.#addon.getSocketOption(fd, level, name, value)
    return used < 0 ? used : value.subarray(0, used)
  }
  setOption(fd: number, level: number, name: number, value: Uint8Array): number {
    return this.#addon.setSocketOption(fd, level, name, value)
  }

  send(
    fd: number,
    bytes: Uint8Array,
    flags: number,
    address: Uint8Array | undefined,
    control: Uint8Array | undefined,
  ): number {
    return this.#addon.sendMessage(fd, bytes, flags | UNNEEDED, address, control)
  }

  receive(fd: number, into: Uint8Array, flags: number, details: boolean): number {
    const out = this.#out
    const address = details ? this.#address : undefined
    const control = details ? this.#control : undefined
    const count = this.#addon.receiveMessage(fd, into, flags | MSG_DONTWAIT, address, control, out)
    if (count < 0 || !details) return count
    this.message.address = out[0] === 0 ? NOTHING : this.#address.slice(0, out[0])
    this.message.control = out[1] === 0 ? NOTHING : this.#control.subarray(0, out[1])
    this.message.flags = out[2]
    return count
  }

  ioctl(fd: number, request: number, argument: Uint8Array): number {
    return this.#addon.ioctl(fd, request, argument)
  }
  interfaces(fd: number, into: Uint8Array): number {
    return this.#addon.interfaceList(fd, into)
  }
}
