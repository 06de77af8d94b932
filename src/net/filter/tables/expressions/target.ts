/** target: a target of x_tables (compat/) as the last step of a rule. */
import { NFTA_TARGET_INFO, NFTA_TARGET_NAME, NFTA_TARGET_REV } from '../../../../abi/constants.ts'
import { failed } from '../../../../base/result.ts'
import type { Target } from '../compat/extension.ts'
import { TARGETS } from '../compat/targets.ts'
import type { Evaluation } from '../evaluation.ts'
import type { ExpressionType } from '../expression.ts'
import { ExtensionExpression, parseExtension } from './extension-expression.ts'

const ATTRIBUTES = { name: NFTA_TARGET_NAME, revision: NFTA_TARGET_REV, info: NFTA_TARGET_INFO }

export const target: ExpressionType = {
  name: 'target',
  parse(context, attributes) {
    const parsed = parseExtension(context, attributes, ATTRIBUTES, TARGETS)
    return failed(parsed) ? parsed : new TargetExpression(parsed)
  },
}

class TargetExpression extends ExtensionExpression<Target> {
  override readonly name = 'target'
  protected override readonly attributes = ATTRIBUTES

  override evaluate(run: Evaluation): void {
    run.verdict = this.made.apply(run, this.netfilter)
  }
}
