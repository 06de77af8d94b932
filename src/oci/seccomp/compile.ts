/**
 * runtime-spec's `linux.seccomp` as a classic BPF program for the sandbox's kernel, with the meaning that runc and
 * libseccomp give it:
 *
 *   - a rule without conditions decides its calls, whatever rules with conditions there are;
 *   - else the first rule whose conditions all hold decides; conditions on the same argument are alternatives;
 *   - else the default action, but for calls with numbers above all that the profile names: its author can't have
 *     thought of them, and ENOSYS makes a program fall back to what he knew;
 *   - names that x86-64 doesn't have are skipped, and so are rules that say what the default says.
 *
 * Calls of another architecture don't exist in the sandbox; the program refuses them as libseccomp's do. x32's are judged
 * by their x86-64 number where the profile lists that architecture.
 */
import { AUDIT_ARCH_X86_64, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_THREAD } from '../../abi/constants.ts'
import { ENOSYS } from '../../abi/errno.ts'
import { SECCOMP_DATA } from '../../abi/layout.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import type { SeccompSpec } from '../../sandbox/protocol.ts'
import { UserError } from '../../sandbox/user-error.ts'
import type { SeccompConfig, SeccompRule } from '../config.ts'
import { actionOf, flagsOf, isPermissive } from './actions.ts'
import { type Condition, parseConditions, rulesCode } from './conditions.ts'
import { and, answer, branch, type Code, flatten, ifEqual, load } from './instructions.ts'

/** __X32_SYSCALL_BIT */
const X32_BIT = 0x40000000
const MAX_INSTRUCTIONS = 4096

/** What becomes of the calls from the number `from` on, until the next verdict's. */
interface Verdict {
  readonly from: number
  readonly code: Code
}

/** A rule for one call: its action where all conditions hold. */
export interface CallRule {
  readonly conditions: readonly Condition[]
  readonly action: number
}

export function compileSeccomp(config: SeccompConfig): SeccompSpec {
  const fallback = actionOf(config.defaultAction, config.defaultErrnoRet, 'linux.seccomp.defaultAction')
  const rules = rulesByNumber(config.syscalls ?? [], fallback)
  const program = flatten([
    ...load(SECCOMP_DATA.arch),
    ...ifEqual(AUDIT_ARCH_X86_64, 1, 0),
    ...answer(SECCOMP_RET_KILL_THREAD),
    ...load(SECCOMP_DATA.nr),
    ...x32Code(config.architectures?.includes('SCMP_ARCH_X32') ?? false),
    ...decide(verdicts(rules, fallback)),
  ])
  if (program.length / 4 > MAX_INSTRUCTIONS) {
    throw new UserError(`linux.seccomp is too long: Linux takes programs of ${MAX_INSTRUCTIONS} instructions`)
  }
  return { program, flags: flagsOf(config.flags ?? []) }
}

/** The rules of each call that the profile names, in the order in which they are asked. */
function rulesByNumber(rules: readonly SeccompRule[], fallback: number): Map<number, CallRule[]> {
  const byNumber = new Map<number, CallRule[]>()
  rules.forEach((rule, i) => {
    const field = `linux.seccomp.syscalls[${i}]`
    const action = actionOf(rule.action, rule.errnoRet, `${field}.action`)
    const alternatives = parseConditions(rule.args ?? [], field)
    for (const name of rule.names) {
      const nr = Object.hasOwn(NR, name) ? NR[name as keyof typeof NR] : undefined
      if (nr === undefined) continue
      const list = byNumber.get(nr) ?? []
      byNumber.set(nr, list)
      if (action === fallback) continue
      for (const conditions of alternatives) list.push({ conditions, action })
    }
  })
  return byNumber
}

/** In ascending order, the first from 0; neighbours differ. */
function verdicts(rules: ReadonlyMap<number, readonly CallRule[]>, fallback: number): Verdict[] {
  const list: Verdict[] = []
  const put = (from: number, code: Code) => {
    const last = list.at(-1)
    if (last?.from === from) list.pop()
    const before = list.at(-1)
    if (before === undefined || !isSame(before.code, code)) list.push({ from, code })
  }
  put(0, answer(fallback))
  const numbers = [...rules.keys()].sort((a, b) => a - b)
  for (const nr of numbers) {
    put(nr, callCode(rules.get(nr)!, fallback))
    put(nr + 1, answer(fallback))
  }
  const newest = numbers.at(-1)
  if (newest !== undefined && !isPermissive(fallback)) put(newest + 1, answer(SECCOMP_RET_ERRNO | ENOSYS))
  return list
}

function callCode(rules: readonly CallRule[], fallback: number): Code {
  const unconditional = rules.find(rule => rule.conditions.length === 0)
  if (unconditional !== undefined) return answer(unconditional.action)
  return [...rulesCode(rules), ...answer(fallback)]
}

function isSame(a: Code, b: Code): boolean {
  return a.length === 1 && b.length === 1 && a[0].k === b[0].k
}

/** The number is loaded; finds its verdict by halving. Every path ends with an answer. */
function decide(list: readonly Verdict[]): Code {
  if (list.length === 1) return list[0].code
  const middle = list.length >>> 1
  return branch(list[middle].from, decide(list.slice(0, middle)), decide(list.slice(middle)))
}

/** The number is loaded. */
function x32Code(allowed: boolean): Code {
  if (allowed) return and(~X32_BIT)
  return branch(X32_BIT, [], answer(SECCOMP_RET_KILL_THREAD))
}
