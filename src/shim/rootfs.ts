/**
 * The root file system of a container as containerd describes it: mounts (an overlay, or binds) that are made at
 * BUNDLE/rootfs, in the host's mount namespace, and taken away when the container is deleted.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  AT_FDCWD,
  MNT_DETACH,
  MS_BIND,
  MS_DIRSYNC,
  MS_MANDLOCK,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  MS_SHARED,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  UMOUNT_NOFOLLOW,
} from '../abi/constants.ts'
import { EINVAL, ENOENT, errnoName } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { encodeText } from '../base/bytes.ts'
import type { Addon } from '../platform/addon.ts'
import { parseMountInfo } from '../sandbox/mount-info.ts'
import { UserError } from '../sandbox/user-error.ts'

/** containerd.types.Mount */
export interface RootfsMount {
  readonly type: string
  readonly source: string
  readonly target: string
  readonly options: readonly string[]
}

/** Option → the flag that it sets, or takes away again where it is negative. */
const FLAGS: Readonly<Record<string, number>> = {
  async: -MS_SYNCHRONOUS,
  atime: -MS_NOATIME,
  bind: MS_BIND,
  defaults: 0,
  dev: -MS_NODEV,
  diratime: -MS_NODIRATIME,
  dirsync: MS_DIRSYNC,
  exec: -MS_NOEXEC,
  mand: MS_MANDLOCK,
  noatime: MS_NOATIME,
  nodev: MS_NODEV,
  nodiratime: MS_NODIRATIME,
  noexec: MS_NOEXEC,
  nomand: -MS_MANDLOCK,
  norelatime: -MS_RELATIME,
  nostrictatime: -MS_STRICTATIME,
  nosuid: MS_NOSUID,
  rbind: MS_BIND | MS_REC,
  relatime: MS_RELATIME,
  remount: MS_REMOUNT,
  ro: MS_RDONLY,
  rw: -MS_RDONLY,
  strictatime: MS_STRICTATIME,
  suid: -MS_NOSUID,
  sync: MS_SYNCHRONOUS,
}
const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  rshared: MS_SHARED | MS_REC,
  rslave: MS_SLAVE | MS_REC,
  runbindable: MS_UNBINDABLE | MS_REC,
  shared: MS_SHARED,
  slave: MS_SLAVE,
  unbindable: MS_UNBINDABLE,
}
/** mount(2) takes a page of options. */
const MAX_DATA = 4095

/** Makes `mounts` at `rootfs`; all or none. */
export function mountRootfs(addon: Addon, mounts: readonly RootfsMount[], rootfs: string): void {
  if (mounts.length === 0) return
  mkdirSync(rootfs, { recursive: true, mode: 0o711 })
  try {
    for (const mount of mounts) mountOne(addon, mount, placeOf(addon, mount, rootfs))
  } catch (error) {
    unmountRootfs(addon, rootfs)
    throw error
  }
}

/** Takes away all mounts at and below `rootfs`. */
export function unmountRootfs(addon: Addon, rootfs: string): void {
  const top = encodeText(rootfs)
  const mounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'latin1'))
  const there = mounts.filter(({ path }) => path === top || path.startsWith(`${top}/`))
  for (const { path } of there.reverse()) {
    const status = addon.syscall(NR.umount2, path, MNT_DETACH | UMOUNT_NOFOLLOW)
    if (status < 0 && status !== -EINVAL && status !== -ENOENT) throw refusal(rootfs, 'unmounting it', status)
  }
}

/** Where the mount is to be, as a byte string: a link of the image that is on the way leads nowhere else. */
function placeOf(addon: Addon, { target }: RootfsMount, rootfs: string): string {
  const top = encodeText(rootfs)
  if (target === '' || target === '/') return top
  const root = addon.openat2(AT_FDCWD, top, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0)
  if (root < 0) throw refusal(rootfs, 'opening it', root)
  const at = addon.openat2(root, encodeText(target), O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT)
  addon.close(root)
  if (at < 0) throw refusal(rootfs, `looking for ${target}`, at)
  const path = addon.readlinkat(AT_FDCWD, `/proc/self/fd/${at}`)
  addon.close(at)
  if (typeof path === 'number') throw refusal(rootfs, `looking for ${target}`, path)
  return path
}

/** `at`: a byte string. */
function mountOne(addon: Addon, mount: RootfsMount, at: string): void {
  const { flags, propagation, data } = parseOptions(mount.options)
  const base = mount.type === 'overlay' ? commonBase(data) : undefined
  const text = base === undefined ? data.join(',') : relativeTo(data, base)
  if (text.length > MAX_DATA) throw new UserError(`${at}: the options of its mount are longer than a page`)
  const type = flags & MS_BIND ? 0 : mount.type
  // Bytes, since strings may be no longer than a path.
  const options = Buffer.from(`${text}\0`)
  const run = () => addon.syscall(NR.mount, encodeText(mount.source), at, type, flags, options)
  const status = base === undefined ? run() : inDirectory(base, run)
  if (status < 0) throw refusal(at, `mounting ${mount.type} of ${mount.source}`, status)
  if (flags & MS_BIND && flags & ~(MS_BIND | MS_REC)) {
    // A bind obeys no other flag at first.
    const again = addon.syscall(NR.mount, 0, at, 0, flags | MS_REMOUNT, 0)
    if (again < 0) throw refusal(at, 'setting its flags', again)
  }
  for (const kind of propagation) {
    const set = addon.syscall(NR.mount, 0, at, 0, kind, 0)
    if (set < 0) throw refusal(at, 'setting its propagation', set)
  }
}

function parseOptions(options: readonly string[]) {
  let flags = 0
  const propagation: number[] = []
  const data: string[] = []
  for (const option of options) {
    if (option === 'loop') throw new UserError('a root file system on a loop device is not supported')
    const flag = Object.hasOwn(FLAGS, option) ? FLAGS[option] : undefined
    if (Object.hasOwn(PROPAGATION, option)) propagation.push(PROPAGATION[option])
    else if (flag === undefined) data.push(option)
    else flags = flag < 0 ? flags & ~-flag : flags | flag
  }
  return { flags, propagation, data }
}

/** Where the layers of an overlay are so many that their paths need to be short: the directory above all of them. */
function commonBase(data: readonly string[]): string | undefined {
  if (data.join(',').length <= MAX_DATA) return undefined
  const layers = layersOf(data)
  if (layers.length === 0 || !layers.every(path => path.startsWith('/'))) return undefined
  let base = dirname(layers[0])
  while (base !== '/' && !layers.every(path => path.startsWith(`${base}/`))) base = dirname(base)
  return base === '/' ? undefined : base
}

function layersOf(data: readonly string[]): string[] {
  return data.flatMap(option => (option.startsWith(LOWER) ? option.slice(LOWER.length).split(':') : []))
}
const LOWER = 'lowerdir='

function relativeTo(data: readonly string[], base: string): string {
  return data
    .map(option =>
      option.startsWith(LOWER)
        ? LOWER +
          layersOf([option])
            .map(path => path.slice(base.length + 1))
            .join(':')
        : option,
    )
    .join(',')
}

/** Nothing else runs in between. */
function inDirectory(path: string, run: () => number): number {
  const before = process.cwd()
  process.chdir(path)
  try {
    return run()
  } finally {
    process.chdir(before)
  }
}

function refusal(path: string, what: string, errno: number): UserError {
  return new UserError(`${path}: ${what} failed: ${errnoName(-errno)}`)
}
