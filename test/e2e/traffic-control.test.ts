/**
 * tc, ethtool, next hop objects and neighbours' settings: the same commands in network namespaces of the host and of a sandbox
 * print the same. What kernels are often built without is tried inside alone.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CABLE, inside, same } from './netfilter-tools.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const REACHES = `reaches() { at $1 ping -c 1 -W \${3:-10} $4 $2 | grep -o '. received'; }
`
/** What depends on the run: who holds a qdisc, numbers that were given out, times, what was sent meanwhile. */
const OWN = `own() { sed -E 's/refcnt [0-9]+/refcnt N/; s/ 80[0-9a-f]{2}:/ 80xx:/; s/ *(installed|used|firstused) [0-9]+ sec//g
  s/Sent [0-9]+ bytes [0-9]+ pkt/Sent/; s/index [0-9]+ ref/ref/; s/expires [0-9]+sec/expires/; s/ +$//' | grep -v '^$'; }\n`

/** With the cable, in a sandbox. */
function joined(script: string): string {
  return inside(`${CABLE}${REACHES}${OWN}${script}`)
}

test('tc shows and takes qdiscs, classes, filters and actions as on the host', context => {
  same(
    context,
    ['ip', 'tc'],
    `${OWN}
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
for q in pfifo_fast pfifo bfifo noqueue 'pfifo limit 5' 'tbf rate 1mbit burst 10k latency 10ms' \\
  'tbf rate 1mbit burst 10k limit 3000 peakrate 2mbit mtu 2000' htb 'htb default 10' nope; do
  echo "== $q"; tc qdisc add dev d0 root $q && tc -s -d qdisc show dev d0 | own; tc qdisc add dev d0 root $q
  tc qdisc replace dev d0 root $q; tc qdisc change dev d0 root $q; tc qdisc del dev d0 root; tc qdisc del dev d0 root
done
for q in ingress clsact; do
  tc qdisc add dev d0 $q; tc -d qdisc show dev d0 | own; tc qdisc add dev d0 $q; tc qdisc del dev d0 $q; tc qdisc del dev d0 $q
done
tc qdisc add dev d0 root handle 1: htb default 20; tc class add dev d0 parent 1: classid 1:1 htb rate 10mbit ceil 10mbit
tc class add dev d0 parent 1:1 classid 1:10 htb rate 6mbit ceil 10mbit prio 1
tc class add dev d0 parent 1:1 classid 1:20 htb rate 4mbit ceil 10mbit burst 15k
tc class add dev d0 parent 1:1 classid 1:20 htb rate 4mbit; tc class add dev d0 parent 1:9 classid 1:30 htb rate 4mbit
tc qdisc add dev d0 parent 1:10 handle 10: pfifo limit 50; tc qdisc add dev d0 parent 1:77 handle 11: pfifo limit 50
tc -d class show dev d0 | own; tc -d qdisc show dev d0 | own; tc class show dev d0 parent 1: | own; tc class show dev d0 classid 1:10
tc class change dev d0 parent 1:1 classid 1:20 htb rate 5mbit; tc class show dev d0
tc filter add dev d0 parent 1: protocol ip prio 1 u32 match ip dport 80 0xffff flowid 1:10
tc filter add dev d0 parent 1: protocol ip prio 2 u32 match ip src 1.2.3.0/24 match ip protocol 6 0xff flowid 1:20
tc filter add dev d0 parent 1: protocol ip prio 1 handle 2: u32 divisor 4
tc filter add dev d0 parent 1: protocol ip prio 1 u32 ht 2:1: match ip src 1.2.3.4 flowid 1:10
tc filter add dev d0 parent 1: protocol ip prio 1 u32 ht 800:: match ip dst 10.0.0.0/8 hashkey mask 0x000000ff at 16 link 2:
tc filter show dev d0; tc filter del dev d0 parent 1: prio 1; tc filter show dev d0; tc filter del dev d0 parent 1: prio 5
tc filter del dev d0; tc filter show dev d0; tc class del dev d0 classid 1:1; tc class del dev d0 classid 1:10; tc class show dev d0
tc qdisc del dev d0 root; tc qdisc show dev d0 | own; tc class show dev d0
tc qdisc add dev d0 ingress
tc filter add dev d0 ingress protocol ip u32 match u32 0 0 action mirred egress redirect dev d1; tc -s filter show dev d0 ingress | own
tc filter add dev d0 parent ffff: protocol all u32 match u8 6 0xf0 at 0 action mirred egress mirror dev d1
for p in ingress egress 'parent ffff:' 'parent ffff:fff2' root ''; do echo "== $p"; tc filter show dev d0 $p | own; done
tc filter add dev d0 ingress protocol ip nope; tc qdisc del dev d0 ingress; tc filter show dev d0 ingress
tc qdisc add dev d0 clsact; tc filter add dev d0 parent ffff: protocol ip u32 match u32 0 0
tc filter add dev d0 egress protocol ip u32 match u32 0 0 action mirred egress redirect dev d1
for p in ingress egress 'parent ffff:'; do echo "== $p"; tc filter show dev d0 $p | own; done
ip link show d0 | grep -o 'qdisc [a-z]*'; tc qdisc show dev d0 | own`,
  )
})

