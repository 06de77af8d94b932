/** /proc/net/ip_tables_names and the like: what iptables-legacy-save looks for. */
import { NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC } from '../../abi/constants.ts'
import type { Extension } from '../filter/tables/compat/extension.ts'
import { MATCHES } from '../filter/tables/compat/matches.ts'
import { TARGETS } from '../filter/tables/compat/targets.ts'
import type { InetNetwork } from '../inet/network.ts'

/** Tables that somebody has asked for: iptables-legacy-save prints these. */
export function tableLines(net: InetNetwork, isV4: boolean): string {
  const netfilter = net.usedNetfilter
  const tables = isV4 ? netfilter?.ipTables : netfilter?.ip6Tables
  return lines(tables?.names() ?? [])
}
export function matchLines(isV4: boolean): string {
  return lines(namesFor(MATCHES, isV4))
}
export function targetLines(isV4: boolean): string {
  return lines([...namesFor(TARGETS, isV4), 'ERROR'])
}

/** One for each revision. */
function namesFor(extensions: readonly Extension<unknown>[], isV4: boolean): string[] {
  const family = isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6
  return extensions
    .filter(other => other.family === NFPROTO_UNSPEC || other.family === family)
    .map(other => other.name)
}
function lines(names: readonly string[]): string {
  return names.map(name => `${name}\n`).join('')
}
