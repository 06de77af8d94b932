/** The HostLinks that are a Linux system's, through the native addon. */
import type { LinkAddon } from './addon.ts'
import type { HostLinks } from './host-links.ts'

export class LinuxLinks implements HostLinks {
  readonly #addon: LinkAddon

  constructor(addon: LinkAddon) {
    this.#addon = addon
  }

  receive(fd: number, buffers: readonly Uint8Array[], offset: number, lengths: Int32Array): number {
    return this.#addon.linkReceive(fd, buffers, offset, lengths)
  }
  readAhead(fd: number, buffers: readonly Uint8Array[], offset: number): boolean {
    return this.#addon.linkReadAhead(fd, buffers, offset)
  }
  collect(lengths: Int32Array): number {
    return this.#addon.linkCollect(lengths)
  }
  send(fd: number, bytes: Uint8Array, start: number, end: number): number {
    return this.#addon.linkSend(fd, bytes, start, end)
  }
}