test('tc holds what is sent and what comes in to rates, delays, loses and drops it', context => {
  const skip = NOT_ROOT || notInstalled('ip', 'tc', 'ping', 'python3')
  if (skip) return context.skip(skip)
  const text = joined(`cat > sink.py <<END
import socket, time
server = socket.create_server(('10.0.0.2', 5000))
open('listening', 'w')
connection, _ = server.accept()
start = time.time(); total = 0
while data := connection.recv(65536): total += len(data)
rate = total * 8 / (time.time() - start) / 1e6
print('held' if rate < 21 else 'fast')
END
sends() {
  rm -f listening; at b python3 sink.py & sink=$!
  until test -e listening; do sleep 0.05; done
  at a python3 -c "import socket; socket.create_connection(('10.0.0.2', 5000)).sendall(b'x' * 3000000)"; wait $sink
}
late() { at a ping -c 3 -i 0.2 10.0.0.2 | sed -nE 's/^rtt min.* = ([0-9]+)\\..*/\\1/p' | { read ms; test $ms -ge $1 && echo late; }; }
sends; tc -n a qdisc add dev e0 root tbf rate 20mbit burst 32k latency 50ms; sends; tc -n a qdisc del dev e0 root
tc -n a qdisc add dev e0 root netem delay 50ms; late 50; tc -n a qdisc change dev e0 root netem loss 100%; reaches a 10.0.0.2 1
tc -n a qdisc replace dev e0 root fq_codel; tc -n a qdisc show dev e0 | own; reaches a 10.0.0.2
tc -n a qdisc replace dev e0 root sfq perturb 10; tc -n a qdisc show dev e0 | own; reaches a 10.0.0.2
tc -n a qdisc replace dev e0 root fq maxrate 16mbit; sends
tc -n a qdisc replace dev e0 root handle 1: prio; tc -n a filter add dev e0 parent 1: protocol ip flower ip_proto icmp flowid 1:3
reaches a 10.0.0.2; tc -n a -s class show dev e0 | grep -A1 1:3 | grep -c 'Sent 98 bytes 1 pkt'; tc -n a filter show dev e0 | own
tc -n a qdisc del dev e0 root; ip -n b link add ifb0 type ifb; ip -n b link set ifb0 up; tc -n b qdisc add dev e1 ingress
tc -n b filter add dev e1 ingress matchall action mirred egress redirect dev ifb0
tc -n b qdisc add dev ifb0 root tbf rate 15mbit burst 32k latency 100ms; reaches a 10.0.0.2; sends
tc -n b qdisc del dev e1 ingress; tc -n b qdisc add dev e1 clsact
tc -n b filter add dev e1 ingress protocol ip flower ip_proto icmp action drop; reaches a 10.0.0.2 1; tc -n b filter show dev e1 ingress | own
tc -n b filter del dev e1 ingress; tc -n b filter add dev e1 egress protocol ip matchall action police rate 8bit burst 100 conform-exceed drop
reaches a 10.0.0.2; reaches a 10.0.0.2 1; tc -n b filter del dev e1 egress; reaches a 10.0.0.2`)
  assert.equal(
    text,
    `fast
held
late
0 received
qdisc fq_codel 80xx: root refcnt N limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms memory_limit 32Mb ecn drop_batch 64
1 received
qdisc sfq 80xx: root refcnt N limit 127p quantum 1514b depth 127 divisor 1024 perturb 10sec
1 received
held
1 received
1
filter parent 1: protocol ip pref 49152 flower chain 0
filter parent 1: protocol ip pref 49152 flower chain 0 handle 0x1 classid 1:3
  eth_type ipv4
  ip_proto icmp
  not_in_hw
1 received
held
0 received
filter protocol ip pref 49152 flower chain 0
filter protocol ip pref 49152 flower chain 0 handle 0x1
  eth_type ipv4
  ip_proto icmp
  not_in_hw
	action order 1: gact action drop
	 random type none pass val 0
	 ref 1 bind 1
1 received
0 received
1 received
`,
  )
})

