/** match: a match of x_tables (compat/) as a step of a rule. */
import {
  NF_DROP,
  NFT_BREAK,
  NFTA_MATCH_INFO,
  NFTA_MATCH_NAME,
  NFTA_MATCH_REV,
} from '../../../../abi/constants.ts'
import { failed } from '../../../../base/result.ts'
import type { Match } from '../compat/extension.ts'
import { MATCHES } from '../compat/matches.ts'
import type { Evaluation } from '../evaluation.ts'
import type { ExpressionType } from '../expression.ts'
import { ExtensionExpression, parseExtension } from './extension-expression.ts'

const ATTRIBUTES = { name: NFTA_MATCH_NAME, revision: NFTA_MATCH_REV, info: NFTA_MATCH_INFO }

export const match: ExpressionType = {
  name: 'match',
  parse(context, attributes) {
    const parsed = parseExtension(context, attributes, ATTRIBUTES, MATCHES)
    return failed(parsed) ? parsed : new MatchExpression(parsed)
  },
}

class MatchExpression extends ExtensionExpression<Match> {
  override readonly name = 'match'
  protected override readonly attributes = ATTRIBUTES

  override evaluate(run: Evaluation): void {
    if (!this.made.matches(run)) run.verdict = run.dropped ? NF_DROP : NFT_BREAK
  }
}
