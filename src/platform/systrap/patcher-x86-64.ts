/**
 * Call-site patching (x86-64): a site in file-backed text that traps again and again is made to jump to the stub.
 *
 *   form A   b8 imm32  0f 05              mov $nr,%eax; syscall   the mov becomes a jmp; the syscall stays and still traps
 *   form B   0f 05  48 3d imm32           syscall; cmp $-409x,%rax   all eight bytes go
 *
 * Both jump to a trampoline within 2 GiB that loads the return address into rcx, as the instruction would, and jumps
 * to the stub; form B's returns into the trampoline, which does the comparison and jumps back.
 *
 * The guest knows nothing of trampolines: where an instruction pointer in one is looked at, it is given as that of the
 * site (siteOf). After form B it may point at the overwritten cmp: whenever a thread is resumed there, the sentry
 * does the comparison for it (finishSite).
 *
 * A process that sets GS can't use the stub's fast entry any more: its trampolines are turned to a call instruction, which
 * traps, and no further site is patched (withdraw).
 *
 * While somebody traces the process its text is the original one (suspend); then sites are patched anew as they trap. Whoever
 * is on the way through a trampoline meanwhile comes out behind the restored instructions.
 *
 * Trampolines are written by the sentry into memfd pages that guests map read-execute; a page belongs to one
 * address space and the children that it forked.
 */
import { MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE } from '../../abi/constants.ts'
import { OP_STORE8, OP_SYSCALL } from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { put64 } from '../../base/words.ts'
import { REG_RIP } from '../platform.ts'
import type { SystrapSpace } from './space.ts'
import type { SystrapThread } from './thread.ts'

const PAGE = 4096
/** Bytes of one trampoline: see Trampolines.write. */
const ENTRY = 64
/** Where the address of the stub stands in it: aligned, so that it changes at once. */
const TARGET_A = 24
const TARGET_B = 16
/** Form B's own call instruction, the comparison behind it, and the jump back. */
const CALL = 24
const COMPARE = 26
const BACK = 32
/** jmp rel32 reaches this far, less a page for good measure. */
const REACH = 0x7fff0000
/** Traps at a site before it is patched: a short program's sites are not worth it. */
const WORTH = 3
/** Sites that a space remembers; what a program makes beyond them traps. */
const MOST_SITES = 65536
/** How long another thread may take to stop for a patch, in ns. */
const PATIENCE = 1_000_000
/** The same for a tracer, who must not see patches. */
const PATIENCE_FOR_TRACER = 200_000_000

interface TrampolinePage {
  /** Where the guest sees it. */
  readonly address: number
  /** The site (address behind its syscall instruction) of each entry. */
  readonly sites: number[]
  /** Whether each entry is of form B. */
  readonly compares: boolean[]
  /** So many of them, from the first, are not in use any more: their sites have their own text again. */
  restored: number
  /** Its place in the memfd. */
  readonly page: number
  used: number
}

/** A patched form B: what the overwritten cmp compared with, and where the code goes on. */
interface ComparedSite {
  readonly immediate: number
  readonly next: number
  /** Where its trampoline does the comparison. */
  readonly compare: number
}

export class Patcher {
  readonly #space: SystrapSpace
  /** Traps so far by site (the address behind the syscall instruction); -1 once it is settled. */
  #seen = new Map<number, number>()
  /** By the address of the overwritten cmp. */
  #compared = new Map<number, ComparedSite>()
  #pages: TrampolinePage[] = []
  #lowest = Number.POSITIVE_INFINITY
  #highest = 0
  /** No call comes by a trampoline any more. */
  withdrawn = false
  /** Somebody traces: no site is patched. */
  suspended = false
  /** Text may have been written by others: the file does not tell what is there. */
  textTouched = false

  constructor(space: SystrapSpace) {
    this.#space = space
  }

