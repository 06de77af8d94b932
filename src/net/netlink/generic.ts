/** NETLINK_GENERIC: the controller, which tells what families there are, and its families. genl(8). */
import {
  CAP_NET_ADMIN,
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
  GENL_ADMIN_PERM,
  GENL_CMD_CAP_DO,
  GENL_CMD_CAP_DUMP,
  GENL_CMD_CAP_HASPOL,
  GENL_ID_CTRL,
  GENL_UNS_ADMIN_PERM,
  NLM_F_DUMP,
  NLM_F_MULTI,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import { GENLMSGHDR } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { ethtoolFamily } from './ethtool.ts'
import type { GenericFamily } from './generic-family.ts'
import { Attributes, MessageWriter } from './message.ts'
import { type Dump, ListDump, type NetlinkProtocol, type NetlinkRequest } from './protocol.ts'
import { taskstatsFamily } from './taskstats.ts'

const MAX_ATTRIBUTE = 10
const NOTIFY_GROUP = 0x10

const controller: GenericFamily = {
  id: GENL_ID_CTRL,
  name: 'nlctrl',
  version: 2,
  maxAttribute: MAX_ATTRIBUTE,
  operations: [
    { command: CTRL_CMD_GETFAMILY, flags: GENL_CMD_CAP_DO | GENL_CMD_CAP_DUMP | GENL_CMD_CAP_HASPOL },
  ],
  groups: [{ id: NOTIFY_GROUP, name: 'notify' }],
  receive: getFamily,
}

/** Each with an id of its own. */
const FAMILIES: readonly GenericFamily[] = [controller, ethtoolFamily, taskstatsFamily]

export const genericProtocol: NetlinkProtocol = {
  groups: 32,
  anyoneListens: true,
  anyoneSends: true,
  receive(request: NetlinkRequest): Status | Dump {
    const { type, body, task, socket } = request
    const family = FAMILIES.find(each => each.id === type)
    if (family === undefined) return -ENOENT
    if (body.length < GENLMSGHDR.size) return -EINVAL
    const command = body[GENLMSGHDR.cmd]
    const operation = family.operations.find(each => each.command === command)
    if (operation === undefined) return -EOPNOTSUPP
    const { flags } = operation
    if ((flags & GENL_ADMIN_PERM) !== 0 && !task.cred.capable(CAP_NET_ADMIN, task.kernel.userNs))
      return -EPERM
    if ((flags & GENL_UNS_ADMIN_PERM) !== 0 && !socket.capable(task, CAP_NET_ADMIN)) return -EPERM
    return family.receive(request, command, new Attributes(body, GENLMSGHDR.size))
  },
}

function getFamily(request: NetlinkRequest, _command: number, attributes: Attributes): Status | Dump {
  if ((request.flags & NLM_F_DUMP) !== 0) {
    return new ListDump(FAMILIES, (writer, family) => writeFamily(writer, family, request, NLM_F_MULTI))
  }
  const id = attributes.u16(CTRL_ATTR_FAMILY_ID)
  const name = attributes.string(CTRL_ATTR_FAMILY_NAME)
  if (id === undefined && name === undefined) return -EINVAL
  const family = FAMILIES.find(each => each.id === (id ?? each.id) && each.name === (name ?? each.name))
  if (family === undefined) return -ENOENT
  const writer = new MessageWriter()
  writeFamily(writer, family, request, 0)
  return request.answer(writer)
}

function writeFamily(
  writer: MessageWriter,
  family: GenericFamily,
  { sequence, port }: NetlinkRequest,
  flags: number,
): void {
  writer.start(GENL_ID_CTRL, flags, sequence, port)
  const at = writer.struct(GENLMSGHDR.size)
  writer.set8(at + GENLMSGHDR.cmd, CTRL_CMD_NEWFAMILY)
  writer.set8(at + GENLMSGHDR.version, controller.version)
  writer.string(CTRL_ATTR_FAMILY_NAME, family.name)
  writer.u16(CTRL_ATTR_FAMILY_ID, family.id)
  writer.u32(CTRL_ATTR_VERSION, family.version)
  writer.u32(CTRL_ATTR_HDRSIZE, 0)
  writer.u32(CTRL_ATTR_MAXATTR, family.maxAttribute)
  const operations = writer.nest(CTRL_ATTR_OPS)
  family.operations.forEach((each, i) => {
    const operation = writer.nest(i + 1)
    writer.u32(CTRL_ATTR_OP_ID, each.command)
    writer.u32(CTRL_ATTR_OP_FLAGS, each.flags)
    writer.close(operation)
  })
  writer.close(operations)
  if (family.groups.length > 0) {
    const groups = writer.nest(CTRL_ATTR_MCAST_GROUPS)
    family.groups.forEach((each, i) => {
      const group = writer.nest(i + 1)
      writer.u32(CTRL_ATTR_MCAST_GRP_ID, each.id)
      writer.string(CTRL_ATTR_MCAST_GRP_NAME, each.name)
      writer.close(group)
    })
    writer.close(groups)
  }
  writer.end()
}
