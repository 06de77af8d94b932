/**
 * Extension: a match or a target of x_tables, which iptables still gives rules made of: a name, a revision, and a C struct.
 * Expressions `match` and `target` (expressions/) carry them, and entries of iptables-legacy's tables (../../xtables).
 */
import { NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC } from '../../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../../base/result.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { ChainType } from '../chain.ts'
import type { Evaluation } from '../evaluation.ts'

/** XT_ALIGN */
const ALIGNMENT = 8

export interface Extension<T> {
  readonly name: string
  readonly revision: number
  /** NFPROTO_IPV4, NFPROTO_IPV6, or NFPROTO_UNSPEC: either. */
  readonly family: number
  readonly size: number
  /** How much of the struct is the user's; what is behind it is the kernel's own. */
  readonly userSize?: number
  /** The only protocol that rules with it may be for. */
  readonly protocol?: number
  /** The only points, and the only type of chain. */
  readonly points?: readonly number[]
  readonly chainType?: ChainType
  /** The only tables that rules with it may stand in. */
  readonly tables?: readonly string[]
  readonly usesConntrack?: boolean
  parse(info: DataView, context: ExtensionContext): OrErrno<T>
}

/** What an extension is made for. */
export interface ExtensionContext {
  readonly netfilter: Netfilter
  readonly family: number
  readonly tableName: string
  /** The only one that its rule is for; 0: any. */
  readonly protocol: number
  /** In tables of iptables-legacy: whether the rule asks for SYNs. */
  readonly asksForSyn?: boolean
}

/** What a match or a target has in common with others while its rule is in force: lists and sets by name. */
interface Attachable {
  /** Its rule has come into force, or is gone. */
  attach?(): void
  detach?(): void
}

export interface Match extends Attachable {
  matches(run: Evaluation): boolean
}

export interface Target extends Attachable {
  /** NFT_CONTINUE, or NF_*. */
  apply(run: Evaluation, netfilter: Netfilter): number
}

export function alignedSize(size: number): number {
  return (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1)
}

/** xt_check_match, xt_check_target: as far as it is the same for all. */
export function checkInfo(
  { size, protocol, tables }: Extension<unknown>,
  info: Uint8Array,
  context: ExtensionContext,
): Status {
  if (info.length !== alignedSize(size)) return -EINVAL
  if (tables !== undefined && !tables.includes(context.tableName)) return -EINVAL
  return protocol !== undefined && protocol !== context.protocol ? -EINVAL : 0
}

/** The extension of this name and revision for the family; -ENOENT. */
export function findExtension<T>(
  extensions: readonly Extension<T>[],
  family: number,
  name: string,
  revision: number,
): OrErrno<Extension<T>> {
  return (
    extensions.find(
      other => other.name === name && other.revision === revision && suits(other.family, family),
    ) ?? -ENOENT
  )
}

function suits(extension: number, family: number): boolean {
  if (extension === NFPROTO_UNSPEC || extension === family) return true
  // A chain of both families takes either's; it sees only its own packets.
  return family !== NFPROTO_IPV4 && family !== NFPROTO_IPV6
}
