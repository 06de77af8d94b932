/**
 * The settings below /proc/sys/net of one namespace: plain fields by Linux's names and with its defaults, which the stack
 * reads where it needs them. What /proc/sys shows and accepts is made from the same fields: a number, or an array of them.
 *
 * Each device has its own conf and neigh records, copied from `default` when it is registered; `all` counts as
 * ip-sysctl.rst says for each (`either`, `most` and `own` below).
 */

/** net.core */
export const CORE = {
  netdev_max_backlog: 1000,
  optmem_max: 131072,
  rmem_default: 212992,
  rmem_max: 4194304,
  somaxconn: 4096,
  wmem_default: 212992,
  wmem_max: 4194304,
}

/** net.ipv4 */
export const IPV4 = {
  fib_multipath_hash_fields: 7,
  fib_multipath_hash_policy: 0,
  icmp_echo_ignore_all: 0,
  icmp_echo_ignore_broadcasts: 1,
  icmp_ignore_bogus_error_responses: 1,
  icmp_msgs_burst: 50,
  icmp_msgs_per_sec: 1000,
  icmp_ratelimit: 1000,
  icmp_ratemask: 6168,
  igmp_link_local_mcast_reports: 1,
  igmp_max_memberships: 20,
  igmp_max_msf: 10,
  igmp_qrv: 2,
  ip_default_ttl: 64,
  ip_early_demux: 1,
  ip_forward: 0,
  ip_forward_update_priority: 1,
  ip_forward_use_pmtu: 0,
  ip_local_port_range: [32768, 60999],
  ip_no_pmtu_disc: 0,
  ip_nonlocal_bind: 0,
  ip_unprivileged_port_start: 1024,
  ipfrag_high_thresh: 4194304,
  ipfrag_low_thresh: 3145728,
  ipfrag_max_dist: 64,
  ipfrag_time: 30,
  ping_group_range: [1, 0],
  tcp_abort_on_overflow: 0,
  tcp_adv_win_scale: 1,
  tcp_app_win: 31,
  tcp_autocorking: 1,
  tcp_base_mss: 1024,
  tcp_challenge_ack_limit: 2147483647,
  tcp_dsack: 1,
  tcp_early_demux: 1,
  tcp_early_retrans: 3,
  tcp_ecn: 2,
  tcp_ecn_fallback: 1,
  tcp_fastopen: 1,
  tcp_fastopen_blackhole_timeout_sec: 0,
  tcp_fin_timeout: 60,
  tcp_frto: 2,
  tcp_fwmark_accept: 0,
  tcp_invalid_ratelimit: 500,
  tcp_keepalive_intvl: 75,
  tcp_keepalive_probes: 9,
  tcp_keepalive_time: 7200,
  tcp_limit_output_bytes: 4194304,
  tcp_max_orphans: 131072,
  tcp_max_reordering: 300,
  tcp_max_syn_backlog: 2048,
  tcp_max_tw_buckets: 131072,
  tcp_mem: [287901, 383868, 575802],
  tcp_min_rtt_wlen: 300,
  tcp_min_snd_mss: 48,
  tcp_min_tso_segs: 2,
  tcp_moderate_rcvbuf: 1,
  tcp_mtu_probe_floor: 48,
  tcp_mtu_probing: 0,
  tcp_no_metrics_save: 0,
  tcp_notsent_lowat: 4294967295,
  tcp_orphan_retries: 0,
  tcp_pacing_ca_ratio: 120,
  tcp_pacing_ss_ratio: 200,
  tcp_pingpong_thresh: 1,
  tcp_probe_interval: 600,
  tcp_probe_threshold: 8,
  tcp_recovery: 1,
  tcp_reflect_tos: 0,
  tcp_reordering: 3,
  tcp_retrans_collapse: 1,
  tcp_retries1: 3,
  tcp_retries2: 15,
  tcp_rfc1337: 0,
  tcp_rmem: [4096, 131072, 6291456],
  tcp_rto_max_ms: 120000,
  tcp_rto_min_us: 200000,
  tcp_sack: 1,
  tcp_shrink_window: 0,
  tcp_slow_start_after_idle: 1,
  tcp_stdurg: 0,
  tcp_syn_linear_timeouts: 4,
  tcp_syn_retries: 6,
  tcp_synack_retries: 5,
  tcp_syncookies: 1,
  tcp_timestamps: 1,
  tcp_tso_win_divisor: 3,
  tcp_tw_reuse: 2,
  tcp_tw_reuse_delay: 1000,
  tcp_window_scaling: 1,
  tcp_wmem: [4096, 16384, 4194304],
  udp_early_demux: 1,
  udp_mem: [575802, 767736, 1151604],
  udp_rmem_min: 4096,
  udp_wmem_min: 4096,
}

