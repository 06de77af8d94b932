/** Which ICMP messages are questions and answers, and which tell of errors. */
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_INFOMSG_MASK,
  IPPROTO_ICMP,
} from '../../../abi/constants.ts'

/** The type of the answer, or of what is answered; -1: messages of this type stand alone. */
export function inverseType(protocol: number, type: number): number {
  if (protocol !== IPPROTO_ICMP) {
    if (type === ICMPV6_ECHO_REQUEST) return ICMPV6_ECHO_REPLY
    return type === ICMPV6_ECHO_REPLY ? ICMPV6_ECHO_REQUEST : -1
  }
  switch (type) {
    case ICMP_ECHO:
      return ICMP_ECHOREPLY
    case ICMP_ECHOREPLY:
      return ICMP_ECHO
    case ICMP_TIMESTAMP:
      return ICMP_TIMESTAMPREPLY
    case ICMP_TIMESTAMPREPLY:
      return ICMP_TIMESTAMP
  }
  return -1
}

/** Whether a message of this type can begin a connection: it asks something. */
export function isQuestion(protocol: number, type: number): boolean {
  if (protocol !== IPPROTO_ICMP) return type === ICMPV6_ECHO_REQUEST
  return type === ICMP_ECHO || type === ICMP_TIMESTAMP
}

/** It quotes a packet. */
export function isError(protocol: number, type: number): boolean {
  if (protocol !== IPPROTO_ICMP) return (type & ICMPV6_INFOMSG_MASK) === 0
  return (
    type === ICMP_DEST_UNREACH ||
    type === ICMP_SOURCE_QUENCH ||
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETERPROB ||
    type === ICMP_REDIRECT
  )
}

/** Neighbour discovery and group membership: nobody tracks them (types 130 to 137, and MLDv2 reports). */
export function isUntracked6(type: number): boolean {
  return (type >= 130 && type <= 137) || type === 143
}
