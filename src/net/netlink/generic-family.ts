/** What a family of generic netlink (NETLINK_GENERIC) gives to the controller: struct genl_family. */
import type { Status } from '../../base/result.ts'
import type { Attributes } from './message.ts'
import type { Dump, NetlinkRequest } from './protocol.ts'

export interface GenericOperation {
  readonly command: number
  /** GENL_CMD_CAP_*, GENL_ADMIN_PERM, GENL_UNS_ADMIN_PERM. */
  readonly flags: number
}

export interface GenericFamily {
  /** The type of its messages. */
  readonly id: number
  readonly name: string
  readonly version: number
  readonly maxAttribute: number
  readonly operations: readonly GenericOperation[]
  /** Multicast groups, whose numbers nobody else has. */
  readonly groups: readonly { readonly id: number; readonly name: string }[]
  /** `command`: one of the operations. */
  receive(request: NetlinkRequest, command: number, attributes: Attributes): Status | Dump
}
