/**
 * runtime-spec's `linux.devices`: nodes that the container gets beside the usual ones. A sandbox has few devices; any other
 * is refused by name. A privileged container, which is given every device of the host, goes without those instead.
 */
import { S_IFBLK, S_IFCHR, S_IFIFO } from '../abi/constants.ts'
import type { DeviceSpec } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { DeviceConfig, LinuxConfig } from './config.ts'

const DEFAULT_MODE = 0o666

/** Character devices, as 'major:minor'. */
const KNOWN: ReadonlySet<string> = new Set([
  '1:3', // null
  '1:5', // zero
  '1:7', // full
  '1:8', // random
  '1:9', // urandom
  '1:11', // kmsg
  '5:0', // tty
  '5:1', // console
  '5:2', // ptmx
  '10:200', // net/tun
  '10:229', // fuse
])

/** `type`: 'c' or 'b'. */
export function isKnownDevice(type: string, major: number, minor: number): boolean {
  return type === 'c' && KNOWN.has(`${major}:${minor}`)
}

export function planDevices(linux: LinuxConfig, warnings: string[]): DeviceSpec[] {
  const everything = allowsEverything(linux)
  const specs: DeviceSpec[] = []
  const missing: string[] = []
  linux.devices?.forEach((device, i) => {
    const { path, major = 0, minor = 0 } = device
    const field = `linux.devices[${i}]`
    if (!path.startsWith('/')) throw new UserError(`${field}.path must be absolute, and is '${path}'`)
    const type = device.type === 'u' ? 'c' : device.type
    if (type !== 'p' && !isKnownDevice(type, major, minor)) {
      if (!everything) {
        const name = `${path} (${type} ${major}:${minor})`
        throw new UserError(`${field} can't be obeyed: ${name} is a device that a sandbox doesn't have`)
      }
      missing.push(path)
      return
    }
    specs.push({
      path,
      type: typeBits(type),
      major,
      minor,
      mode: (device.fileMode ?? DEFAULT_MODE) & 0o7777,
      uid: device.uid ?? 0,
      gid: device.gid ?? 0,
    })
  })
  if (missing.length > 0) {
    warnings.push(`linux.devices: ${missing.join(', ')} are ignored: a sandbox doesn't have these devices`)
  }
  return specs
}

/** Whether the container may use whatever device there is (docker run --privileged). */
function allowsEverything(linux: LinuxConfig): boolean {
  return (linux.resources?.devices ?? []).some(rule => {
    const { allow, type, major = -1, minor = -1 } = rule
    return allow && (type === undefined || type === 'a') && major < 0 && minor < 0
  })
}

function typeBits(type: DeviceConfig['type']): number {
  if (type === 'p') return S_IFIFO
  return type === 'b' ? S_IFBLK : S_IFCHR
}
