/**
 * Changes single members of the objects in a JSON text and leaves every other character as it is: files that people write
 * have a layout of their own. The text must be valid JSON with an object on top.
 */

interface Member {
  readonly key: string
  /** Where the key begins; where the value begins and ends. */
  readonly at: number
  readonly from: number
  readonly to: number
}

interface JsonObject {
  /** Of '{', and behind '}'. */
  readonly from: number
  readonly to: number
  readonly members: readonly Member[]
}

const INDENT = '    '

/** Sets the member at `path`; objects on the way are made. */
export function setMember(text: string, path: readonly string[], value: unknown): string {
  const { object, member, rest } = find(text, path)
  // What is missing of the path is made around the value.
  const made = rest.slice(1).reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
  const unit = /^([ \t]+)"/m.exec(text)?.[1] ?? INDENT
  const depth = path.length - rest.length + (member === undefined ? 1 : 0)
  const printed = JSON.stringify(made, null, unit).replaceAll('\n', `\n${unit.repeat(depth)}`)
  if (member !== undefined) return text.slice(0, member.from) + printed + text.slice(member.to)
  const entry = `\n${unit.repeat(depth)}${JSON.stringify(rest[0])}: ${printed}`
  const last = object.members.at(-1)
  if (last !== undefined) return `${text.slice(0, last.to)},${entry}${text.slice(last.to)}`
  return `${text.slice(0, object.from + 1)}${entry}\n${unit.repeat(depth - 1)}}${text.slice(object.to)}`
}

/** Removes the member at `path`, if there is one. */
export function removeMember(text: string, path: readonly string[]): string {
  const { object, member } = find(text, path)
  if (member === undefined) return text
  const index = object.members.indexOf(member)
  const before = object.members[index - 1]
  const after = object.members[index + 1]
  if (before !== undefined) return text.slice(0, before.to) + text.slice(member.to)
  if (after !== undefined) return text.slice(0, member.at) + text.slice(after.at)
  return `${text.slice(0, object.from)}{}${text.slice(object.to)}`
}

/**
 * The innermost object on the way of `path` that exists; its member, if that is the path's last; and what of the path
 * lies in it.
 */
function find(text: string, path: readonly string[]) {
  let object = objectAt(text, text.indexOf('{'))
  for (let depth = 0; ; depth++) {
    const rest = path.slice(depth)
    // Of several with one key the last counts, as in JSON.parse.
    const member = object.members.findLast(({ key }) => key === rest[0])
    if (member === undefined) return { object, member, rest }
    if (rest.length === 1) return { object, member, rest: [] }
    object = objectAt(text, member.from)
  }
}

function objectAt(text: string, from: number): JsonObject {
  const members: Member[] = []
  let at = skipSpace(text, from + 1)
  while (text[at] !== '}') {
    const keyEnd = valueEnd(text, at)
    const valueFrom = skipSpace(text, skipSpace(text, keyEnd) + 1)
    const to = valueEnd(text, valueFrom)
    members.push({ key: JSON.parse(text.slice(at, keyEnd)), at, from: valueFrom, to })
    at = skipSpace(text, to)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return { from, to: at + 1, members }
}

/** Behind the value that begins at `at`. */
function valueEnd(text: string, at: number): number {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]|[^\s,:{}[\]"]+/gy
  let depth = 0
  do {
    token.lastIndex = at = depth === 0 ? at : skipPunctuation(text, at)
    const [found] = token.exec(text)!
    if (found === '{' || found === '[') depth++
    if (found === '}' || found === ']') depth--
    at = token.lastIndex
  } while (depth > 0)
  return at
}

function skipSpace(text: string, at: number): number {
  while (' \t\r\n'.includes(text[at]!)) at++
  return at
}

function skipPunctuation(text: string, at: number): number {
  while (' \t\r\n,:'.includes(text[at]!)) at++
  return at
}
