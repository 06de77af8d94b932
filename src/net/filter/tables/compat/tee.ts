/** TEE: a copy of the packet goes to another machine. */
import { NFPROTO_IPV4, NFPROTO_IPV6, NFT_CONTINUE } from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_TEE_TGINFO } from '../../../../abi/layout.ts'
import { fromBytes } from '../../../../base/bytes.ts'
import { IpAddress } from '../../../address.ts'
import { duplicate } from '../../duplicate.ts'
import type { Extension, Target } from './extension.ts'

function tee(family: number): Extension<Target> {
  return {
    ...{ name: 'TEE', revision: 1, family },
    size: XT_TEE_TGINFO.size,
    userSize: XT_TEE_TGINFO.priv,
    parse(info) {
      const gateway = IpAddress.read(info, XT_TEE_TGINFO.gw, family === NFPROTO_IPV4)
      const name = new Uint8Array(
        info.buffer,
        info.byteOffset + XT_TEE_TGINFO.oif,
        XT_TEE_TGINFO.priv - XT_TEE_TGINFO.oif,
      )
      const length = name.indexOf(0)
      if (gateway.isAny || length < 0) return -EINVAL
      const device = fromBytes(name, 0, length)
      return {
        apply({ stack, packet, point }, netfilter) {
          const index = device === '' ? 0 : (stack.devices.byName(device)?.index ?? -1)
          if (index >= 0) duplicate(netfilter, packet, point, gateway, index)
          return NFT_CONTINUE
        },
      }
    },
  }
}

export const teeTargets = [tee(NFPROTO_IPV4), tee(NFPROTO_IPV6)]
