/** net.netfilter.nf_conntrack_*: a namespace's settings of conntrack, timeouts in seconds. */
import {
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_CLOSE_WAIT,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_LAST_ACK,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_SYN_SENT2,
  TCP_CONNTRACK_TIME_WAIT,
} from '../../../abi/constants.ts'

export class ConntrackSettings {
  nf_conntrack_acct = 0
  nf_conntrack_checksum = 1
  nf_conntrack_events = 2
  nf_conntrack_generic_timeout = 600
  nf_conntrack_icmp_timeout = 30
  nf_conntrack_icmpv6_timeout = 30
  nf_conntrack_log_invalid = 0
  /** Each costs about half a kilobyte. */
  nf_conntrack_max = 65536
  nf_conntrack_tcp_be_liberal = 0
  nf_conntrack_tcp_loose = 1
  nf_conntrack_tcp_max_retrans = 3
  nf_conntrack_tcp_timeout_close = 10
  nf_conntrack_tcp_timeout_close_wait = 60
  nf_conntrack_tcp_timeout_established = 432000
  nf_conntrack_tcp_timeout_fin_wait = 120
  nf_conntrack_tcp_timeout_last_ack = 30
  nf_conntrack_tcp_timeout_max_retrans = 300
  nf_conntrack_tcp_timeout_syn_recv = 60
  nf_conntrack_tcp_timeout_syn_sent = 120
  nf_conntrack_tcp_timeout_time_wait = 120
  nf_conntrack_tcp_timeout_unacknowledged = 300
  nf_conntrack_udp_timeout = 30
  nf_conntrack_udp_timeout_stream = 120

  tcpTimeout(state: number): number {
    switch (state) {
      case TCP_CONNTRACK_SYN_SENT:
      case TCP_CONNTRACK_SYN_SENT2:
        return this.nf_conntrack_tcp_timeout_syn_sent
      case TCP_CONNTRACK_SYN_RECV:
        return this.nf_conntrack_tcp_timeout_syn_recv
      case TCP_CONNTRACK_ESTABLISHED:
        return this.nf_conntrack_tcp_timeout_established
      case TCP_CONNTRACK_FIN_WAIT:
        return this.nf_conntrack_tcp_timeout_fin_wait
      case TCP_CONNTRACK_CLOSE_WAIT:
        return this.nf_conntrack_tcp_timeout_close_wait
      case TCP_CONNTRACK_LAST_ACK:
        return this.nf_conntrack_tcp_timeout_last_ack
      case TCP_CONNTRACK_TIME_WAIT:
        return this.nf_conntrack_tcp_timeout_time_wait
      case TCP_CONNTRACK_CLOSE:
        return this.nf_conntrack_tcp_timeout_close
    }
    return this.nf_conntrack_tcp_timeout_syn_sent
  }
}
