/** match: a match of x_tables (compat/) as a step of a rule. */
import {
  NF_DROP,
  NFT_BREAK,
  NFTA_MATCH_INFO,
  NFTA_MATCH_NAME,
  NFTA_MATCH_REV,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { viewOf } from '../../../netlink/message.ts'
import { checkInfo, findExtension, type Match } from '../compat/extension.ts'
import { MATCHES } from '../compat/matches.ts'
import type { Evaluation } from '../evaluation.ts'
import type { ExpressionType } from '../expression.ts'
import { ExtensionExpression } from './extension-expression.ts'

const ATTRIBUTES = { name: NFTA_MATCH_NAME, revision: NFTA_MATCH_REV, info: NFTA_MATCH_INFO }

export const match: ExpressionType = {
  name: 'match',
  parse(context, attributes) {
    const name = attributes.string(NFTA_MATCH_NAME)
    const revision = attributes.be32(NFTA_MATCH_REV)
    const info = attributes.get(NFTA_MATCH_INFO)?.slice()
    if (name === undefined || revision === undefined || info === undefined) return -EINVAL
    const extension = findExtension(MATCHES, context.family, name, revision)
    if (typeof extension === 'number') return extension
    const { netfilter, family, protocol, table } = context
    const about = { netfilter, family, protocol, tableName: table.name }
    const status = checkInfo(extension, info, about)
    if (status < 0) return status
    const made = extension.parse(viewOf(info), about)
    return typeof made === 'number' ? made : new MatchExpression(extension, info, context, made)
  },
}

class MatchExpression extends ExtensionExpression<Match> {
  override readonly name = 'match'
  protected override readonly attributes = ATTRIBUTES

  override evaluate(run: Evaluation): void {
    if (!this.made.matches(run)) run.verdict = run.dropped ? NF_DROP : NFT_BREAK
  }
}
