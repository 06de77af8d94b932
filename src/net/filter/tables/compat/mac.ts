/** mac: by which hardware address a packet came. */
import {
  ETH_ALEN,
  ETH_HLEN,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  NFPROTO_UNSPEC,
} from '../../../../abi/constants.ts'
import { XT_MAC_INFO } from '../../../../abi/layout.ts'
import type { Extension, Match } from './extension.ts'

export const macMatch: Extension<Match> = {
  name: 'mac',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_MAC_INFO.size,
  points: [NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_FORWARD],
  parse(info) {
    const invert = info.getInt32(XT_MAC_INFO.invert, true) !== 0
    return {
      matches({ packet, input }) {
        const { view, link, network } = packet
        if (input === undefined || input.isLoopback || link < 0 || link + ETH_HLEN > network) return false
        // Behind the receiver's stands the sender's.
        let same = true
        for (let i = 0; i < ETH_ALEN; i++) {
          same &&= view.getUint8(link + ETH_ALEN + i) === info.getUint8(XT_MAC_INFO.srcaddr + i)
        }
        return same !== invert
      },
    }
  },
}
