/**
 * /proc/net: the headers that programs look for. The network stack registers the rows of its own sockets in
 * `NetNamespace.stack` if it offers `procNet(name)`.
 */
import type { Task } from '../../kernel/task.ts'
import { dir, type FileNode, type PseudoDir, ro } from '../pseudo/node.ts'

/** What a network stack may implement to fill the files: the lines below the header, undefined for none. */
export interface ProcNetSource {
  procNet(name: string, header: string): string | undefined
}

const SOCKET_HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
const SOCKET6_HEAD =
  '  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'

const HEADERS: Readonly<Record<string, string>> = {
  anycast6: '',
  arp: 'IP address       HW type     Flags       HW address            Mask     Device\n',
  dev:
    'Inter-|   Receive                                                |  Transmit\n' +
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n',
  dev_mcast: '',
  fib_trie: '',
  icmp: `${SOCKET_HEAD} ref pointer drops\n`,
  icmp6: `${SOCKET6_HEAD} ref pointer drops\n`,
  if_inet6: '',
  igmp6: '',
  igmp: 'Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n',
  ip6_flowlabel: 'Label S Owner  Users  Linger Expires  Dst                              Opt\n',
  ip6_tables_matches: '',
  ip6_tables_names: '',
  ip6_tables_targets: '',
  ip_tables_matches: '',
  ip_tables_names: '',
  ip_tables_targets: '',
  ipv6_route: '',
  mcfilter: 'Idx Device        MCA        SRC    INC    EXC\n',
  mcfilter6: 'Idx Device                Multicast Address                   Source Address    INC    EXC\n',
  netlink: 'sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n',
  netstat: '',
  nf_conntrack: '',
  packet: 'sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n',
  protocols: '',
  psched: '000003e8 00000040 000f4240 3b9aca00\n',
  ptype: 'Type Device      Function\n',
  raw: `${SOCKET_HEAD} ref pointer drops\n`,
  raw6: `${SOCKET6_HEAD} ref pointer drops\n`,
  route: `${'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT'.padEnd(127)}\n`,
  rt_cache: `${'Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst'.padEnd(127)}\n`,
  snmp: '',
  snmp6: '',
  sockstat: '',
  sockstat6: '',
  softnet_stat: '',
  tcp: `${SOCKET_HEAD.padEnd(149)}\n`,
  tcp6: `${SOCKET6_HEAD}\n`,
  udp: `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n`,
  udp6: `${SOCKET6_HEAD} ref pointer drops\n`,
  udplite: `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n`,
  udplite6: `${SOCKET6_HEAD} ref pointer drops\n`,
  unix: 'Num       RefCount Protocol Flags    Type St Inode Path\n',
}

export function netDirectory(): PseudoDir<Task> {
  const files: Record<string, FileNode<Task>> = {}
  for (const [name, header] of Object.entries(HEADERS)) {
    files[name] = ro(task => header + rows(task, name, header))
  }
  return {
    ...files,
    stat: dir({}),
    netfilter: dir({ nfnetlink_queue: ro(task => rows(task, 'nfnetlink_queue', '')) }),
  }
}

function rows(task: Task, name: string, header: string): string {
  const stack = task.ns.net.stack as Partial<ProcNetSource> | undefined
  return stack?.procNet?.(name, header) ?? ''
}
