/**
 * An AddressSpace of plain JavaScript for unit tests: pages in a Map, each with its protection and its bytes. It is
 * strict about what the mm owes the host (page borders, MAP_FIXED) and has none of the host's file mappings: a
 * mapped descriptor is looked up in `files`.
 */
import {
  MADV_DONTNEED,
  MADV_GUARD_INSTALL,
  MAP_FIXED,
  MAP_SHARED,
  MAP_TYPE,
  MREMAP_DONTUNMAP,
  PROT_READ,
  PROT_WRITE,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, ENOMEM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { AddressSpace, SpaceOwner } from '../platform/platform.ts'

const PAGE = 4096

interface Page {
  prot: number
  bytes: Uint8Array
  shared: boolean
  touched: boolean
}

export class FakeSpace implements AddressSpace {
  owner: SpaceOwner | undefined = undefined
  alive = true
  readonly pages = new Map<number, Page>()
  /** What a descriptor's mapping shows. */
  readonly files = new Map<number, Uint8Array>()
  /** The result of the next `map`, if not 0. */
  failNextMap = 0

  read(address: number, into: Uint8Array): number {
    return this.#copy(address, into.length, PROT_READ, (bytes, from, at, n) => {
      into.set(bytes.subarray(from, from + n), at)
    })
  }
  write(address: number, source: Uint8Array, force = false): number {
    return this.#copy(address, source.length, force ? 0 : PROT_WRITE, (bytes, from, at, n) => {
      bytes.set(source.subarray(at, at + n), from)
    })
  }
  map(address: number, length: number, prot: number, flags: number, hostFd: number, offset: number): Status {
    if (!bordered(address, length) || (flags & MAP_FIXED) === 0 || offset % PAGE !== 0) return -EINVAL
    if (this.failNextMap !== 0) {
      const failure = this.failNextMap
      this.failNextMap = 0
      return failure
    }
    const file = hostFd >= 0 ? this.files.get(hostFd) : undefined
    for (let at = 0; at < length; at += PAGE) {
      const bytes = new Uint8Array(PAGE)
      if (file !== undefined) bytes.set(file.subarray(offset + at, offset + at + PAGE))
      const shared = (flags & MAP_TYPE) === MAP_SHARED
      this.pages.set(address + at, { prot, bytes, shared, touched: file !== undefined })
    }
    return 0
  }
  unmap(address: number, length: number): Status {
    if (!bordered(address, length)) return -EINVAL
    for (let at = address; at < address + length; at += PAGE) this.pages.delete(at)
    return 0
  }
  protect(address: number, length: number, prot: number): Status {
    if (!bordered(address, length)) return -EINVAL
    for (let at = address; at < address + length; at += PAGE) {
      const page = this.pages.get(at)
      if (page === undefined) return -ENOMEM
      page.prot = prot
    }
    return 0
  }
  remap(address: number, oldLength: number, newLength: number, flags: number, newAddress: number): Status {
    const target = newAddress === 0 ? address : newAddress
    const moved: Page[] = []
    const first = this.pages.get(address)
    if (first === undefined || !bordered(target, newLength)) return -EFAULT
    for (let at = 0; at < oldLength; at += PAGE) {
      const page = this.pages.get(address + at)
      if (page === undefined) return -EFAULT
      moved.push(page)
      if ((flags & MREMAP_DONTUNMAP) !== 0) this.pages.set(address + at, fresh(page))
      else this.pages.delete(address + at)
    }
    for (let at = 0; at < newLength; at += PAGE) this.pages.set(target + at, moved[at / PAGE] ?? fresh(first))
    return 0
  }
  advise(address: number, length: number, advice: number): Status {
    for (let at = address; at < address + length; at += PAGE) {
      const page = this.pages.get(at)
      if (page === undefined) return -ENOMEM
      if ((advice === MADV_DONTNEED || advice === MADV_GUARD_INSTALL) && !page.shared) {
        page.bytes.fill(0)
        page.touched = false
      }
    }
    return 0
  }
  fill(address: number, bytes: Uint8Array, prot: number): Status {
    this.protect(address, bytes.length, PROT_READ | PROT_WRITE)
    this.write(address, bytes)
    return this.protect(address, bytes.length, prot)
  }
  incore(address: number, length: number, into: Uint8Array): Status {
    for (let at = 0; at < length; at += PAGE) {
      const page = this.pages.get(address + at)
      if (page === undefined) return -ENOMEM
      into[at / PAGE] = page.touched ? 1 : 0
    }
    return 0
  }
  lock(): Status {
    return 0
  }
  unlock(): Status {
    return 0
  }
  readFile(hostFd: number, offset: number, address: number, length: number): number {
    return this.write(address, this.files.get(hostFd)!.subarray(offset, offset + length))
  }
  writeFile(hostFd: number, offset: number, address: number, length: number): number {
    return this.read(address, this.files.get(hostFd)!.subarray(offset, offset + length))
  }
  residentPages(): number {
    return [...this.pages.values()].filter(page => page.touched).length
  }
  destroy(): void {
    this.alive = false
    this.pages.clear()
  }

  #copy(
    address: number,
    length: number,
    access: number,
    move: (bytes: Uint8Array, from: number, at: number, n: number) => void,
  ): number {
    let done = 0
    while (done < length) {
      const from = (address + done) % PAGE
      const page = this.pages.get(address + done - from)
      if (page === undefined || (page.prot & access) !== access) break
      const n = Math.min(PAGE - from, length - done)
      page.touched = true
      move(page.bytes, from, done, n)
      done += n
    }
    return done === 0 && length > 0 ? -EFAULT : done
  }
}

function fresh(like: Page): Page {
  return { prot: like.prot, bytes: new Uint8Array(PAGE), shared: like.shared, touched: false }
}

function bordered(address: number, length: number): boolean {
  return address % PAGE === 0 && length % PAGE === 0 && length > 0
}
