/**
 * Where a shim listens: a unix socket whose name all who know containerd's address, the namespace and the group of the
 * container can work out, so that a pod's second container finds the shim of the first.
 *
 * The socket is made by system calls: `start` lasts as long as Node.js takes to load what it uses, and has no use for
 * node:net otherwise.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from '../abi/constants.ts'
import { EADDRINUSE, EAGAIN, errnoName } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { unixAddress } from '../oci/unix-address.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import { sha256 } from './sha256.ts'

/** As containerd has it: short, since so is the longest path of a socket. */
const DEFAULT_DIRECTORY = '/run/containerd/s'
const SCHEME = 'unix://'
/** In the bundle, where containerd up to 1.6 looks for its shims after a restart. */
const ADDRESS_FILE = 'address'
const BACKLOG = 128

/** `group`: of the containers that share a shim. */
export function socketPath(
  directory: string | undefined,
  containerd: string,
  namespace: string,
  group: string,
): string {
  return join(directory || DEFAULT_DIRECTORY, sha256(join(containerd, namespace, group)))
}

export function addressOf(path: string): string {
  return `${SCHEME}${path}`
}

/** Into the bundle in which we work. */
export function saveAddress(address: string): void {
  writeFileSync(`.${ADDRESS_FILE}`, address, { mode: 0o600 })
  renameSync(`.${ADDRESS_FILE}`, ADDRESS_FILE)
}

/** Removes the socket of the bundle's shim, unless somebody listens there: a pod's shim has more than one bundle. */
export function removeDeadSocket(addon: Addon, bundle: string): void {
  let address: string
  try {
    address = readFileSync(join(bundle, ADDRESS_FILE), 'utf8')
  } catch {
    return
  }
  const path = address.slice(SCHEME.length)
  if (address.startsWith(SCHEME) && !isServed(addon, path)) removeSocket(path)
}

export function removeSocket(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Another shim has taken its place, or somebody has cleaned up.
  }
}

/**
 * A descriptor that listens at `path`, for us alone, or undefined where another shim listens there already. What a dead
 * one has left is replaced.
 */
export function listenAt(addon: Addon, path: string): number | undefined {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  for (let attempt = 0; ; attempt++) {
    const fd = bind(addon, path)
    if (fd >= 0) return fd
    if (fd !== -EADDRINUSE || attempt > 1) throw refusal(path, fd)
    if (isServed(addon, path)) return undefined
    removeSocket(path)
  }
}

function bind(addon: Addon, path: string): number {
  return withSocket(addon, SOCK_STREAM | SOCK_CLOEXEC, fd => {
    const address = unixAddress(path)
    const status = addon.syscall(NR.bind, fd, address, address.length)
    if (status < 0) return status
    // Nobody connects before listen(2).
    chmodSync(path, 0o600)
    return addon.syscall(NR.listen, fd, BACKLOG)
  })
}

function isServed(addon: Addon, path: string): boolean {
  const address = unixAddress(path)
  const fd = withSocket(addon, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, fd =>
    addon.syscall(NR.connect, fd, address, address.length),
  )
  if (fd >= 0) addon.close(fd)
  // EAGAIN: it is busy.
  return fd >= 0 || fd === -EAGAIN
}

/** The socket, if `work` succeeds with it. */
function withSocket(addon: Addon, type: number, work: (fd: number) => number): number {
  const fd = addon.syscall(NR.socket, AF_UNIX, type, 0)
  if (fd < 0) return fd
  const status = work(fd)
  if (status >= 0) return fd
  addon.close(fd)
  return status
}

function refusal(path: string, errno: number): UserError {
  return new UserError(`the shim can't listen at ${path}: ${errnoName(-errno)}`)
}
