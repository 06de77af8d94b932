/** How numbers and names are written in the files of /proc. */
import type { SignalSet } from '../../kernel/signal-set.ts'
import type { Path } from '../../vfs/path.ts'
import { pathToString } from '../../vfs/path-string.ts'

/** RLIM_INFINITY and other all-ones words. */
export const ALL_ONES = '18446744073709551615'

/** What a setting that is a string takes of what is written (proc_dostring). Numbers don't end at a byte that is 0. */
export function stringSetting(text: string): string {
  return text.split(/[\n\0]/, 1)[0]
}

export function hex(value: number, width = 0): string {
  return value.toString(16).padStart(width, '0')
}

/** 64 bits in two words as 16 digits. */
export function hex64(lo: number, hi: number): string {
  return hex(hi >>> 0, 8) + hex(lo >>> 0, 8)
}
export function hexSet(set: SignalSet): string {
  return hex64(set.lo, set.hi)
}

/** Nanoseconds as clock ticks (USER_HZ is 100). */
export function ticks(ns: number): number {
  return Math.floor(ns / 1e7)
}

/** '0-2,5': a list of CPUs or nodes. */
export function rangeList(numbers: readonly number[]): string {
  const parts: string[] = []
  for (let i = 0; i < numbers.length; ) {
    let end = i
    while (end + 1 < numbers.length && numbers[end + 1] === numbers[end] + 1) end++
    parts.push(end === i ? `${numbers[i]}` : `${numbers[i]}-${numbers[end]}`)
    i = end + 1
  }
  return parts.join(',')
}

/** 0, 1, …, count-1. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

/** A CPU mask in 32-bit groups. */
export function maskText(numbers: readonly number[], width: number): string {
  const groups = new Array<number>(Math.max(1, Math.ceil(width / 32))).fill(0)
  for (const n of numbers) if (n >>> 5 < groups.length) groups[n >>> 5] |= 1 << (n & 31)
  const digits = groups.length === 1 ? Math.ceil(width / 4) : 8
  return groups
    .reverse()
    .map(group => hex(group >>> 0, digits))
    .join(',')
}

/** Bytes of `escaped` as \ooo, as seq_path and mangle do. */
export function mangle(text: string, escaped: string): string {
  let out = ''
  for (const c of text) out += escaped.includes(c) ? `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}` : c
  return out
}

export function pathText(path: Path, root: Path, escaped: string): string {
  return mangle(pathToString(path, root), escaped)
}

/** Names of threads: what would break a line is escaped. */
export function commText(comm: string): string {
  return mangle(comm, '\n\\')
}