/** net.ipv4.route */
export const IPV4_ROUTE = {
  error_burst: 1250,
  error_cost: 250,
  gc_interval: 60,
  min_adv_mss: 256,
  min_pmtu: 552,
  mtu_expires: 600,
}

/** net.ipv4.conf.* */
export const IPV4_CONF = {
  accept_local: 0,
  accept_redirects: 1,
  accept_source_route: 1,
  arp_accept: 0,
  arp_announce: 0,
  arp_filter: 0,
  arp_ignore: 0,
  arp_notify: 0,
  bc_forwarding: 0,
  force_igmp_version: 0,
  forwarding: 0,
  igmpv2_unsolicited_report_interval: 10000,
  igmpv3_unsolicited_report_interval: 1000,
  ignore_routes_with_linkdown: 0,
  log_martians: 0,
  promote_secondaries: 0,
  proxy_arp: 0,
  route_localnet: 0,
  rp_filter: 0,
  secure_redirects: 1,
  send_redirects: 1,
}

/** net.ipv4.neigh.*, net.ipv6.neigh.* */
export const NEIGH = {
  base_reachable_time_ms: 30000,
  delay_first_probe_time: 5,
  gc_interval: 30,
  gc_stale_time: 60,
  gc_thresh1: 128,
  gc_thresh2: 512,
  gc_thresh3: 1024,
  locktime: 100,
  mcast_solicit: 3,
  retrans_time_ms: 1000,
  ucast_solicit: 3,
  unres_qlen: 101,
  unres_qlen_bytes: 212992,
}

/** net.ipv6 */
export const IPV6 = {
  anycast_src_echo_reply: 0,
  bindv6only: 0,
  fib_multipath_hash_fields: 7,
  fib_multipath_hash_policy: 0,
  flowlabel_reflect: 0,
  ip6frag_high_thresh: 4194304,
  ip6frag_low_thresh: 3145728,
  ip6frag_time: 60,
  ip_nonlocal_bind: 0,
  max_dst_opts_length: 2147483647,
  max_dst_opts_number: 8,
  max_hbh_length: 2147483647,
  max_hbh_opts_number: 8,
  mld_max_msf: 64,
  mld_qrv: 2,
}

/** net.ipv6.route */
export const IPV6_ROUTE = {
  gc_interval: 30,
  min_adv_mss: 1220,
  mtu_expires: 600,
}

/** net.ipv6.icmp */
export const IPV6_ICMP = {
  echo_ignore_all: 0,
  echo_ignore_multicast: 0,
  ratelimit: 1000,
}

/** net.ipv6.conf.* */
export const IPV6_CONF = {
  accept_dad: 1,
  accept_ra: 1,
  accept_ra_defrtr: 1,
  accept_ra_from_local: 0,
  accept_ra_min_hop_limit: 1,
  accept_ra_min_lft: 0,
  accept_ra_mtu: 1,
  accept_ra_pinfo: 1,
  accept_redirects: 1,
  accept_source_route: 0,
  addr_gen_mode: 0,
  autoconf: 1,
  dad_transmits: 1,
  disable_ipv6: 0,
  enhanced_dad: 1,
  force_mld_version: 0,
  forwarding: 0,
  hop_limit: 64,
  ignore_routes_with_linkdown: 0,
  keep_addr_on_down: 0,
  max_addresses: 16,
  mldv1_unsolicited_report_interval: 10000,
  mldv2_unsolicited_report_interval: 1000,
  mtu: 1280,
  ndisc_notify: 0,
  proxy_ndp: 0,
  ra_defrtr_metric: 1024,
  router_solicitation_delay: 1,
  router_solicitation_interval: 4,
  router_solicitation_max_interval: 3600,
  router_solicitations: -1,
}

