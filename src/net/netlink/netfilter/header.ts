/** What all messages of nfnetlink begin with: struct nfgenmsg. */
import { NFNETLINK_V0 } from '../../../abi/constants.ts'
import { NFGENMSG, NLATTR, NLMSGHDR } from '../../../abi/layout.ts'
import { Attributes, type MessageWriter } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'

/** To whom a message answers. */
export interface Asker {
  readonly sequence: number
  readonly port: number
}

/** `type`: the subsystem's number and its message's. */
export function startMessage(
  writer: MessageWriter,
  subsystem: number,
  type: number,
  flags: number,
  request: Asker,
  family: number,
  resource: number,
): void {
  writer.start((subsystem << 8) | type, flags, request.sequence, request.port)
  const at = writer.struct(NFGENMSG.size)
  writer.set8(at + NFGENMSG.nfgen_family, family)
  writer.set8(at + NFGENMSG.version, NFNETLINK_V0)
  writer.set8(at + NFGENMSG.res_id, resource >> 8)
  writer.set8(at + NFGENMSG.res_id + 1, resource)
}

export function attributesOf(request: NetlinkRequest): Attributes {
  return new Attributes(request.body, NFGENMSG.size)
}

/** The error is about this attribute, whose value stands in the message. */
export function blame(request: NetlinkRequest, value: Uint8Array | undefined): void {
  if (value === undefined) return
  request.offset = NLMSGHDR.size + value.byteOffset - request.body.byteOffset - NLATTR.size
}