  /** A call came by SIGSYS; `rip` lies behind its syscall instruction. */
  trapped(thread: SystrapThread, rip: number): void {
    if (!this.#space.platform.patching || this.withdrawn || this.suspended) return
    const seen = this.#seen.get(rip) ?? 0
    if (seen === -1 || (seen === 0 && this.#seen.size >= MOST_SITES)) return
    const times = seen + 1
    // Where others can't be stopped it is tried again, less and less often.
    const due = times === WORTH || (times > WORTH && (times & (times - 1)) === 0)
    this.#seen.set(rip, due && this.#patch(thread, rip) ? -1 : times)
  }

  /** A forked child has its parent's text and trampolines. */
  inherit(parent: Patcher): void {
    this.#seen = new Map(parent.#seen)
    this.#compared = new Map(parent.#compared)
    this.#pages = parent.#pages.map(page => ({
      ...page,
      used: PAGE / ENTRY,
      sites: [...page.sites],
      compares: [...page.compares],
    }))
    this.withdrawn = parent.withdrawn
    this.suspended = parent.suspended
    this.textTouched = parent.textTouched
    this.#lowest = parent.#lowest
    this.#highest = parent.#highest
    for (const page of this.#pages) this.#space.platform.trampolines.share(page.page)
  }

  /**
   * All calls are to trap from now on. Pages are shared with forked processes, for which it costs speed and changes nothing
   * else.
   */
  withdraw(): void {
    if (this.withdrawn) return
    this.withdrawn = true
    const { trampolines } = this.#space.platform
    for (const page of this.#pages) {
      page.sites.forEach((rip, n) => {
        const formB = page.compares[n]!
        const call = formB ? page.address + n * ENTRY + CALL : rip - 2
        trampolines.retarget(page.page, n, formB ? TARGET_B : TARGET_A, call)
      })
    }
  }

  /**
   * Gives all sites their own text again and patches none from now on. `thread` is a stopped one of the process; where others
   * don't stop in time, the next call of this method tries it again.
   */
  suspend(thread: SystrapThread): void {
    if (this.suspended) return
    if (this.#pages.every(page => page.restored === page.sites.length)) {
      this.suspended = true
      return
    }
    const still = this.holdOthers(thread, PATIENCE_FOR_TRACER)
    if (still === undefined) return
    for (const page of this.#pages) {
      for (let n = page.restored; n < page.sites.length; n++) this.#restore(page, n)
      page.restored = page.sites.length
    }
    this.#compared.clear()
    this.suspended = true
    for (const other of still) other.native.release()
  }

  /** Nobody traces any more. */
  resume(): void {
    if (!this.suspended) return
    this.suspended = false
    this.#seen.clear()
  }

  /** Puts back what was overwritten for entry `n`, unless the mapping is another one by now. */
  #restore(page: TrampolinePage, n: number): void {
    const rip = page.sites[n]!
    if (this.#seen.get(rip) !== -1) return
    const immediate = this.#compared.get(rip)?.immediate
    const text = new Uint8Array(immediate === undefined ? 5 : 8)
    if (immediate === undefined) {
      text[0] = 0xb8
      putWord(text, 1, this.#space.platform.trampolines.numberOf(page.page, n))
    } else {
      text.set([0x0f, 0x05, 0x48, 0x3d])
      putWord(text, 4, immediate)
    }
    const at = immediate === undefined ? rip - 7 : rip - 2
    const inPage = PAGE - (at % PAGE)
    this.#space.write(at, text.subarray(0, inPage), true)
    if (inPage < text.length) this.#space.write(at + inPage, text.subarray(inPage), true)
  }

  /** The mapping at [address, address + length) changes: what was known of its sites is void. */
  forget(address: number, length: number): void {
    const end = address + length
    if (end <= this.#lowest || address > this.#highest) return
    for (const site of this.#seen.keys()) if (site >= address && site < end) this.#seen.delete(site)
    for (const site of this.#compared.keys()) if (site >= address && site < end) this.#compared.delete(site)
  }

  /** What the guest is to take for its instruction pointer: that of the site, inside a trampoline. */
  siteOf(ip: number): number {
    for (const page of this.#pages) {
      if (ip < page.address || ip >= page.address + PAGE) continue
      const rip = page.sites[Math.floor((ip - page.address) / ENTRY)]
      if (rip === undefined) return ip
      const offset = (ip - page.address) % ENTRY
      const formB = page.compares[Math.floor((ip - page.address) / ENTRY)]!
      if (formB && offset >= COMPARE) return offset >= BACK ? rip + 6 : rip
      // In front of the call: form A's mov is done or it is not; the call itself is yet to come.
      return !formB && offset < 5 ? rip - 7 : rip - 2
    }
    return ip
  }

  /** Before a thread goes on: if it would start at an overwritten cmp, it is done here. */
  finishSite(thread: SystrapThread): void {
    if (this.#compared.size === 0) return
    const site = this.#compared.get(thread.regs.get(REG_RIP))
    if (site !== undefined) thread.finishCompare(site.immediate, site.next)
  }

  /** The same for a thread that waits first, and whose result is not there yet: the trampoline does it. */
  enterSite(thread: SystrapThread): void {
    if (this.#compared.size === 0) return
    const site = this.#compared.get(thread.regs.get(REG_RIP))
    if (site !== undefined) thread.regs.put(REG_RIP, site.compare)
  }

  release(): void {
    for (const page of this.#pages) this.#space.platform.trampolines.drop(page.page)
    this.#pages.length = 0
  }

  #note(site: number): void {
    this.#lowest = Math.min(this.#lowest, site - 8)
    this.#highest = Math.max(this.#highest, site + 8)
  }

  /** Whether the site is settled: patched, or never to be. */
  #patch(thread: SystrapThread, rip: number): boolean {
    const space = this.#space
    const owner = space.owner
    if (owner === undefined) return false
    if (!owner.isFileText(rip - 7) || !owner.isFileText(rip + 7)) return true
    const start = Math.floor((rip - 7) / 8) * 8
    const text = new Uint8Array(24)
    if (this.#readText(start, text) !== text.length) return true
    const at = rip - start
    const formA = text[at - 7] === 0xb8 && word(text, at - 6) === thread.syscallNumber
    const immediate = text[at] === 0x48 && text[at + 1] === 0x3d ? word(text, at + 2) | 0 : 0
    const formB = !formA && (immediate === -4095 || immediate === -4096)
    if (text[at - 2] !== 0x0f || text[at - 1] !== 0x05 || (!formA && !formB)) return true

    // Others may be running right there. One aligned store is safe for form A, whose instruction starts stay the
    // same; form B needs the others to stand still.
    const jump = formA ? at - 7 : at - 2
    const oneWord = Math.floor(jump / 8) === Math.floor((jump + (formA ? 4 : 7)) / 8)
    const still = formA && oneWord ? [] : this.holdOthers(thread)
    if (still === undefined) return false
    const settled = this.#write(thread, rip, text, start, jump, formB ? immediate : 0, still)
    for (const other of still) other.native.release()
    return settled
  }

  /** Writes trampoline and jump; `immediate` is form B's, 0 for form A. `still`: others that wait, and are held. */
  #write(
    thread: SystrapThread,
    rip: number,
    text: Uint8Array,
    start: number,
    jump: number,
    immediate: number,
    still: readonly SystrapThread[],
  ): boolean {
    const space = this.#space
    const formB = immediate !== 0
    const page = this.#pageNear(rip)
    if (page === undefined) return true
    const trampoline = page.address + page.used * ENTRY
    const platform = space.platform
    if (!formB) platform.trampolines.writeA(page.page, page.used, thread.syscallNumber, rip)
    else platform.trampolines.writeB(page.page, page.used, trampoline + COMPARE, immediate, rip + 6)
    page.used++
    page.sites.push(rip)
    page.compares.push(formB)

    text[jump] = 0xe9
    putWord(text, jump + 1, trampoline - (start + jump + 5))
    if (formB) {
      text[jump + 5] = text[jump + 6] = text[jump + 7] = 0xcc
      this.#compared.set(rip, { immediate, next: rip + 6, compare: trampoline + COMPARE })
    }
    this.#note(rip)
    // Who waits in this very call goes on in the trampoline.
    for (const other of still)
      if (formB && other.native.heldIp === rip) other.native.heldIp = trampoline + COMPARE
    this.#store(thread, start, text, jump, formB ? 8 : 5)
    return true
  }

  /** The words around a site: as the file has them, which costs the guest nothing, unless something near is patched. */
  #readText(start: number, text: Uint8Array): number {
    const { owner } = this.#space
    if (
      owner?.readText !== undefined &&
      !this.textTouched &&
      !this.#patchedNear(start, start + text.length)
    ) {
      return owner.readText(start, text)
    }
    return this.#space.read(start, text)
  }
  #patchedNear(from: number, to: number): boolean {
    for (let rip = from - 8; rip < to + 8; rip++) if (this.#seen.get(rip) === -1) return true
    return false
  }

  /**
   * Has the other threads stand still: those that wait in the host's kernel are held there, and returned; the others are
   * stopped by a kick, which is served after this call. Undefined if one does not stop in time.
   */
  holdOthers(thread: SystrapThread, patience = PATIENCE): SystrapThread[] | undefined {
    const held: SystrapThread[] = []
    for (const other of this.#space.threads) {
      if (other === thread || other.stopped) continue
      if (other.native.hold()) {
        held.push(other)
        continue
      }
      other.kick()
      if (this.#space.platform.addon.awaitStop(other.slot, patience)) continue
      for (const each of held) each.native.release()
      return undefined
    }
    return held
  }

  /** Writes the changed words of text through a moment of write permission. */
  #store(thread: SystrapThread, start: number, text: Uint8Array, from: number, length: number): void {
    const first = Math.floor(from / 8)
    const last = Math.floor((from + length - 1) / 8)
    const page = Math.floor((start + first * 8) / PAGE) * PAGE
    const end = Math.floor((start + last * 8) / PAGE) * PAGE + PAGE
    thread.queue(OP_SYSCALL, NR.mprotect, page, end - page, PROT_READ | PROT_WRITE | PROT_EXEC)
    const view = new DataView(text.buffer)
    for (let at = first; at <= last; at++) {
      // The value goes as two words: 64 bits don't fit a double.
      const n = thread.queue(OP_STORE8, 0, start + at * 8)
      thread.putArgument(n, 1, view.getUint32(at * 8, true), view.getUint32(at * 8 + 4, true))
    }
    thread.queue(OP_SYSCALL, NR.mprotect, page, end - page, PROT_READ | PROT_EXEC)
    // It is done with the reply; where others run, now, so that they find either the old text or the new.
    if (this.#space.threads.size > 1) thread.exchange()
  }

  #pageNear(rip: number): TrampolinePage | undefined {
    for (const page of this.#pages) {
      if (page.used < PAGE / ENTRY && Math.abs(page.address - rip) < REACH) return page
    }
    const space = this.#space
    const address = space.owner!.reserveNear(rip, PAGE, REACH - PAGE)
    if (address < 0) return undefined
    const trampolines = space.platform.trampolines
    const page = trampolines.take()
    if (page === undefined) return undefined
    if (space.map(address, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, trampolines.fd, page * PAGE) < 0) {
      trampolines.drop(page)
      return undefined
    }
    const entry = { address, page, used: 0, sites: [], compares: [], restored: 0 }
    this.#pages.push(entry)
    return entry
  }
}

/** Three bytes of nothing. */
const NOP = [0x0f, 0x1f, 0x00]

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
function putWord(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = (value >> (8 * i)) & 0xff
}

/** The memfd that holds all trampolines of a sandbox. */
export class Trampolines {
  readonly fd: number
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #words: BigUint64Array
  readonly #target: number
  readonly #users: Uint32Array
  #next = 0
  readonly #free: number[] = []

  /** `target`: the stub's entry. */
  constructor(fd: number, memory: ArrayBuffer, target: number) {
    this.fd = fd
    this.#bytes = new Uint8Array(memory)
    this.#view = new DataView(memory)
    this.#words = new BigUint64Array(memory)
    this.#target = target
    this.#users = new Uint32Array(memory.byteLength / PAGE)
  }

  take(): number | undefined {
    const page = this.#free.pop() ?? (this.#next < this.#users.length ? this.#next++ : undefined)
    if (page !== undefined) this.#users[page] = 1
    return page
  }
  share(page: number): void {
    this.#users[page]!++
  }
  drop(page: number): void {
    if (--this.#users[page]! === 0) this.#free.push(page)
  }

  /** Form A, entry `n` of a page: mov $nr,%eax; movabs $returnTo,%rcx; nop; jmp stub. */
  writeA(page: number, n: number, nr: number, returnTo: number): void {
    const at = page * PAGE + n * ENTRY
    this.#bytes[at] = 0xb8
    this.#view.setUint32(at + 1, nr, true)
    this.#loadRcx(at + 5, returnTo)
    this.#bytes.set(NOP, at + 15)
    this.#jump(at + TARGET_A - 6, this.#target)
  }

  /** The call's number of entry `n`, of form A. */
  numberOf(page: number, n: number): number {
    return this.#view.getUint32(page * PAGE + n * ENTRY + 1, true)
  }

  /** Form B: movabs $compare,%rcx; jmp stub; syscall; compare: cmp $immediate,%rax; jmp *next. */
  writeB(page: number, n: number, compare: number, immediate: number, next: number): void {
    const at = page * PAGE + n * ENTRY
    this.#loadRcx(at, compare)
    this.#jump(at + TARGET_B - 6, this.#target)
    this.#bytes[at + CALL] = 0x0f
    this.#bytes[at + CALL + 1] = 0x05
    this.#bytes[at + COMPARE] = 0x48
    this.#bytes[at + COMPARE + 1] = 0x3d
    this.#view.setInt32(at + COMPARE + 2, immediate, true)
    this.#jump(at + BACK, next)
  }

  /** Where a trampoline jumps to, changed in one store, since others may be executing it. */
  retarget(page: number, n: number, offset: number, target: number): void {
    this.#words[(page * PAGE + n * ENTRY + offset) / 8] = BigInt(target)
  }

  #loadRcx(at: number, value: number): void {
    this.#bytes[at] = 0x48
    this.#bytes[at + 1] = 0xb9
    this.#put64(at + 2, value)
  }
  /** jmp *0(%rip) and the address behind it: 14 bytes. */
  #jump(at: number, target: number): void {
    this.#bytes[at] = 0xff
    this.#bytes[at + 1] = 0x25
    this.#view.setUint32(at + 2, 0, true)
    this.#put64(at + 6, target)
  }
  #put64(at: number, value: number): void {
    put64(this.#view, at, value)
  }
}