test('ethtool shows and switches the same, by netlink and by ioctl', context => {
  same(
    context,
    ['ip', 'ethtool'],
    `ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip link add br0 type bridge; ip link set br0 up
for d in lo d0 br0 nope; do
  for o in -i '' -k -S -g -c -a -T -P -n -m --show-fec --show-priv-flags --show-eee -x -d -u; do echo "== $d $o"; ethtool $o $d; done
done
for o in 'tx off' 'tso off' 'gro off' 'gso off' 'rx off' 'sg off' 'tx-checksum-ip-generic on' 'tx on' 'tso on' 'tx-vlan-offload off' \\
  'lro on' 'gro on gso on'; do echo "== -K $o"; ethtool -K d0 $o; done
ethtool -k d0; ethtool -K lo tx off; ethtool -K lo tso off; ethtool -K br0 tx off; ethtool -K br0 tso off; ethtool -k br0`,
  )
})

test('next hop objects, labels, proxies and expiring routes are as on the host', context => {
  same(
    context,
    ['ip'],
    `${OWN}
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip addr add 10.0.0.1/24 dev d0
t() { echo "== $*"; "$@"; }
t ip nexthop add id 1 via 10.0.0.2 dev d0; t ip nexthop add id 2 via 10.0.0.3 dev d0; t ip nexthop add id 2 via 10.0.0.4 dev d0
t ip nexthop add id 3 group 1/2,3; t ip nexthop add id 3 group 1/7; t ip nexthop; t ip nexthop get id 2; t ip nexthop add id 9 via 10.7.0.3 dev d0
t ip route add 10.9.0.0/16 nhid 1; t ip route add 10.10.0.0/16 nhid 3; t ip route add 10.12.0.0/16 nhid 77; t ip route
t ip nexthop replace id 1 via 10.0.0.9 dev d0; t ip route; t ip nexthop del id 1; t ip route; t ip nexthop; t ip nexthop add id 4 blackhole
t ip nexthop add id 5 dev lo; t ip nexthop add id 1 group 2; t ip route add 10.11.0.0/16 nhid 4; t ip route; t ip nexthop flush; t ip route
t ip -6 nexthop add id 10 via fe80::7 dev d0; t ip nexthop add id 11 via 10.0.0.2 dev d0; t ip nexthop add id 12 group 10; t ip nexthop add id 13 group 11
t ip -6 route add 2001:db8::/48 nhid 11; t ip -6 route add 2001:db8:1::/48 nhid 13; t ip -6 route add 2001:db8:2::/48 nhid 12; t ip nexthop replace id 10 via 10.0.0.3 dev d0
t ip nexthop replace id 12 group 11; t ip nexthop replace id 12 group 10/11; t ip route add 10.14.0.0/16 nhid 10; t ip nexthop replace dev d0; t ip nexthop
t ip -6 nexthop replace id 10 blackhole; t ip nexthop get id 10; t ip route show 10.14.0.0/16; t ip route get 10.14.0.1; t ip -6 nexthop replace id 10 via fe80::7 dev d0; t ip route show 10.14.0.0/16
t ip -6 nexthop add id 15 via fe80::8 dev d0; t ip nexthop replace id 12 group 10/15; t ip -6 nexthop replace id 10 blackhole; t ip nexthop del id 10; t ip route show 10.14.0.0/16
t ip nexthop; t ip nexthop add dev d0; t ip nexthop del id 15; t ip nexthop add dev d0; t ip nexthop; t ip nexthop flush
t ip nexthop add id 6 dev d0; t ip route add 10.13.0.0/16 nhid 6; ip link set d0 down; t ip nexthop; t ip route; ip link set d0 up
t ip addrlabel; t ip addrlabel add prefix fd05::/16 label 99; t ip addrlabel add prefix fd05::/16 label 99; t ip addrlabel
t ip addrlabel del prefix fd05::/16; t ip addrlabel del prefix fd05::/16
t ip neigh add proxy 1.2.3.4 dev d0; t ip neigh add proxy fd00::1 dev d0; t ip neigh show proxy; t ip -6 neigh show proxy
t ip neigh del proxy 1.2.3.4 dev d0; t ip neigh del proxy 1.2.3.4 dev d0; t ip neigh show proxy
ip ntable show dev d0 | own | sed 's/reachable [0-9]* base/reachable N base/'
ip -6 route add fd77::/64 dev d0 expires 100; ip -6 route show fd77::/64 | own`,
  )
})

