/**
 * TrafficControl: the qdiscs of one device, which hold and order what it sends, and the filters at its ends. Made when the first
 * is set (`trafficOf`), taken away with the last, or when the device leaves its namespace: a device without one sends at once.
 */
import {
  TC_ACT_QUEUED,
  TC_ACT_SHOT,
  TC_ACT_STOLEN,
  TC_ACT_TRAP,
  TC_H_INGRESS,
  TC_H_ROOT,
} from '../../abi/constants.ts'
import { ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { NetRuntime } from '../ip/runtime.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { FilterBlock } from './filter.ts'
import type { IngressQdisc } from './ingress.ts'
import { isClassful, MAX_QUEUES, major, type Qdisc } from './qdisc.ts'
import type { Redirected } from './redirected.ts'

/** ns that a timer may have been late. */
const MOST_LATE = 50e6
/**
 * Packets and steps in time of one run; the rest waits for the next turn of the kernel's loop: what is sent may come back
 * without end, and a bucket may always be short of a nanosecond.
 */
const BUDGET = 4096

export class TrafficControl implements Expiry {
  readonly device: NetDevice
  readonly stack: IpStack
  root: Qdisc | undefined = undefined
  clsact: IngressQdisc | undefined = undefined
  readonly fromHere: Redirected
  readonly toHere: Redirected
  readonly #timer = new Timer(this)
  #due = Number.POSITIVE_INFINITY
  #running = false
  /** How many qdiscs and classes the kernel's room has been told of. */
  #settled = 0

  constructor(device: NetDevice, stack: IpStack) {
    this.device = device
    this.stack = stack
    this.fromHere = { device, ingress: false }
    this.toHere = { device, ingress: true }
  }

  get runtime(): NetRuntime {
    return this.stack.runtime
  }

  /** The device is to send a whole frame. */
  send(packet: Packet): Status {
    const { clsact, device, stack } = this
    if (clsact !== undefined && !clsact.outgoing.empty) {
      const { frame } = stack.traffic
      frame.leaving(packet, device, stack.runtime.now())
      const verdict = this.#judge(clsact.outgoing, packet)
      if (verdict < 0) return verdict
      if (verdict > 0) return 0
    }
    return this.enqueue(packet)
  }

  /** The same, past the filters. */
  enqueue(packet: Packet): Status {
    const { root, device, stack } = this
    if (root === undefined || root.kind === 'noqueue') return device.sendNow(packet)
    const taken = root.enqueue(packet, stack.runtime.now())
    this.run()
    return taken ? 0 : -ENOBUFS
  }

  /** A packet has come, its link header pulled. True: it goes no further, and is somebody else's. */
  arrives(packet: Packet): boolean {
    const { clsact, device, stack } = this
    if (clsact === undefined) return false
    clsact.statistics.sent(packet)
    if (clsact.incoming.empty) return false
    stack.traffic.frame.arriving(packet, device, stack.runtime.now())
    return this.#judge(clsact.incoming, packet) !== 0
  }

  /** 0: it goes on. 1: it was taken. -ENOBUFS: dropped. */
  #judge(filters: FilterBlock, packet: Packet): Status {
    switch (filters.classify(this.stack.traffic.frame)) {
      case TC_ACT_SHOT:
        this.clsact!.statistics.drops++
        packet.release()
        return -ENOBUFS
      case TC_ACT_TRAP:
        packet.release()
        return 1
      case TC_ACT_STOLEN:
      case TC_ACT_QUEUED:
        return 1
    }
    return 0
  }

  /**
   * Sends what may go now. What the sending brings back here only waits in the queue: the outer call goes on with it. The kernel's
   * timers are late by more than small buckets hold, so what was due earlier is sent as if it were then.
   */
  run(): void {
    this.#run(this.#timer.armed ? this.#due : Number.POSITIVE_INFINITY)
  }

  #run(since: number): void {
    const { root, device, stack } = this
    if (this.#running || root === undefined) return
    this.#running = true
    const now = stack.runtime.now()
    let at = Math.min(now, Math.max(since, now - MOST_LATE))
    let left = BUDGET
    try {
      while (root === this.root && device.up && left-- > 0) {
        const packet = root.dequeue(at)
        if (packet !== undefined) device.sendNow(packet)
        else if (root.length > 0 && root.due > at && at < now) at = Math.min(root.due, now)
        else break
      }
    } finally {
      this.#running = false
    }
    const waits = root === this.root && device.up && root.length > 0
    this.#due = !waits ? Number.POSITIVE_INFINITY : left < 0 ? now : Math.max(root.due, now)
    stack.timers.add(this.#timer, this.#due)
  }

  expired(): void {
    this.#run(this.#due)
    this.runtime.backlog.drain()
  }

  /** The device was set down. */
  stop(): void {
    this.root?.reset()
    this.stack.timers.cancel(this.#timer)
  }

  /** The device leaves its namespace. */
  close(): void {
    this.stack.timers.cancel(this.#timer)
    this.root?.close()
    this.clsact?.close()
    this.root = this.clsact = undefined
    this.settle()
    this.device.traffic = undefined
  }

  /** Puts a qdisc at the root or at the ingress; undefined takes it away. The one that was there has ended. */
  install(at: number, qdisc: Qdisc | undefined): void {
    if (at === TC_H_INGRESS) {
      this.clsact?.close()
      this.clsact = qdisc as IngressQdisc | undefined
    } else {
      this.stack.timers.cancel(this.#timer)
      this.root?.close()
      this.root = qdisc
    }
    if (qdisc !== undefined) qdisc.parent = at
    this.device.traffic = this.root === undefined && this.clsact === undefined ? undefined : this
  }

  /** Those with a handle, each before those in its classes. */
  *all(): IterableIterator<Qdisc> {
    if (this.root !== undefined) yield* below(this.root)
    if (this.clsact !== undefined) yield this.clsact
  }

  find(handle: number): Qdisc | undefined {
    for (const qdisc of this.all()) if (qdisc.handle === major(handle)) return qdisc
    return undefined
  }

  /** The one in a class, at the root or at the ingress. */
  at(parent: number): Qdisc | undefined {
    if (parent === TC_H_ROOT) return this.root
    if (parent === TC_H_INGRESS) return this.clsact
    const holder = this.find(parent)
    return holder !== undefined && isClassful(holder) ? holder.findClass(parent)?.leaf : undefined
  }

  /** Whether there may be one more qdisc or class. */
  admits(): boolean {
    return this.size < MAX_QUEUES && this.runtime.queueRoom.admitsObject()
  }
  /** Some have come or gone: tells the kernel's room. */
  settle(): void {
    const { size } = this
    this.runtime.queueRoom.objects += size - this.#settled
    this.#settled = size
  }

  /** How many qdiscs and classes there are. */
  get size(): number {
    let size = 0
    for (const qdisc of this.all()) {
      size++
      if (isClassful(qdisc)) for (const _ of qdisc.classes()) size++
    }
    return size
  }
}

function* below(qdisc: Qdisc): IterableIterator<Qdisc> {
  if (qdisc.handle !== 0) yield qdisc
  if (!isClassful(qdisc)) return
  for (const { leaf } of qdisc.classes()) if (leaf !== undefined && leaf.handle !== 0) yield* below(leaf)
}

export function trafficOf(device: NetDevice): TrafficControl {
  return device.traffic ?? new TrafficControl(device, device.stack!)
}
