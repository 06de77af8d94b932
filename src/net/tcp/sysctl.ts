/** The tcp_* sysctls of one network namespace (ip-sysctl.rst), with Linux's defaults and units. */
export class TcpSysctl {
  abortOnOverflow = 0
  challengeAckLimit = 1000
  congestionControl = 'cubic'
  dsack = 1
  /** 0 never, 1 ask for it, 2 only when asked. */
  ecn = 2
  finTimeout = 60
  frto = 2
  invalidRatelimit = 500
  keepaliveIntvl = 75
  keepaliveProbes = 9
  keepaliveTime = 7200
  limitOutputBytes = 4 << 20
  maxOrphans = 16384
  maxReordering = 300
  maxSynBacklog = 1024
  maxTwBuckets = 16384
  /** In pages of 4096 bytes: low, pressure, high. */
  mem: [number, number, number] = [49152, 65536, 98304]
  minSndMss = 48
  baseMss = 1024
  mtuProbing = 1
  moderateRcvbuf = 1
  notsentLowat = 0xffffffff
  orphanRetries = 0
  recovery = 1
  reordering = 3
  retries1 = 3
  retries2 = 15
  rfc1337 = 0
  rmem: [number, number, number] = [4096, 131072, 6 << 20]
  wmem: [number, number, number] = [4096, 16384, 4 << 20]
  rtoMinUs = 200_000
  rtoMaxMs = 120_000
  sack = 1
  slowStartAfterIdle = 1
  stdurg = 0
  synRetries = 6
  synackRetries = 5
  /** 0 off, 1 when the queue is full, 2 always. */
  syncookies = 1
  timestamps = 1
  /** 0 never, 1 always, 2 over loopback. */
  twReuse = 2
  twReuseDelayMs = 1000
  windowScaling = 1
  pacingSsRatio = 200
  pacingCaRatio = 120
  minTsoSegs = 2
  earlyRetrans = 3
  minRttWlen = 300
  /** net.core.somaxconn. */
  somaxconn = 4096
  /** net.core.rmem_max and wmem_max. */
  rmemMax = 212992
  wmemMax = 212992
  /** net.ipv4.ip_local_port_range. */
  localPortRange: [number, number] = [32768, 60999]
  /** net.ipv4.ip_local_reserved_ports. */
  reservedPorts: ReadonlySet<number> = new Set()
}