test('a router answers for its proxies', context => {
  const skip = NOT_ROOT || notInstalled('ip', 'ping')
  if (skip) return context.skip(skip)
  const text =
    joined(`ip link add f0 netns b type veth peer name f1 netns c; ip -n b link set f0 up; ip -n c link set f1 up
ip -n c addr add 10.0.0.77/24 dev f1; ip -n b route add 10.0.0.77/32 dev f0; ip -n b addr add fd00::2/64 dev e1 nodad; ip -n a addr add fd00::1/64 dev e0 nodad
ip -n c addr add fd00::77/64 dev f1 nodad; ip -n b route add fd00::77/128 dev f0; ip -n c route add 10.0.0.1/32 via 10.0.0.2 dev f1 onlink
ip -n b addr add fe80::2/64 dev f0 nodad; ip -n c route add fd00::1/128 via fe80::2 dev f1
for s in net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.e1.proxy_ndp; do at b sysctl -qw $s=1; done
reaches a 10.0.0.77 1; reaches a fd00::77 1
ip -n b neigh add proxy 10.0.0.77 dev e1; ip -n b neigh add proxy fd00::77 dev e1; ip -n a neigh flush all
reaches a 10.0.0.77; reaches a fd00::77`)
  assert.equal(text, '0 received\n0 received\n1 received\n1 received\n')
})

test('a bridge keeps VLANs apart, tags what belongs to them, and shows them', context => {
  const skip = NOT_ROOT || notInstalled('ip', 'bridge', 'ping')
  if (skip) return context.skip(skip)
  const text = joined(`ip link add br0 type bridge vlan_filtering 1; ip link set br0 up
for i in 1 2 3 4; do
  ip netns add n$i; ip link add p$i type veth peer name e netns n$i; ip link set p$i master br0 up
  ip -n n$i link set e up; ip -n n$i addr add 10.1.0.$i/24 dev e
done
reaches n1 10.1.0.2
for i in 1 2; do bridge vlan add dev p$i vid 10 pvid untagged; bridge vlan del dev p$i vid 1; done; bridge vlan add dev p3 vid 10-12; bridge vlan
reaches n1 10.1.0.2; reaches n1 10.1.0.3 1; reaches n3 10.1.0.4
ip -n n3 link add link e name e.10 type vlan id 10; ip -n n3 link set e.10 up; ip -n n3 addr add 10.1.0.33/32 dev e.10
ip -n n3 route add 10.1.0.1/32 dev e.10; reaches n3 10.1.0.1 10 '-I 10.1.0.33'; reaches n3 10.1.0.1 10 '-I 10.1.0.33 -s 4000'
bridge fdb show br br0 | grep -v permanent | sed 's/^[^ ]* //' | sort
bridge vlan add dev br0 vid 10 self; ip link add link br0 name br0.10 type vlan id 10; ip link set br0.10 up; ip addr add 10.1.0.100/24 dev br0.10
reaches n2 10.1.0.100; bridge vlan add dev p1 vid 4095; bridge vlan del dev p1 vid 77; bridge vlan add dev lo vid 5
cat /sys/class/net/br0/bridge/vlan_filtering; ip link set br0 type bridge vlan_filtering 0; reaches n1 10.1.0.4`)
  assert.equal(
    text,
    `1 received
port              vlan-id
br0               1 PVID Egress Untagged
p1                10 PVID Egress Untagged
p2                10 PVID Egress Untagged
p3                1 PVID Egress Untagged
                  10
                  11
                  12
p4                1 PVID Egress Untagged
1 received
0 received
1 received
1 received
1 received
dev p1 vlan 1 master br0
dev p1 vlan 10 master br0
dev p2 vlan 1 master br0
dev p2 vlan 10 master br0
dev p3 vlan 1 master br0
dev p3 vlan 10 master br0
dev p4 vlan 1 master br0
1 received
Error: Vlan id is invalid.
RTNETLINK answers: No such file or directory
RTNETLINK answers: Operation not supported
1
1 received
`,
  )
})

