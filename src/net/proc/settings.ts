/** /proc/sys/net of a namespace that has the kernel's own network: its Sysctls, by path. */
import { S_IFDIR, S_IFREG } from '../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { NetSettings } from '../../fs/proc/net-settings.ts'
import { stringSetting } from '../../fs/proc/text.ts'
import type { Netfilter } from '../filter/netfilter.ts'
import type { ConfSet } from '../ip/sysctl.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { congestionControl } from '../tcp/congestion/control.ts'
import type { UnixTable } from '../unix/table.ts'

/** What tcp/congestion has. */
const CONTROLS = 'reno cubic'

type Value = number | number[]
type Values = Record<string, Value>

/** One setting that is no number of Sysctls. */
interface Text {
  read(): string
  /** Absent: it can't be written. */
  write?(text: string): Status
}
type Node = Values | Value | Text | 'directory' | undefined

/** Those with bounds of their own; others are any whole number of 32 bits. */
const BOUNDS: Readonly<Record<string, readonly [number, number]>> = {
  'core/somaxconn': [0, 65535],
  'ipv4/ip_default_ttl': [1, 255],
  'ipv4/ip_local_port_range': [1, 65535],
  'ipv4/ping_group_range': [0, 0x7fffffff],
  'ipv4/tcp_fin_timeout': [0, 0x7fffffff],
  'ipv4/tcp_keepalive_time': [1, 32767],
  'ipv4/tcp_keepalive_intvl': [1, 32767],
  'ipv4/tcp_keepalive_probes': [1, 127],
  'ipv4/tcp_syn_retries': [1, 127],
  'ipv4/tcp_synack_retries': [0, 255],
  'unix/max_dgram_qlen': [0, 0x7fffffff],
}
const MIN_INT = -0x80000000
/** Some are unsigned. */
const MAX_UINT = 0xffffffff

/** Directories with a record for each device, and for all and default. */
const PER_DEVICE = /^(ipv4|ipv6)\/(conf|neigh)(?:\/([^/]+)(?:\/([^/]+))?)?$/

export class StackSettings implements NetSettings {
  readonly #stack: IpStack
  readonly #unix: UnixTable
  readonly #netfilter: () => Netfilter
  readonly #texts: Readonly<Record<string, Text>>

  constructor(stack: IpStack, unix: UnixTable, netfilter: () => Netfilter) {
    this.#stack = stack
    this.#unix = unix
    this.#netfilter = netfilter
    const { sysctls } = stack
    this.#texts = {
      'ipv4/tcp_congestion_control': {
        read: () => sysctls.congestionControl,
        write: text => {
          const name = stringSetting(text)
          if (congestionControl(name) === undefined) return -ENOENT
          sysctls.congestionControl = name
          return 0
        },
      },
      'ipv4/tcp_available_congestion_control': { read: () => CONTROLS },
      'ipv4/tcp_allowed_congestion_control': { read: () => CONTROLS },
      'ipv4/ip_local_reserved_ports': {
        read: () => sysctls.reservedPorts,
        write: text => {
          if (text !== '' && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) return -EINVAL
          sysctls.reservedPorts = text
          return 0
        },
      },
      'netfilter/nf_conntrack_buckets': { read: () => String(netfilter().conntrack.table.buckets) },
      'netfilter/nf_conntrack_count': { read: () => String(netfilter().conntrack.table.size) },
      'core/default_qdisc': { read: () => 'pfifo_fast' },
      'core/bpf_jit_enable': { read: () => '0' },
      'unix/max_dgram_qlen': {
        read: () => String(this.#unix.maxDatagrams),
        write: text => {
          if (!/^\d+$/.test(text)) return -EINVAL
          this.#unix.maxDatagrams = Number(text)
          return 0
        },
      },
    }
  }

  mode(path: string): number | undefined {
    const node = this.#find(path)
    if (node === undefined) return undefined
    if (node === 'directory') return S_IFDIR | 0o555
    return S_IFREG | (isText(node) && node.write === undefined ? 0o444 : 0o644)
  }

