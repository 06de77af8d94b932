/** owner: whose socket has sent the packet. */
import {
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFPROTO_UNSPEC,
  XT_OWNER_GID,
  XT_OWNER_MASK,
  XT_OWNER_SOCKET,
  XT_OWNER_UID,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_OWNER_MATCH_INFO } from '../../../../abi/layout.ts'
import type { Extension, Match } from './extension.ts'

export const ownerMatch: Extension<Match> = {
  name: 'owner',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_OWNER_MATCH_INFO.size,
  points: [NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING],
  parse(info) {
    const uidMin = info.getUint32(XT_OWNER_MATCH_INFO.uid_min, true)
    const uidMax = info.getUint32(XT_OWNER_MATCH_INFO.uid_max, true)
    const gidMin = info.getUint32(XT_OWNER_MATCH_INFO.gid_min, true)
    const gidMax = info.getUint32(XT_OWNER_MATCH_INFO.gid_max, true)
    const asked = info.getUint8(XT_OWNER_MATCH_INFO.match)
    const inverted = info.getUint8(XT_OWNER_MATCH_INFO.invert)
    if ((asked & ~XT_OWNER_MASK) !== 0) return -EINVAL
    const fits = (flag: number, found: boolean) => (asked & flag) === 0 || found !== ((inverted & flag) !== 0)
    return {
      matches({ packet }) {
        const { owner } = packet
        if (owner === undefined) return ((asked ^ inverted) & XT_OWNER_MASK) === 0
        // There is a socket: who asks for none is told so.
        if ((asked & inverted & XT_OWNER_SOCKET) !== 0) return false
        const { uid, gid } = owner
        return (
          fits(XT_OWNER_UID, uid >= uidMin && uid <= uidMax) &&
          fits(XT_OWNER_GID, gid >= gidMin && gid <= gidMax)
        )
      },
    }
  },
}
