/** What ICMP errors mean to a socket: errno, and whether it ends a connection. ip(7), and Linux's icmp_err_convert. */
import {
  ICMP_DEST_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_TIME_EXCEEDED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_PARAMPROB,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
} from '../../abi/constants.ts'
import {
  EACCES,
  ECONNREFUSED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EMSGSIZE,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
} from '../../abi/errno.ts'
import type { IcmpError } from './transport.ts'

type Meaning = readonly [errno: number, hard: boolean]

/** By code of ICMP_DEST_UNREACH. */
const UNREACHABLE4: readonly Meaning[] = [
  [ENETUNREACH, false],
  [EHOSTUNREACH, false],
  [ENOPROTOOPT, true],
  [ECONNREFUSED, true],
  [EMSGSIZE, false],
  [EOPNOTSUPP, false],
  [ENETUNREACH, true],
  [EHOSTDOWN, true],
  [ENONET, true],
  [ENETUNREACH, true],
  [EHOSTUNREACH, true],
  [ENETUNREACH, false],
  [EHOSTUNREACH, false],
  [EHOSTUNREACH, true],
  [EHOSTUNREACH, true],
  [EHOSTUNREACH, true],
]

/** By code of ICMPV6_DEST_UNREACH. */
const UNREACHABLE6: readonly Meaning[] = [
  [ENETUNREACH, false],
  [EACCES, true],
  [EHOSTUNREACH, false],
  [EHOSTUNREACH, false],
  [ECONNREFUSED, true],
  [EACCES, true],
  [EACCES, true],
]

/** Fills errno and hard by type and code. False: a type or code that sockets needn't know. */
export function explainError(error: IcmpError): boolean {
  const meaning = error.isV4 ? meaning4(error.type, error.code) : meaning6(error.type, error.code)
  if (meaning === undefined) return false
  error.errno = meaning[0]
  error.hard = meaning[1]
  return true
}

function meaning4(type: number, code: number): Meaning | undefined {
  if (type === ICMP_DEST_UNREACH) return UNREACHABLE4[code]
  if (type === ICMP_TIME_EXCEEDED) return [EHOSTUNREACH, false]
  return type === ICMP_PARAMETERPROB ? [EPROTO, true] : undefined
}

function meaning6(type: number, code: number): Meaning | undefined {
  if (type === ICMPV6_DEST_UNREACH) return UNREACHABLE6[code] ?? [EPROTO, false]
  if (type === ICMPV6_PKT_TOOBIG) return [EMSGSIZE, false]
  if (type === ICMPV6_TIME_EXCEED) return [EHOSTUNREACH, false]
  return type === ICMPV6_PARAMPROB ? [EPROTO, true] : undefined
}
