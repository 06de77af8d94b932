/**
 * How many ICMP errors may go out: so that nobody makes us flood a third party (RFC 1812 §4.3.2.8, RFC 4443 §2.4). One
 * bucket for all, filled by icmp_msgs_per_sec, and one per destination, which gives a message per icmp_ratelimit ms with
 * bursts of six.
 */
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import { NSEC_PER_MSEC } from './numbers.ts'

const PER_HOST_BURST = 6
/** Destinations remembered; more share the luck of whom they displace. */
const MAX_HOSTS = 1024

interface Bucket {
  tokens: number
  stamp: number
}

export class IcmpLimit {
  readonly #stack: IpStack
  readonly #all: Bucket = { tokens: Number.POSITIVE_INFINITY, stamp: 0 }
  readonly #hosts = new Map<string, Bucket>()

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  allowsGlobally(): boolean {
    const { icmp_msgs_per_sec, icmp_msgs_burst } = this.#stack.sysctls.ipv4
    const now = this.#stack.runtime.now()
    return take(this.#all, now, 1e9 / Math.max(icmp_msgs_per_sec, 1), Math.max(icmp_msgs_burst, 1))
  }

  /** `interval`: ms between messages, 0 for no limit. */
  allowsHost(destination: IpAddress, interval: number): boolean {
    if (interval <= 0) return true
    const { key } = destination
    let bucket = this.#hosts.get(key)
    if (bucket === undefined) {
      bucket = { tokens: PER_HOST_BURST, stamp: this.#stack.runtime.now() }
      if (this.#hosts.size >= MAX_HOSTS) {
        const oldest = this.#hosts.keys().next()
        if (!oldest.done) this.#hosts.delete(oldest.value)
      }
      this.#hosts.set(key, bucket)
    }
    return take(bucket, this.#stack.runtime.now(), interval * NSEC_PER_MSEC, PER_HOST_BURST)
  }
}

/** One token, of which one comes in each `interval` ns up to `burst`. */
function take(bucket: Bucket, now: number, interval: number, burst: number): boolean {
  const grown = bucket.tokens + (now - bucket.stamp) / interval
  bucket.tokens = Math.min(grown, burst)
  bucket.stamp = now
  if (bucket.tokens < 1) return false
  bucket.tokens--
  return true
}
