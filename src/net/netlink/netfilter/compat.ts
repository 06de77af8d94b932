/** NFNL_SUBSYS_NFT_COMPAT: which revisions of x_tables' extensions there are, as iptables asks. */
import {
  NFNL_MSG_COMPAT_GET,
  NFNL_SUBSYS_NFT_COMPAT,
  NFTA_COMPAT_NAME,
  NFTA_COMPAT_REV,
  NFTA_COMPAT_TYPE,
  NLM_F_MULTI,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT, EPROTONOSUPPORT } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import { type Extension, findExtension } from '../../filter/tables/compat/extension.ts'
import { MATCHES } from '../../filter/tables/compat/matches.ts'
import { TARGETS } from '../../filter/tables/compat/targets.ts'
import { MessageWriter } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { attributesOf, startMessage } from './header.ts'

/** NFTA_COMPAT_TYPE: 0 asks for matches. */
const TARGET = 1

export function compatReceive(request: NetlinkRequest): Status {
  if ((request.type & 0xff) !== NFNL_MSG_COMPAT_GET) return -EINVAL
  const attributes = attributesOf(request)
  const name = attributes.string(NFTA_COMPAT_NAME)
  const revision = attributes.be32(NFTA_COMPAT_REV)
  const type = attributes.be32(NFTA_COMPAT_TYPE)
  if (name === undefined || revision === undefined || type === undefined) return -EINVAL
  const family = request.body[0]
  const list: readonly Extension<unknown>[] = type === TARGET ? TARGETS : MATCHES
  const found = findExtension(list, family, name, revision)
  if (typeof found === 'number') {
    return list.some(other => other.name === name) ? -EPROTONOSUPPORT : -ENOENT
  }
  const writer = new MessageWriter()
  startMessage(writer, NFNL_SUBSYS_NFT_COMPAT, NFNL_MSG_COMPAT_GET, NLM_F_MULTI, request, family, 0)
  writer.string(NFTA_COMPAT_NAME, name)
  writer.be32(NFTA_COMPAT_REV, revision)
  writer.be32(NFTA_COMPAT_TYPE, type)
  writer.end()
  return request.answer(writer)
}
