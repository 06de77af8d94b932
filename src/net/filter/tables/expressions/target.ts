/** target: a target of x_tables (compat/) as the last step of a rule. */
import { NFTA_TARGET_INFO, NFTA_TARGET_NAME, NFTA_TARGET_REV } from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { viewOf } from '../../../netlink/message.ts'
import { checkInfo, findExtension, type Target } from '../compat/extension.ts'
import { TARGETS } from '../compat/targets.ts'
import type { Evaluation } from '../evaluation.ts'
import type { ExpressionType } from '../expression.ts'
import { ExtensionExpression } from './extension-expression.ts'

const ATTRIBUTES = { name: NFTA_TARGET_NAME, revision: NFTA_TARGET_REV, info: NFTA_TARGET_INFO }

export const target: ExpressionType = {
  name: 'target',
  parse(context, attributes) {
    const name = attributes.string(NFTA_TARGET_NAME)
    const revision = attributes.be32(NFTA_TARGET_REV)
    const info = attributes.get(NFTA_TARGET_INFO)?.slice()
    if (name === undefined || revision === undefined || info === undefined) return -EINVAL
    const extension = findExtension(TARGETS, context.family, name, revision)
    if (typeof extension === 'number') return extension
    const { netfilter, family, protocol, table } = context
    const about = { netfilter, family, protocol, tableName: table.name }
    const status = checkInfo(extension, info, about)
    if (status < 0) return status
    const made = extension.parse(viewOf(info), about)
    return typeof made === 'number' ? made : new TargetExpression(extension, info, context, made)
  },
}

class TargetExpression extends ExtensionExpression<Target> {
  override readonly name = 'target'
  protected override readonly attributes = ATTRIBUTES

  override evaluate(run: Evaluation): void {
    run.verdict = this.made.apply(run, this.netfilter)
  }
}
