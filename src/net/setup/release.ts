/**
 * Takes a network namespace's interfaces from the host's kernel, once their configuration has been read: without addresses
 * it answers nothing that a link's socket sees as well. The interfaces stay up: they are the links' cables.
 */
import { AF_INET, AF_INET6, IFA_ADDRESS, IFA_LOCAL, RTM_DELADDR } from '../../abi/constants.ts'
import { EADDRNOTAVAIL } from '../../abi/errno.ts'
import { IFADDRMSG } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { parseAddress } from '../address.ts'
import type { LinkRecord } from './record.ts'
import type { RouteQuery } from './route-query.ts'

/**
 * Removes the addresses that the link had. The host's IPv6 would give it new ones (link-local, by router
 * advertisements): whoever can, writes net.ipv6.conf.NAME.disable_ipv6 first.
 */
export function releaseLink(query: RouteQuery, link: LinkRecord): Status {
  for (const { address: text, peer, length } of link.addresses) {
    const address = parseAddress(text)
    const prefix = peer === undefined ? address : parseAddress(peer)
    if (address === undefined || prefix === undefined) continue
    const status = query.change(RTM_DELADDR, writer => {
      const at = writer.struct(IFADDRMSG.size)
      writer.set8(at + IFADDRMSG.ifa_family, address.isV4 ? AF_INET : AF_INET6)
      writer.set8(at + IFADDRMSG.ifa_prefixlen, length)
      writer.set32(at + IFADDRMSG.ifa_index, link.index)
      writer.bytes(IFA_LOCAL, address.bytes())
      writer.bytes(IFA_ADDRESS, prefix.bytes())
    })
    // Secondaries go with their primary, and all IPv6 addresses with disable_ipv6.
    if (status < 0 && status !== -EADDRNOTAVAIL) return status
  }
  return 0
}
