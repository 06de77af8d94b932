/**
 * Terminals of the host for containers: a pseudo terminal whose slave the sandbox gets, and whose master goes to who
 * attaches to the container: over a socket (--console-socket of `create` and `exec`), or it stays with the caller.
 */
import { closeSync, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import {
  AF_UNIX,
  AT_FDCWD,
  MSG_NOSIGNAL,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_PATH,
  O_RDWR,
  SCM_RIGHTS,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
  TCGETS,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCSPTLCK,
  TIOCSWINSZ,
} from '../abi/constants.ts'
import { TERMIOS } from '../abi/layout.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import { unixAddress } from './unix-address.ts'

export interface Console {
  readonly master: number
  readonly slave: number
  /** /dev/pts/N */
  readonly name: string
}

export interface WindowSize {
  readonly width: number
  readonly height: number
}

/** A new pseudo terminal; both descriptors are the caller's to close. */
export function openConsole(addon: Addon, size?: WindowSize): Console {
  const master = check(addon.openat2(AT_FDCWD, '/dev/ptmx', O_RDWR | O_NOCTTY | O_CLOEXEC, 0, 0), '/dev/ptmx')
  try {
    check(addon.ioctl(master, TIOCSPTLCK, new Uint8Array(4)), 'unlocking it')
    const number = new Uint32Array(1)
    check(addon.ioctl(master, TIOCGPTN, new Uint8Array(number.buffer)), 'its number')
    // Not by name: /dev/pts may be another instance.
    const slave = check(addon.ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), 'opening it')
    if (size !== undefined) setWindowSize(addon, slave, size)
    return { master, slave, name: `/dev/pts/${number[0]}` }
  } catch (error) {
    closeSync(master)
    throw error
  }
}

/** On either end; who has the other as its controlling terminal gets SIGWINCH. */
export function setWindowSize(addon: Addon, fd: number, { width, height }: WindowSize): void {
  const size = new Uint16Array([height, width, 0, 0])
  check(addon.ioctl(fd, TIOCSWINSZ, new Uint8Array(size.buffer)), 'setting its size')
}

export function isTerminal(addon: Addon, fd: number): boolean {
  return addon.ioctl(fd, TCGETS, new Uint8Array(TERMIOS.size)) >= 0
}

/** The terminal of whoever started us; undefined where there is none. */
export function findTerminal(addon: Addon): number | undefined {
  const standard = [0, 1, 2].find(fd => isTerminal(addon, fd))
  if (standard !== undefined) return standard
  try {
    return openSync('/dev/tty', O_RDWR | O_NOCTTY)
  } catch {
    return undefined
  }
}

/** Sends the master, with the terminal's name, to who listens on the unix socket at `path`. */
export function sendMaster(addon: Addon, path: string, { master, name }: Console): void {
  const what = `--console-socket ${path}`
  // The address has no room for long paths.
  const directory = check(
    addon.openat2(AT_FDCWD, dirname(path), O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0),
    what,
  )
  const socket = addon.makeSocket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
  try {
    check(socket, what)
    check(addon.connectSocket(socket, unixAddress(`/proc/self/fd/${directory}/${basename(path)}`)), what)
    check(addon.sendMessage(socket, Buffer.from(name), MSG_NOSIGNAL, undefined, passing(master)), what)
  } finally {
    addon.close(directory)
    if (socket >= 0) addon.close(socket)
  }
}

/** A struct cmsghdr with one descriptor. */
function passing(fd: number): Uint8Array {
  const control = Buffer.alloc(24)
  control.writeUInt32LE(20)
  control.writeInt32LE(SOL_SOCKET, 8)
  control.writeInt32LE(SCM_RIGHTS, 12)
  control.writeInt32LE(fd, 16)
  return control
}

function check(result: number, what: string): number {
  if (result >= 0) return result
  throw new UserError(`no terminal for the container: ${what}: ${getSystemErrorMessage(result)}`)
}
