/**
 * linux.sysctl: the settings of a container's namespaces, set before it has any process; those of interfaces, when it gets
 * them.
 */
import { EINVAL, ENOENT, errnoName } from '../abi/errno.ts'
import { encodeText } from '../base/bytes.ts'
import type { Status } from '../base/result.ts'
import { setIpcSetting } from '../fs/proc/sysctl-ipc.ts'
import type { NsProxy } from '../kernel/namespaces.ts'
import { netStack } from '../net/stack.ts'
import { UserError } from './user-error.ts'

/** __NEW_UTS_LEN */
const MAX_NAME = 64

type Settings = Readonly<Record<string, string>>

/** net.ipv4.conf.NAME.…, of an interface that may not be there yet. */
const OF_INTERFACE = /^net\.ipv[46]\.(?:conf|neigh)\.(?!all\.|default\.|lo\.)/

/** Names as in sysctl(8): 'kernel.msgmax'. */
export function setSysctls(settings: Settings, ns: Omit<NsProxy, 'mnt'>): void {
  setAll(
    Object.entries(settings).filter(([name]) => !OF_INTERFACE.test(name)),
    ns,
  )
}
export function setInterfaceSysctls(settings: Settings, ns: Omit<NsProxy, 'mnt'>): void {
  setAll(
    Object.entries(settings).filter(([name]) => OF_INTERFACE.test(name)),
    ns,
  )
}

function setAll(settings: readonly (readonly [string, string])[], ns: Omit<NsProxy, 'mnt'>): void {
  for (const [name, value] of settings) {
    const status = setOne(ns, name, encodeText(value))
    if (status === -ENOENT) throw new UserError(`linux.sysctl: there is no setting ${name} in a container`)
    if (status < 0) {
      throw new UserError(`linux.sysctl: ${name} can't be set to '${value}': ${errnoName(-status)}`)
    }
  }
}

function setOne(ns: Omit<NsProxy, 'mnt'>, name: string, value: string): Status {
  if (name === 'net.ipv4.ip_unprivileged_port_start') {
    if (!/^\d+$/.test(value) || Number(value) > 65535) return -EINVAL
    ns.net.unprivilegedPortStart = Number(value)
    return 0
  }
  if (name.startsWith('net.')) {
    const { settings } = netStack(ns.net)
    const path = name.slice('net.'.length).replace(/[./]/g, each => (each === '.' ? '/' : '.'))
    return settings?.write(path, value) ?? -ENOENT
  }
  if (name !== 'kernel.domainname') return setIpcSetting(ns.ipc, name, value)
  if (value.length > MAX_NAME) return -EINVAL
  ns.uts.domainname = value
  return 0
}
