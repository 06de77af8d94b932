/** Rules of what containers may reach as people write them: 'allow 10.0.0.0/8:443/tcp, deny *'; the first that matches decides. */
import { parseRuleLine } from '../net/policy/rule.ts'
import { UserError } from '../sandbox/user-error.ts'

/** The rules, one each; a UserError says what is wrong with one and that it stands in `where`. */
export function policyLines(text: string, where: string): string[] {
  const lines = text
    .split(/[,\n]/)
    .map(line => line.trim())
    .filter(Boolean)
  for (const line of lines) {
    const rule = parseRuleLine(line)
    if (typeof rule === 'string') throw new UserError(`${where}: ${line}: ${rule}`)
  }
  return lines
}
