/**
 * Settings of a network namespace: what /proc/sys/net shows (sysctl-net.ts). What stands behind a namespace may bring them,
 * by `NetNamespace.stack`; else there are those that programs look for, with Linux's usual values.
 */
import { S_IFDIR, S_IFREG } from '../../abi/constants.ts'
import { ENOENT, EPERM } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'

/** A tree of settings; a path is as 'ipv4/ip_forward', that of the top ''. */
export interface NetSettings {
  /** Type and permissions of what is there; undefined: nothing is. */
  mode(path: string): number | undefined
  /** The names in a directory. */
  list(path: string): readonly string[]
  /** With its newline. */
  read(path: string): OrErrno<string>
  write(path: string, text: string): Status
}

/** What a network stack may have. */
export interface NetSettingsSource {
  readonly settings: NetSettings | undefined
}

/** Settings that are what they are: values in records, a record for each directory. */
export interface FixedSettings {
  readonly [name: string]: string | number | FixedSettings
}

export function fixedNetSettings(top: FixedSettings): NetSettings {
  const at = (path: string): string | number | FixedSettings | undefined => {
    let found: string | number | FixedSettings | undefined = top
    for (const name of path === '' ? [] : path.split('/')) {
      found = typeof found === 'object' && Object.hasOwn(found, name) ? found[name] : undefined
    }
    return found
  }
  return {
    mode(path) {
      const found = at(path)
      if (found === undefined) return undefined
      return typeof found === 'object' ? S_IFDIR | 0o555 : S_IFREG | 0o644
    },
    list(path) {
      const found = at(path)
      return typeof found === 'object' ? Object.keys(found) : []
    },
    read(path) {
      const found = at(path)
      return found === undefined || typeof found === 'object' ? -ENOENT : `${found}\n`
    },
    // Fixed, though Linux would let root change it: writing the value that it has is no error.
    write: (path, text) => (text.trim() === String(at(path)) ? 0 : -EPERM),
  }
}

const IPV4_CONF: FixedSettings = { accept_redirects: 1, forwarding: 0, rp_filter: 0, send_redirects: 1 }
const IPV6_CONF: FixedSettings = { accept_ra: 1, disable_ipv6: 0, forwarding: 0 }

const USUAL: FixedSettings = {
  core: {
    bpf_jit_enable: 1,
    default_qdisc: 'pfifo_fast',
    netdev_max_backlog: 1000,
    optmem_max: 131072,
    rmem_default: 212992,
    rmem_max: 4194304,
    somaxconn: 4096,
    wmem_default: 212992,
    wmem_max: 4194304,
  },
  ipv4: {
    conf: { all: IPV4_CONF, default: IPV4_CONF, lo: IPV4_CONF },
    icmp_echo_ignore_all: 0,
    ip_default_ttl: 64,
    ip_forward: 0,
    ip_local_port_range: '32768\t60999',
    ip_local_reserved_ports: '',
    ip_nonlocal_bind: 0,
    ip_unprivileged_port_start: 1024,
    ping_group_range: '1\t0',
    tcp_allowed_congestion_control: 'reno cubic',
    tcp_available_congestion_control: 'reno cubic',
    tcp_congestion_control: 'cubic',
    tcp_fastopen: 1,
    tcp_fin_timeout: 60,
    tcp_keepalive_intvl: 75,
    tcp_keepalive_probes: 9,
    tcp_keepalive_time: 7200,
    tcp_max_syn_backlog: 2048,
    tcp_mem: '287901\t383868\t575802',
    tcp_moderate_rcvbuf: 1,
    tcp_rmem: '4096\t131072\t33554432',
    tcp_sack: 1,
    tcp_syn_retries: 6,
    tcp_synack_retries: 5,
    tcp_syncookies: 1,
    tcp_timestamps: 1,
    tcp_tw_reuse: 2,
    tcp_window_scaling: 1,
    tcp_wmem: '4096\t16384\t4194304',
    udp_mem: '575802\t767736\t1151604',
  },
  ipv6: {
    bindv6only: 0,
    conf: { all: IPV6_CONF, default: IPV6_CONF, lo: IPV6_CONF },
    ip_nonlocal_bind: 0,
  },
  unix: { max_dgram_qlen: 10 },
}

export const USUAL_NET_SETTINGS = fixedNetSettings(USUAL)
