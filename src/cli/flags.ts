/**
 * The flags of a verb, as data: `--name`, `--name VALUE`, `--name=VALUE`. They end at the first word that is none, or
 * behind `--`; what follows is the verb's own, so that a command's flags stay the command's.
 */
import { UserError } from '../sandbox/user-error.ts'

export interface Flag {
  /** What stands for the value in the help; absent where the flag takes none. */
  readonly value?: string
  readonly help: string
}

/** By name, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>

export interface Verb {
  /** What follows the verb's name. */
  readonly usage: string
  readonly help: string
  readonly flags: Flags
  /** Its exit status. */
  run(words: Words): Promise<number> | number
}

/** A verb's part of the command line, taken apart. */
export class Words {
  readonly #values: Map<string, string[]>
  /** Behind the flags. */
  readonly rest: readonly string[]

  constructor(values: Map<string, string[]>, rest: readonly string[]) {
    this.#values = values
    this.rest = rest
  }

  has(flag: string): boolean {
    return this.#values.has(flag)
  }
  /** The last value that the flag was given. */
  last(flag: string): string | undefined {
    return this.#values.get(flag)?.at(-1)
  }
  all(flag: string): readonly string[] {
    return this.#values.get(flag) ?? []
  }
}

/** Takes `words` apart; undefined where they ask for help. Throws UserError for what `flags` do not have. */
export function parseWords(flags: Flags, words: readonly string[]): Words | undefined {
  const values = new Map<string, string[]>()
  let at = 0
  while (at < words.length && words[at]!.startsWith('-') && words[at] !== '-') {
    const word = words[at++]!
    if (word === '--') break
    if (word === '--help' || word === '-h') return undefined
    const [name, attached] = splitFlag(word)
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined
    if (flag === undefined) throw new UserError(`unknown option ${word}; --help lists them`)
    if (flag.value === undefined && attached !== undefined) throw new UserError(`--${name} takes no value`)
    const value = flag.value === undefined ? '' : (attached ?? words[at++])
    if (value === undefined) throw new UserError(`--${name} needs a value: ${flag.value}`)
    const given = values.get(name)
    if (given === undefined) values.set(name, [value])
    else given.push(value)
  }
  return new Words(values, words.slice(at))
}

function splitFlag(word: string): [string, string | undefined] {
  const equals = word.indexOf('=')
  if (!word.startsWith('--')) return [word, undefined]
  return equals < 0 ? [word.slice(2), undefined] : [word.slice(2, equals), word.slice(equals + 1)]
}

/** The help of one verb. */
export function helpOf(name: string, verb: Verb): string {
  const rows = Object.entries(verb.flags).map(([flag, { value, help }]): [string, string] => [
    value === undefined ? `--${flag}` : `--${flag} ${value}`,
    help,
  ])
  const flags = rows.length === 0 ? '' : `\nFlags:\n${columns(rows)}`
  const usage = `Usage: caisson ${name} ${verb.usage}`.trimEnd()
  return `${usage}\n\n${verb.help}\n${flags}`
}

/** Two columns, the first as wide as it needs. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join('')
}