export type Ipv4Conf = typeof IPV4_CONF
export type Ipv6Conf = typeof IPV6_CONF
export type NeighConf = typeof NEIGH

/** What there is per device, and for `all` and `default`. */
export class ConfSet<T extends object> {
  readonly all: T
  readonly defaults: T
  readonly #devices = new Map<number, T>()

  constructor(initial: T) {
    this.all = { ...initial }
    this.defaults = { ...initial }
  }

  /** By index of the device. */
  of(device: number): T {
    return this.#devices.get(device) ?? this.defaults
  }
  add(device: number): T {
    const conf = { ...this.defaults }
    this.#devices.set(device, conf)
    return conf
  }
  remove(device: number): void {
    this.#devices.delete(device)
  }
}

export class Sysctls {
  readonly core = structuredClone(CORE)
  readonly ipv4 = structuredClone(IPV4)
  readonly ipv4Route = { ...IPV4_ROUTE }
  readonly ipv4Conf = new ConfSet(IPV4_CONF)
  readonly ipv4Neigh = new ConfSet(NEIGH)
  readonly ipv6 = structuredClone(IPV6)
  readonly ipv6Route = { ...IPV6_ROUTE }
  readonly ipv6Icmp = { ...IPV6_ICMP }
  readonly ipv6Conf = new ConfSet(IPV6_CONF)
  readonly ipv6Neigh = new ConfSet(NEIGH)
  /** net.ipv4.tcp_congestion_control, of what tcp/ knows. */
  congestionControl = 'cubic'
  /** net.ipv4.ip_local_reserved_ports, as written. */
  reservedPorts = ''

  constructor() {
    // A device obeys source routes only if all do; duplicate address detection is switched by each by itself.
    this.ipv4Conf.all.accept_source_route = 0
    this.ipv6Conf.all.accept_dad = 0
    this.ipv6Neigh.defaults.locktime = 0
  }

  /** IN_DEV_ORCONF: on for all or for the device. */
  either(device: number, name: keyof Ipv4Conf): boolean {
    return this.ipv4Conf.all[name] !== 0 || this.ipv4Conf.of(device)[name] !== 0
  }
  /** IN_DEV_MAXCONF: the stricter of the two. */
  most(device: number, name: keyof Ipv4Conf): number {
    return Math.max(this.ipv4Conf.all[name], this.ipv4Conf.of(device)[name])
  }
  /** IN_DEV_RX_REDIRECTS and the like: with forwarding both have to be on, without it one is enough. */
  acceptsRedirects(device: number): boolean {
    const { all } = this.ipv4Conf
    const own = this.ipv4Conf.of(device)
    return own.forwarding !== 0
      ? all.accept_redirects !== 0 && own.accept_redirects !== 0
      : all.accept_redirects !== 0 || own.accept_redirects !== 0
  }

  /** net.ipv4.ip_forward and conf.all.forwarding: all devices, those to come included. `devices`: their indices. */
  setForwarding(on: number, devices: Iterable<number>): void {
    this.ipv4.ip_forward = on
    this.ipv4Conf.all.forwarding = on
    this.ipv4Conf.defaults.forwarding = on
    for (const index of devices) this.ipv4Conf.of(index).forwarding = on
  }
  /** net.ipv6.conf.all.forwarding. */
  setForwarding6(on: number, devices: Iterable<number>): void {
    this.ipv6Conf.all.forwarding = on
    this.ipv6Conf.defaults.forwarding = on
    for (const index of devices) this.ipv6Conf.of(index).forwarding = on
  }
}
