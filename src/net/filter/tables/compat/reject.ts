/** REJECT: the packet is dropped, and its sender told so. */
import {
  ICMP_HOST_ANO,
  ICMP_HOST_UNREACH,
  ICMP_NET_ANO,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_PORT_UNREACH,
  ICMP_PROT_UNREACH,
  ICMPV6_ADDR_UNREACH,
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_NOROUTE,
  ICMPV6_NOT_NEIGHBOUR,
  ICMPV6_POLICY_FAIL,
  ICMPV6_PORT_UNREACH,
  ICMPV6_REJECT_ROUTE,
  IP6T_ICMP6_ADDR_UNREACH,
  IP6T_ICMP6_ADM_PROHIBITED,
  IP6T_ICMP6_NO_ROUTE,
  IP6T_ICMP6_NOT_NEIGHBOUR,
  IP6T_ICMP6_POLICY_FAIL,
  IP6T_ICMP6_PORT_UNREACH,
  IP6T_ICMP6_REJECT_ROUTE,
  IP6T_TCP_RESET,
  IPPROTO_TCP,
  IPT_ICMP_ADMIN_PROHIBITED,
  IPT_ICMP_HOST_PROHIBITED,
  IPT_ICMP_HOST_UNREACHABLE,
  IPT_ICMP_NET_PROHIBITED,
  IPT_ICMP_NET_UNREACHABLE,
  IPT_ICMP_PORT_UNREACHABLE,
  IPT_ICMP_PROT_UNREACHABLE,
  IPT_TCP_RESET,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { IP6T_REJECT_INFO, IPT_REJECT_INFO } from '../../../../abi/layout.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { sendReset, sendUnreachable } from '../../reject.ts'
import type { Extension, ExtensionContext, Target } from './extension.ts'

const CODES: ReadonlyMap<number, number> = new Map([
  [IPT_ICMP_NET_UNREACHABLE, ICMP_NET_UNREACH],
  [IPT_ICMP_HOST_UNREACHABLE, ICMP_HOST_UNREACH],
  [IPT_ICMP_PROT_UNREACHABLE, ICMP_PROT_UNREACH],
  [IPT_ICMP_PORT_UNREACHABLE, ICMP_PORT_UNREACH],
  [IPT_ICMP_NET_PROHIBITED, ICMP_NET_ANO],
  [IPT_ICMP_HOST_PROHIBITED, ICMP_HOST_ANO],
  [IPT_ICMP_ADMIN_PROHIBITED, ICMP_PKT_FILTERED],
])
const CODES6: ReadonlyMap<number, number> = new Map([
  [IP6T_ICMP6_NO_ROUTE, ICMPV6_NOROUTE],
  [IP6T_ICMP6_ADM_PROHIBITED, ICMPV6_ADM_PROHIBITED],
  [IP6T_ICMP6_NOT_NEIGHBOUR, ICMPV6_NOT_NEIGHBOUR],
  [IP6T_ICMP6_ADDR_UNREACH, ICMPV6_ADDR_UNREACH],
  [IP6T_ICMP6_PORT_UNREACH, ICMPV6_PORT_UNREACH],
  [IP6T_ICMP6_POLICY_FAIL, ICMPV6_POLICY_FAIL],
  [IP6T_ICMP6_REJECT_ROUTE, ICMPV6_REJECT_ROUTE],
])
const POINTS = [NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT]

/** `reset`: what asks for a TCP reset. */
function parse(
  how: number,
  codes: ReadonlyMap<number, number>,
  reset: number,
  { protocol }: ExtensionContext,
): OrErrno<Target> {
  if (how === reset) {
    if (protocol !== IPPROTO_TCP) return -EINVAL
    return {
      apply({ stack, packet }) {
        sendReset(stack, packet)
        return NF_DROP
      },
    }
  }
  const code = codes.get(how)
  if (code === undefined) return -EINVAL
  return {
    apply({ stack, packet }) {
      sendUnreachable(stack, packet, code)
      return NF_DROP
    },
  }
}

export const rejectTarget: Extension<Target> = {
  name: 'REJECT',
  revision: 0,
  family: NFPROTO_IPV4,
  size: IPT_REJECT_INFO.size,
  tables: ['filter'],
  points: POINTS,
  parse: (info, context) => parse(info.getUint32(IPT_REJECT_INFO.with, true), CODES, IPT_TCP_RESET, context),
}

export const reject6Target: Extension<Target> = {
  name: 'REJECT',
  revision: 0,
  family: NFPROTO_IPV6,
  size: IP6T_REJECT_INFO.size,
  tables: ['filter'],
  points: POINTS,
  parse: (info, context) =>
    parse(info.getUint32(IP6T_REJECT_INFO.with, true), CODES6, IP6T_TCP_RESET, context),
}
