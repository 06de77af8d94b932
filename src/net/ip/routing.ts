/** What the routing of both families shares: the key of a lookup, filled anew for each. */
import type { IpAddress } from '../address.ts'
import { V4_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Flow } from './flow.ts'
import type { RuleKey } from './rules.ts'

export function newKey(): RuleKey {
  return {
    destination: V4_ANY,
    tos: 0,
    device: 0,
    scope: 0,
    hash: 0,
    now: 0,
    source: undefined,
    inputName: '',
    outputName: '',
    mark: 0,
    protocol: 0,
    sourcePort: 0,
    destinationPort: 0,
    uid: 0,
  }
}

/** The stack's key object for this flow; for packets that came in there is none. */
export function setKey(
  stack: IpStack,
  destination: IpAddress,
  source: IpAddress | undefined,
  flow: Flow | undefined,
): RuleKey {
  const key = stack.routeKey
  key.destination = destination
  key.source = source
  key.device = 0
  key.scope = 0
  key.now = stack.runtime.now()
  key.inputName = flow === undefined ? '' : (stack.loopback?.name ?? 'lo')
  key.outputName = ''
  key.tos = flow === undefined ? 0 : flow.tos & 0x1e
  key.mark = flow?.mark ?? 0
  key.protocol = flow?.protocol ?? 0
  key.sourcePort = flow?.sourcePort ?? 0
  key.destinationPort = flow?.destinationPort ?? 0
  key.uid = flow?.uid ?? 0
  key.hash = flowHash(key, stack.sysctls.ipv4.fib_multipath_hash_policy)
  return key
}

/** fib_multipath_hash_policy: by addresses, or by addresses, protocol and ports. */
function flowHash(key: RuleKey, policy: number): number {
  const { destination, source } = key
  let hash = destination.w3 ^ Math.imul(destination.w2 ^ destination.w0, 0x9e3779b1)
  if (source !== undefined) hash ^= Math.imul(source.w3 ^ source.w2 ^ source.w0, 0x85ebca6b)
  if (policy === 1) hash ^= Math.imul((key.sourcePort << 16) ^ key.destinationPort ^ key.protocol, 0xc2b2ae35)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return (hash ^ (hash >>> 13)) >>> 0
}