  list(path: string): readonly string[] {
    const names = new Set<string>()
    const prefix = path === '' ? '' : `${path}/`
    for (const name of Object.keys(this.#texts)) {
      if (name.startsWith(prefix)) names.add(name.slice(prefix.length).split('/')[0])
    }
    const match = PER_DEVICE.exec(path)
    if (match !== null) {
      if (match[3] === undefined)
        return ['all', 'default', ...this.#deviceNames()].filter(
          name => match[2] === 'conf' || name !== 'all',
        )
      return Object.keys(this.#ofDevice(match[1], match[2], match[3]) ?? {})
    }
    if (path === '') return ['core', 'ipv4', 'ipv6', 'netfilter', 'unix']
    for (const name of Object.keys(this.#record(path) ?? {})) names.add(name)
    if (path === 'ipv4')
      for (const name of ['conf', 'neigh', 'route', 'ip_unprivileged_port_start']) names.add(name)
    if (path === 'ipv6') for (const name of ['conf', 'neigh', 'route', 'icmp']) names.add(name)
    return [...names]
  }

  read(path: string): OrErrno<string> {
    const node = this.#find(path)
    if (node === undefined || node === 'directory') return -ENOENT
    if (isText(node)) return `${node.read()}\n`
    return `${Array.isArray(node) ? node.join('\t') : node}\n`
  }

  write(path: string, text: string): Status {
    const node = this.#find(path)
    if (node === undefined || node === 'directory') return -ENOENT
    if (isText(node)) return node.write?.(text.trim()) ?? -EINVAL
    const [low, high] = BOUNDS[path] ?? [MIN_INT, MAX_UINT]
    const words = text.trim().split(/\s+/)
    if (!words.every(word => /^-?\d+$/.test(word))) return -EINVAL
    const numbers = words.map(Number)
    if (numbers.some(number => number < low || number > high)) return -EINVAL
    const at = path.lastIndexOf('/')
    const record = this.#record(path.slice(0, at))!
    const name = path.slice(at + 1)
    if (!Array.isArray(node)) {
      record[name] = numbers[0]
    } else {
      // Fewer than there are change the first ones.
      const next = node.map((old, i) => numbers[i] ?? old)
      if (name.endsWith('_range') && next[0] > next[1]) return -EINVAL
      record[name] = next
    }
    this.#changed(path, numbers[0])
    return 0
  }

  /** What a setting does beside being set. */
  #changed(path: string, value: number): void {
    const { sysctls, devices } = this.#stack
    const on = value !== 0 ? 1 : 0
    const indices = () => [...devices.all].map(device => device.index)
    if (path === 'ipv4/ip_forward' || path === 'ipv4/conf/all/forwarding')
      sysctls.setForwarding(on, indices())
    else if (path === 'ipv6/conf/all/forwarding') sysctls.setForwarding6(on, indices())
    else if (path === 'ipv6/conf/all/disable_ipv6') {
      for (const device of devices.all) {
        sysctls.ipv6Conf.of(device.index).disable_ipv6 = value
        this.#stack.ipv6Switched(device)
      }
      sysctls.ipv6Conf.defaults.disable_ipv6 = value
    } else if (path.endsWith('/disable_ipv6')) {
      const device = this.#deviceOf(path.split('/')[2])
      if (device !== undefined) this.#stack.ipv6Switched(device)
    }
    this.#stack.generation++
  }

  #find(path: string): Exclude<Node, Values> {
    const text = this.#texts[path]
    if (text !== undefined) return text
    // The namespace keeps it, and sysctl-net.ts asks there.
    if (path === 'ipv4/ip_unprivileged_port_start') return this.#stack.sysctls.ipv4.ip_unprivileged_port_start
    if (path === '' || path === 'unix') return 'directory'
    const match = PER_DEVICE.exec(path)
    if (match !== null) {
      if (match[3] === undefined) return 'directory'
      const record = this.#ofDevice(match[1], match[2], match[3])
      if (record === undefined) return undefined
      return match[4] === undefined ? 'directory' : own(record, match[4])
    }
    if (this.#record(path) !== undefined) return 'directory'
    const at = path.lastIndexOf('/')
    const record = this.#record(path.slice(0, at))
    return record === undefined ? undefined : own(record, path.slice(at + 1))
  }

  /** The record behind a directory. */
  #record(path: string): Values | undefined {
    const { sysctls } = this.#stack
    switch (path) {
      case 'core':
        return sysctls.core
      case 'ipv4':
        return sysctls.ipv4
      case 'ipv4/route':
        return sysctls.ipv4Route
      case 'ipv6':
        return sysctls.ipv6
      case 'ipv6/route':
        return sysctls.ipv6Route
      case 'ipv6/icmp':
        return sysctls.ipv6Icmp
      case 'netfilter':
        return numbersOf(this.#netfilter().conntrack.settings)
    }
    const match = PER_DEVICE.exec(path)
    return match?.[3] === undefined ? undefined : this.#ofDevice(match[1], match[2], match[3])
  }

  #ofDevice(family: string, kind: string, name: string): Values | undefined {
    const { sysctls } = this.#stack
    const isV4 = family === 'ipv4'
    const set: ConfSet<Values> =
      kind === 'conf'
        ? isV4
          ? sysctls.ipv4Conf
          : sysctls.ipv6Conf
        : isV4
          ? sysctls.ipv4Neigh
          : sysctls.ipv6Neigh
    if (name === 'all') return kind === 'conf' ? set.all : undefined
    if (name === 'default') return set.defaults
    const device = this.#deviceOf(name)
    return device === undefined ? undefined : set.of(device.index)
  }

  /** Dots of a device's name are slashes in a path's word. */
  #deviceOf(name: string): NetDevice | undefined {
    return this.#stack.devices.byOwnName(name)
  }
  #deviceNames(): string[] {
    return [...this.#stack.devices.all].map(device => device.name)
  }
}

/** A class's numbers, whose methods are not among its keys. */
function numbersOf(settings: object): Values {
  return settings as Values
}
function isText(node: Value | Text): node is Text {
  return typeof node === 'object' && !Array.isArray(node)
}
function own(record: Values, name: string): Value | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}
