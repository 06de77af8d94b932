/**
 * The flags of a verb, as data: `--name`, `--name VALUE`, `--name=VALUE`, and for those with a short form `-n`, `-n VALUE`.
 * They end at the first word that is none, or behind `--`; what follows is the verb's own, so that a command's flags stay
 * the command's. A verb that runs no command takes them anywhere.
 */
import { UserError } from '../sandbox/user-error.ts'

export interface Flag {
  /** What stands for the value in the help; absent where the flag takes none: it may then be given =true or =false. */
  readonly value?: string
  /** One letter. */
  readonly short?: string
  readonly help: string
}

/** By name, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>

/** Does a command line, without the program's name: the exit status. */
export type Run = (words: readonly string[]) => Promise<number>

export interface Verb {
  /** What follows the verb's name. */
  readonly usage: string
  readonly help: string
  readonly flags: Flags
  /** Whether flags may stand behind other words. */
  readonly flagsAnywhere?: boolean
  /** Its exit status. `globals`: what stands in front of the verb. `again`: for another command line in this process. */
  run(words: Words, globals: Words, again?: Run): Promise<number> | number
}

export interface GivenFlag {
  readonly name: string
  readonly value: string
}

/** A verb's part of the command line, taken apart. */
export class Words {
  readonly #values: Map<string, string[]>
  readonly #given: readonly GivenFlag[]
  /** Behind the flags. */
  readonly rest: readonly string[]

  /** `given`: the flags with values, in their order. */
  constructor(values: Map<string, string[]>, rest: readonly string[], given: readonly GivenFlag[] = []) {
    this.#values = values
    this.#given = given
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
  /** Several flags, in the order in which they were given. */
  inOrder(...flags: readonly string[]): readonly GivenFlag[] {
    return this.#given.filter(({ name }) => flags.includes(name))
  }
}

/** Takes `words` apart; undefined where they ask for help. Throws UserError for what `flags` do not have. */
export function parseWords(flags: Flags, words: readonly string[], anywhere = false): Words | undefined {
  const values = new Map<string, string[]>()
  const rest: string[] = []
  const given: GivenFlag[] = []
  let at = 0
  while (at < words.length) {
    const word = words[at++]
    if (word === '--') break
    if (!word.startsWith('-') || word === '-') {
      rest.push(word)
      if (anywhere) continue
      break
    }
    if (word === '--help' || word === '-h') return undefined
    const [short, attached] = splitFlag(word)
    const name = word.startsWith('--') ? short : longName(flags, short)
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined
    if (flag === undefined) throw new UserError(`unknown option ${word}; --help lists them`)
    if (flag.value === undefined) {
      if (attached === 'false') values.delete(name)
      else if (attached === undefined || attached === 'true') values.set(name, [''])
      else throw new UserError(`--${name} takes no value`)
      continue
    }
    const value = attached ?? words[at++]
    if (value === undefined) throw new UserError(`--${name} needs a value: ${flag.value}`)
    values.set(name, [...(values.get(name) ?? []), value])
    given.push({ name, value })
  }
  return new Words(values, [...rest, ...words.slice(at)], given)
}

/** The name without its dashes, and what stands behind '='. */
function splitFlag(word: string): [string, string | undefined] {
  const name = word.replace(/^--?/, '')
  const equals = name.indexOf('=')
  return equals < 0 ? [name, undefined] : [name.slice(0, equals), name.slice(equals + 1)]
}

function longName(flags: Flags, short: string): string {
  return Object.keys(flags).find(name => flags[name].short === short) ?? ''
}

/** The help of one verb. */
export function helpOf(name: string, verb: Verb): string {
  const usage = `Usage: caisson ${name} ${verb.usage}`.trimEnd()
  const flags = Object.keys(verb.flags).length === 0 ? '' : `\nFlags:\n${flagHelp(verb.flags)}`
  return `${usage}\n\n${verb.help}\n${flags}`
}

/** A row for each flag. */
export function flagHelp(flags: Flags): string {
  return columns(
    Object.entries(flags).map(([flag, { value, short, help }]): [string, string] => {
      const names = short === undefined ? `--${flag}` : `-${short}, --${flag}`
      return [value === undefined ? names : `${names} ${value}`, help]
    }),
  )
}

/** Two columns, the first as wide as it needs. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join('')
}