test('ipvlans share a link’s address, bonds their links, and GRE carries packets and frames', context => {
  const skip = NOT_ROOT || notInstalled('ip', 'ping')
  if (skip) return context.skip(skip)
  const text =
    joined(`ip -n a link add i1 link e0 netns c type ipvlan mode l2; ip -n a link add i2 link e0 netns d type ipvlan
ip -n a link add m1 link e0 type macvlan; ip -n a link add i3 link lo type ipvlan
for i in 3:c:i1 4:d:i2; do IFS=: read n s d <<< $i; ip -n $s link set $d up; ip -n $s addr add 10.0.0.$n/24 dev $d; done
ip -n c -d link show i1 | grep -o 'ether [^ ]*\\|ipvlan *mode.*[a-z] add'
reaches c 10.0.0.2; reaches b 10.0.0.3; reaches c 10.0.0.4; reaches c 10.0.0.1 1; reaches c 10.0.0.2 10 '-s 4000'
ip -n c link set i1 type ipvlan mode l3; ip -n d -d link show i2 | grep -o 'NOARP\\|ipvlan *mode.*[a-z] add'
reaches c 10.0.0.2; reaches b 10.0.0.3; reaches c 10.0.0.4; ip -n c link set i1 type ipvlan mode l3s private; reaches c 10.0.0.4 1
ip -n c link del i1; ip -n d link del i2
ip -n a link add g1 type gre local 10.0.0.1 remote 10.0.0.2 key 5; ip -n b link add g1 type gre local 10.0.0.2 remote 10.0.0.1 key 5
ip -n a link add g2 type gre local 10.0.0.1 remote 10.0.0.2 key 5; ip -n a addr add 10.6.0.1/24 dev g1; ip -n b addr add 10.6.0.2/24 dev g1
ip -n a link set g1 up; ip -n b link set g1 up; ip -n a -d link show g1 | grep -o ' mtu [0-9]*\\|gre remote.*okey [^ ]*'
reaches a 10.6.0.2; reaches a 10.6.0.2 10 '-s 4000'; for n in a b; do ip -n $n link set g1 type gre csum seq; done; reaches b 10.6.0.1
ip -n a link set g1 type gre key 6; reaches b 10.6.0.1 1
ip -n a link add t1 type gretap local 10.0.0.1 remote 10.0.0.2; ip -n b link add t1 type gretap local 10.0.0.2 remote 10.0.0.1
ip -n a addr add 10.7.0.1/24 dev t1; ip -n b addr add 10.7.0.2/24 dev t1; ip -n a link set t1 up; ip -n b link set t1 up; reaches a 10.7.0.2
for i in 1 2; do ip link add x$i netns c type veth peer name y$i netns d; done; ip -n d link add br0 type bridge
for i in 1 2; do ip -n d link set y$i master br0 up; done; ip -n d link set br0 up; ip -n d addr add 10.8.0.2/24 dev br0
ip -n c link add bond0 type bond mode active-backup miimon 100; ip -n c link set x1 up; ip -n c link set x1 master bond0; ip -n c link set x1 down
for i in 1 2; do ip -n c link set x$i master bond0; done; ip -n c link set bond0 up; ip -n c addr add 10.8.0.1/24 dev bond0
until at c ping -c 1 -W 1 10.8.0.2 > /dev/null; do :; done
active() { ip -n c -d link show bond0 | grep -o 'active_slave [^ ]*'; }
active; ip -n d link set y1 down; active; reaches c 10.8.0.2; ip -n d link set y1 up; active; ip -n c link set bond0 type bond active_slave x1; active
ip -n c -d link show x1 | grep -o 'SLAVE\\|bond_slave state.*count [0-9]'; ip -n c link set bond0 type bond mode balance-rr
ip -n c link set bond0 down; for i in 1 2; do ip -n c link set x$i nomaster; done; ip -n c link set bond0 type bond mode balance-xor xmit_hash_policy layer2+3
ip -n c link set x1 master bond0; ip -n c link set bond0 up; reaches c 10.8.0.2; ip -n c link del bond0; ip -n c -br link | grep -c bond`)
  assert.equal(
    text,
    `RTNETLINK answers: Device or resource busy
RTNETLINK answers: Invalid argument
ether 02:00:00:00:00:01
ipvlan  mode l2 bridge add
1 received
1 received
1 received
0 received
1 received
NOARP
ipvlan  mode l3 bridge add
1 received
1 received
1 received
0 received
RTNETLINK answers: File exists
 mtu 1472
gre remote 10.0.0.2 local 10.0.0.1 ttl inherit ikey 0.0.0.5 okey 0.0.0.5
1 received
1 received
1 received
0 received
1 received
RTNETLINK answers: Operation not permitted
active_slave x1
active_slave x2
1 received
active_slave x2
active_slave x1
SLAVE
bond_slave state ACTIVE mii_status UP link_failure_count 1
RTNETLINK answers: Directory not empty
1 received
0
`,
  )
})
