/**
 * The host system calls that the sentry may make beside host-calls.ts where the guest's sockets are the host's
 * (--network=host). recvmsg is on that list already. Options go by level and name: net/host/option-table.ts.
 *
 * Not here, on purpose: AF_UNIX and AF_PACKET sockets, netlink families other than NETLINK_ROUTE, and all that would change
 * interfaces, routes or filters of the host.
 */
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NETLINK_ROUTE,
  SIOCGIFCONF,
  SO_LINGER,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { COUNT_REQUESTS } from '../net/host/inet-socket.ts'
import { PASSED_OPTIONS } from '../net/host/option-table.ts'
import { INTERFACE_REQUESTS } from '../net/interface-requests.ts'
import type { CallRule, Condition } from '../platform/seccomp-program.ts'

interface NetworkCall extends CallRule {
  readonly why: string
}

/** The low bits of socket(2)'s type argument; above are SOCK_NONBLOCK and SOCK_CLOEXEC. */
const TYPE_MASK = 0xf

const INTERNET: Condition = { arg: 0, equals: [AF_INET, AF_INET6] }
const PROTOCOLS = [0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6]

export const NETWORK_CALLS: readonly NetworkCall[] = [
  {
    nr: NR.socket,
    why: 'internet sockets of the guest, and what it asks of interfaces and routes',
    when: [
      [INTERNET, ofType(SOCK_STREAM, SOCK_DGRAM), { arg: 2, equals: PROTOCOLS }],
      // Only with CAP_NET_RAW over the network, which the sentry hardly ever has.
      [INTERNET, ofType(SOCK_RAW)],
      [{ arg: 0, equals: AF_NETLINK }, ofType(SOCK_RAW, SOCK_DGRAM), { arg: 2, equals: NETLINK_ROUTE }],
    ],
  },
  { nr: NR.bind, why: 'HostSockets.bind' },
  { nr: NR.connect, why: 'HostSockets.connect' },
  { nr: NR.listen, why: 'HostSockets.listen' },
  { nr: NR.accept4, why: 'HostSockets.accept' },
  { nr: NR.shutdown, why: 'HostSockets.shutdown' },
  { nr: NR.sendmsg, why: "HostSockets.send, with the guest's flags" },
  { nr: NR.getsockname, why: 'HostSockets.name' },
  { nr: NR.getpeername, why: 'HostSockets.name' },
  ...PASSED_OPTIONS.flatMap(({ level, both, read, set }) => [
    {
      nr: NR.getsockopt,
      why: 'HostSockets.getOption',
      when: [[{ arg: 1, equals: level }, oneOf([...both, ...read])]],
    },
    {
      nr: NR.setsockopt,
      why: 'HostSockets.setOption',
      when: [[{ arg: 1, equals: level }, oneOf([...both, ...set])]],
    },
  ]),
  {
    nr: NR.ioctl,
    why: 'how much is queued; what interfaces there are, read-only',
    when: [[{ arg: 1, equals: [...COUNT_REQUESTS, SIOCGIFCONF, ...INTERFACE_REQUESTS] }]],
  },
]

/**
 * What the sentry may do where the guest's sockets are those of its own stack (--network=sandbox), beside host-calls.ts: only
 * to move frames over descriptors that the host side has opened and set up. None of these calls is new to that list; they stand here
 * so that it can be seen that a link needs no others: no socket is made, bound, connected or configured after the seal.
 */
export const LINK_CALLS: readonly NetworkCall[] = [
  { nr: NR.read, why: 'HostLinks.receive and readAhead: a frame from a packet socket or a TAP device' },
  { nr: NR.write, why: 'HostLinks.send: a frame to one' },
]

/**
 * The same where the stack ends in sockets of the caller's (--network=user), which the broker has made and connected, and
 * ports of the caller's are published.
 */
export const USER_CALLS: readonly NetworkCall[] = [
  { nr: NR.shutdown, why: 'the guest has said all that it will' },
  { nr: NR.accept4, why: 'connections to published ports' },
  {
    nr: NR.setsockopt,
    why: 'a connection that the guest has reset is reset outside',
    when: [[{ arg: 1, equals: SOL_SOCKET }, oneOf([SO_LINGER])]],
  },
]

/** What a network takes beside the calls of every sentry. */
export function networkCalls(network: 'none' | 'host' | 'sandbox' | 'user'): readonly NetworkCall[] {
  if (network === 'host') return NETWORK_CALLS
  return network === 'user' ? USER_CALLS : []
}

function ofType(...types: number[]): Condition {
  return { arg: 1, mask: TYPE_MASK, equals: types }
}
function oneOf(names: readonly number[]): Condition {
  return { arg: 2, equals: names }
}
