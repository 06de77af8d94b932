/** Which file a command is, and what is said where it can't be run. */
import { S_IFDIR, S_IFMT } from '../abi/constants.ts'
import { E2BIG, EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ENOMEM, ENOTDIR, errnoName } from '../abi/errno.ts'
import { decodeText } from '../base/bytes.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { LOOKUP_FOLLOW, lookup, type WalkContext } from '../vfs/namei.ts'
import { MAY_EXEC, permissionAt } from '../vfs/permission.ts'
import { UserError } from './user-error.ts'

/** As shells and env(1) have it. */
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127

/** As execvp(3): a name with a slash is itself, others are looked for in `path`. */
export function findCommand(walk: WalkContext, command: string, path: string): OrErrno<string> {
  if (command === '') return -ENOENT
  if (command.includes('/')) return command
  let error = -ENOENT
  for (const directory of path.split(':')) {
    const candidate = `${directory === '' ? '.' : directory}/${command}`
    const found = lookup(walk, undefined, candidate, LOOKUP_FOLLOW)
    if (failed(found)) continue
    const inode = found.dentry.inode!
    if (inode.isRegular && (inode.mode & 0o111) !== 0) return candidate
    error = -EACCES
  }
  return error
}

/** The value of a variable in an environment. */
export function variable(env: readonly string[], name: string): string | undefined {
  return env.findLast(entry => entry.startsWith(`${name}=`))?.slice(name.length + 1)
}

/** Why a command that was found, or wasn't, does not run. */
export function commandError(walk: WalkContext, command: string, error: number): UserError {
  const name = decodeText(command)
  if (error !== -ENOENT) {
    return new UserError(`${name}: can't be executed: ${reasonOf(-error)}`, NOT_EXECUTABLE)
  }
  const isThere = command.includes('/') && !failed(lookup(walk, undefined, command, LOOKUP_FOLLOW))
  return new UserError(`${name}: ${isThere ? 'its interpreter is missing' : 'command not found'}`, NOT_FOUND)
}

/** What an errno means to somebody who wants to start a command. */
export function reasonOf(errno: number): string {
  return REASONS.get(errno) ?? errnoName(errno)
}
const REASONS: ReadonlyMap<number, string> = new Map([
  [E2BIG, 'its arguments are too long'],
  [EACCES, 'permission denied'],
  [ELIBBAD, 'its interpreter is damaged'],
  [ELOOP, 'too many symbolic links, or interpreters of interpreters'],
  [ENOENT, 'no such directory'],
  [ENOEXEC, 'neither a program for this machine nor a script'],
  [ENOMEM, 'out of memory'],
  [ENOTDIR, 'not a directory'],
])

/**
 * The same for a container, in the words of runc, which those who started it look for: Docker tells its user 126 or 127 by
 * them.
 */
export function findContainerCommand(walk: WalkContext, command: string, path: string | undefined): string {
  const fail = (reason: string, status: number): never => {
    throw new UserError(`exec: "${decodeText(command)}": ${reason}`, status)
  }
  if (!command.includes('/')) {
    const found = path === undefined ? -ENOENT : findCommand(walk, command, path)
    if (!failed(found)) return found
    return found === -EACCES
      ? fail('permission denied', NOT_EXECUTABLE)
      : fail('executable file not found in $PATH', NOT_FOUND)
  }
  const found = lookup(walk, undefined, command, LOOKUP_FOLLOW)
  if (failed(found)) {
    return found === -ENOENT
      ? fail(`stat ${decodeText(command)}: no such file or directory`, NOT_FOUND)
      : fail(`stat ${decodeText(command)}: ${reasonOf(-found)}`, NOT_EXECUTABLE)
  }
  const inode = found.dentry.inode!
  if ((inode.mode & S_IFMT) === S_IFDIR) return fail('is a directory', NOT_EXECUTABLE)
  if ((inode.mode & 0o111) === 0 || permissionAt(walk.cred, found, MAY_EXEC) < 0) {
    return fail('permission denied', NOT_EXECUTABLE)
  }
  return command
}

/** execve itself refused it. */
export function containerExecError(command: string, error: number): UserError {
  const status = error === -ENOENT ? NOT_FOUND : NOT_EXECUTABLE
  return new UserError(`exec ${decodeText(command)}: ${EXEC_REASONS.get(-error) ?? reasonOf(-error)}`, status)
}
const EXEC_REASONS: ReadonlyMap<number, string> = new Map([
  [E2BIG, 'argument list too long'],
  [ENOENT, 'no such file or directory'],
  [ENOEXEC, 'exec format error'],
])
