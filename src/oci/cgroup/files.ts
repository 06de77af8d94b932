/** Files of a cgroup, which are short texts; and the errors that the kernel has about them. */
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../sandbox/user-error.ts'

/** '' where there is none, or nobody's processes are in the cgroup any more. */
export function readText(directory: string | undefined, file: string): string {
  if (directory === undefined) return ''
  try {
    return readFileSync(join(directory, file), 'utf8').trim()
  } catch {
    return ''
  }
}

/** 0 where there is none; 'max' is none. */
export function readNumber(directory: string | undefined, file: string): number {
  const value = Number(readText(directory, file))
  return Number.isFinite(value) ? value : 0
}

/** Lines of 'name value'. */
export function readTable(directory: string | undefined, file: string): ReadonlyMap<string, number> {
  const table = new Map<string, number>()
  for (const line of readText(directory, file).split('\n')) {
    const [name, value] = line.split(' ')
    if (value !== undefined) table.set(name, Number(value))
  }
  return table
}

export function hasFile(directory: string, file: string): boolean {
  return existsSync(join(directory, file))
}

/** `why`: the field that asks for it. */
export function writeText(directory: string, file: string, value: string, why: string): void {
  const path = join(directory, file)
  try {
    put(path, value)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === 'ENOENT' ? 'this host does not have it, or not for this cgroup' : `the kernel says ${code}`
    throw new UserError(`${why} can't be obeyed: '${value}' can't be written to ${path}: ${reason}`)
  }
}

/** Whether it could be written. */
export function tryWrite(directory: string, file: string, value: string): boolean {
  try {
    put(join(directory, file), value)
    return true
  } catch {
    return false
  }
}

/** Never makes the file, and doesn't ask to read it: some can only be written. */
function put(path: string, value: string): void {
  const fd = openSync(path, constants.O_WRONLY)
  try {
    writeSync(fd, value)
  } finally {
    closeSync(fd)
  }
}
