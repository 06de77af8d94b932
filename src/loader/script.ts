/** `#!` lines: binfmt_script. */
import { ENOEXEC } from '../abi/errno.ts'
import { fromBytes } from '../base/bytes.ts'
import type { OrErrno } from '../base/result.ts'

/** As much of a file as is looked at to tell what it is: BINPRM_BUF_SIZE. */
export const START_SIZE = 256

export interface ScriptLine {
  readonly interpreter: string
  /** All that stands behind the interpreter's name, as one argument. */
  readonly argument: string | undefined
}

export function isScript(start: Uint8Array): boolean {
  return start[0] === 0x23 && start[1] === 0x21
}

/** The `#!` line in the first START_SIZE bytes of a file (padded with zeros). -ENOEXEC if it names no interpreter. */
export function readScriptLine(start: Uint8Array): OrErrno<ScriptLine> {
  const text = fromBytes(start)
  let end = text.indexOf('\n')
  if (end < 0) {
    // No end of line: the name must end within what we have, or it would be cut.
    const name = skipBlanks(text, 2, text.length - 1)
    if (name < 0 || terminator(text, name, text.length - 1) < 0) return -ENOEXEC
    end = text.length - 1
  }
  while (isBlank(text[end - 1]!)) end--
  const name = skipBlanks(text, 2, end)
  if (name < 0 || name === end) return -ENOEXEC
  const nameEnd = terminator(text, name, end)
  let argument: string | undefined
  if (nameEnd >= 0 && text[nameEnd] !== '\0') {
    const at = skipBlanks(text, nameEnd, end)
    if (at >= 0 && at < end) argument = untilNul(text.slice(at, end))
  }
  return { interpreter: untilNul(text.slice(name, nameEnd >= 0 ? nameEnd : end)), argument }
}

function isBlank(char: string): boolean {
  return char === ' ' || char === '\t'
}

/** The first character in [from, last] that is no blank, or -1. */
function skipBlanks(text: string, from: number, last: number): number {
  for (let at = from; at <= last; at++) if (!isBlank(text[at]!)) return at
  return -1
}

/** The first blank or NUL in [from, last], or -1. */
function terminator(text: string, from: number, last: number): number {
  for (let at = from; at <= last; at++) if (isBlank(text[at]!) || text[at] === '\0') return at
  return -1
}

function untilNul(text: string): string {
  const end = text.indexOf('\0')
  return end < 0 ? text : text.slice(0, end)
}
