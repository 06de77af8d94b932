/** What the expressions `match` and `target` have in common. */
import { EINVAL } from '../../../../abi/errno.ts'
import type { Status } from '../../../../base/result.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { BaseChain } from '../chain.ts'
import type { Extension, Match, Target } from '../compat/extension.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionContext } from '../expression.ts'

export abstract class ExtensionExpression<T extends Match | Target> implements Expression {
  abstract readonly name: string
  readonly netfilter: Netfilter
  protected readonly made: T
  protected abstract readonly attributes: {
    readonly name: number
    readonly revision: number
    readonly info: number
  }
  readonly #extension: Extension<T>
  readonly #info: Uint8Array
  readonly #family: number

  constructor(extension: Extension<T>, info: Uint8Array, context: ExpressionContext, made: T) {
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
