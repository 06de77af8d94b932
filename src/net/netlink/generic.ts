/** NETLINK_GENERIC: the controller only, which tells what families there are: itself. genl(8). */
import {
  CTRL_ATTR_FAMILY_ID,
  CTRL_ATTR_FAMILY_NAME,
  CTRL_ATTR_HDRSIZE,
  CTRL_ATTR_MAXATTR,
  CTRL_ATTR_MCAST_GROUPS,
  CTRL_ATTR_MCAST_GRP_ID,
  CTRL_ATTR_MCAST_GRP_NAME,
  CTRL_ATTR_OP_FLAGS,
  CTRL_ATTR_OP_ID,
  CTRL_ATTR_OPS,
  CTRL_ATTR_VERSION,
  CTRL_CMD_GETFAMILY,
  CTRL_CMD_NEWFAMILY,
  GENL_CMD_CAP_DO,
  GENL_CMD_CAP_DUMP,
  GENL_CMD_CAP_HASPOL,
  GENL_ID_CTRL,
  NLM_F_DUMP,
  NLM_F_MULTI,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP } from '../../abi/errno.ts'
import { GENLMSGHDR } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { Attributes, MessageWriter } from './message.ts'
import { type Dump, ListDump, type NetlinkProtocol, type NetlinkRequest } from './protocol.ts'

const VERSION = 2
const MAX_ATTRIBUTE = 10
const NOTIFY_GROUP = 0x10

export const genericProtocol: NetlinkProtocol = {
  groups: 32,
  anyoneListens: true,
  anyoneSends: true,
  receive(request: NetlinkRequest): Status | Dump {
    const { type, body, flags } = request
    if (type !== GENL_ID_CTRL) return -ENOENT
    if (body.length < GENLMSGHDR.size) return -EINVAL
    if (body[GENLMSGHDR.cmd] !== CTRL_CMD_GETFAMILY) return -EOPNOTSUPP
    if ((flags & NLM_F_DUMP) !== 0) {
      return new ListDump([request], (writer, each) => writeController(writer, each, NLM_F_MULTI))
    }
    const attributes = new Attributes(body, GENLMSGHDR.size)
    const id = attributes.u16(CTRL_ATTR_FAMILY_ID)
    const name = attributes.string(CTRL_ATTR_FAMILY_NAME)
    if (id === undefined && name === undefined) return -EINVAL
    if ((id ?? GENL_ID_CTRL) !== GENL_ID_CTRL || (name ?? 'nlctrl') !== 'nlctrl') return -ENOENT
    const writer = new MessageWriter()
    writeController(writer, request, 0)
    return request.answer(writer)
  },
}

function writeController(writer: MessageWriter, { sequence, port }: NetlinkRequest, flags: number): void {
  writer.start(GENL_ID_CTRL, flags, sequence, port)
  const at = writer.struct(GENLMSGHDR.size)
  writer.set8(at + GENLMSGHDR.cmd, CTRL_CMD_NEWFAMILY)
  writer.set8(at + GENLMSGHDR.version, VERSION)
  writer.string(CTRL_ATTR_FAMILY_NAME, 'nlctrl')
  writer.u16(CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL)
  writer.u32(CTRL_ATTR_VERSION, VERSION)
  writer.u32(CTRL_ATTR_HDRSIZE, 0)
  writer.u32(CTRL_ATTR_MAXATTR, MAX_ATTRIBUTE)
  const operations = writer.nest(CTRL_ATTR_OPS)
  const operation = writer.nest(1)
  writer.u32(CTRL_ATTR_OP_ID, CTRL_CMD_GETFAMILY)
  writer.u32(CTRL_ATTR_OP_FLAGS, GENL_CMD_CAP_DO | GENL_CMD_CAP_DUMP | GENL_CMD_CAP_HASPOL)
  writer.close(operation)
  writer.close(operations)
  const groups = writer.nest(CTRL_ATTR_MCAST_GROUPS)
  const group = writer.nest(1)
  writer.u32(CTRL_ATTR_MCAST_GRP_ID, NOTIFY_GROUP)
  writer.string(CTRL_ATTR_MCAST_GRP_NAME, 'notify')
  writer.close(group)
  writer.close(groups)
  writer.end()
}
