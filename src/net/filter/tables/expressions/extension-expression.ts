/** What the expressions `match` and `target` have in common. */
import { EINVAL } from '../../../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../../../base/result.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../../netlink/message.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { BaseChain } from '../chain.ts'
import { checkInfo, type Extension, findExtension, type Match, type Target } from '../compat/extension.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionContext } from '../expression.ts'

/** Types of attributes: NFTA_MATCH_*, NFTA_TARGET_*. */
interface AttributeTypes {
  readonly name: number
  readonly revision: number
  readonly info: number
}

interface Parsed<T> {
  readonly extension: Extension<T>
  readonly info: Uint8Array
  readonly made: T
  readonly context: ExpressionContext
}

/** The one of `extensions` that the attributes are about. */
export function parseExtension<T extends object>(
  context: ExpressionContext,
  attributes: Attributes,
  types: AttributeTypes,
  extensions: readonly Extension<T>[],
): OrErrno<Parsed<T>> {
  const name = attributes.string(types.name)
  const revision = attributes.be32(types.revision)
  const info = attributes.get(types.info)?.slice()
  if (name === undefined || revision === undefined || info === undefined) return -EINVAL
  const { netfilter, family, protocol, table } = context
  const extension = findExtension(extensions, family, name, revision)
  if (failed(extension)) return extension
  const about = { netfilter, family, protocol, tableName: table.name }
  const status = checkInfo(extension, info, about)
  if (status < 0) return status
  const made = extension.parse(viewOf(info), about)
  return failed(made) ? made : { extension, info, made, context }
}

export abstract class ExtensionExpression<T extends Match | Target> implements Expression {
  abstract readonly name: string
  readonly netfilter: Netfilter
  protected readonly made: T
  protected abstract readonly attributes: AttributeTypes
  readonly #extension: Extension<T>
  readonly #info: Uint8Array
  readonly #family: number

  constructor({ extension, info, made, context }: Parsed<T>) {
    this.#extension = extension
    this.#info = info
    this.netfilter = context.netfilter
    this.#family = context.family
    this.made = made
  }

  abstract evaluate(run: Evaluation): void

  attach(): void {
    if (this.#extension.usesConntrack === true) this.netfilter.conntrack.use(this.#family)
    this.made.attach?.()
  }
  detach(): void {
    if (this.#extension.usesConntrack === true) this.netfilter.conntrack.unuse(this.#family)
    this.made.detach?.()
  }
  validate(base: BaseChain): Status {
    const { points, chainType } = this.#extension
    if (points !== undefined && !points.includes(base.point)) return -EINVAL
    return chainType !== undefined && chainType !== base.type ? -EINVAL : 0
  }
  write(writer: MessageWriter): void {
    const { name, revision, userSize } = this.#extension
    writer.string(this.attributes.name, name)
    writer.be32(this.attributes.revision, revision)
    const shown = this.#info.slice()
    if (userSize !== undefined) shown.fill(0, userSize)
    writer.bytes(this.attributes.info, shown)
  }
}
