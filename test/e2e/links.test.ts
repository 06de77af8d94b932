/**
 * Kinds of interfaces: the same commands in network namespaces of the host and of a sandbox print the same, and what is sent
 * arrives at the same places. Kinds that kernels are often built without are tried inside alone.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CABLE, inside, same } from './netfilter-tools.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

/** What is sent from one namespace to another: pings, and TCP. */
const SENDS = `reaches() { at $1 ping -c 1 -W 10 $3 $2 | grep -o '. received'; }
reaches_not() { at $1 ping -c 1 -W 1 $2 | grep -o '. received'; }
cat > sink.py <<END
import socket, sys
server = socket.create_server((sys.argv[1], 5000), family=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
open('listening', 'w')
connection, _ = server.accept()
total = 0
while data := connection.recv(65536): total += len(data)
print('got', total)
END
sends() {
  rm -f listening; at $2 python3 sink.py $3 & sink=$!
  until test -e listening; do sleep 0.05; done
  at $1 python3 -c "import socket; socket.create_connection(('$3', 5000)).sendall(b'x' * 1000000)"; wait $sink
}
`
const TOOLS = ['ip', 'bridge', 'ping', 'python3', 'nsenter']
/** What of a link is of its own: without what depends on CPUs and drivers, and what few kernels have. */
const OWN = `own() { sed -E 's/ vlan_(protocol|default_pvid|stats_enabled|stats_per_port) [^ ]*//g; s/ (addrgenmode|numtxqueues) .*//; s/ (mcast_snooping|no_linklocal_learn) .*//; s/gc_timer +[0-9.]+/gc_timer/' | grep -v '^ *$'; }\n`

test('a VXLAN carries frames to the ends that its table names, and learns others', context => {
  const text = same(
    context,
    TOOLS,
    `${CABLE}${SENDS}${OWN}
ip -n a link add vx address 02:00:00:00:07:01 type vxlan id 7 dstport 4789 local 10.0.0.1 nolearning
ip -n b link add vx address 02:00:00:00:07:02 type vxlan id 7 dstport 4789 local 10.0.0.2 nolearning
ip -n a link add vx2 type vxlan id 7 dstport 4789; ip -n a link add vx2 type vxlan
ip -n a addr add 10.7.0.1/24 dev vx; ip -n a link set vx up; ip -n b addr add 10.7.0.2/24 dev vx; ip -n b link set vx up
reaches_not a 10.7.0.2
at a bridge fdb append 02:00:00:00:07:02 dev vx dst 10.0.0.2; at b bridge fdb append 02:00:00:00:07:01 dev vx dst 10.0.0.1
ip -n a neigh replace 10.7.0.2 lladdr 02:00:00:00:07:02 dev vx nud permanent
ip -n b neigh replace 10.7.0.1 lladdr 02:00:00:00:07:01 dev vx nud permanent
reaches a 10.7.0.2; reaches a 10.7.0.2 '-s 8000'; sends a b 10.7.0.2
ip -n a link add vy address 02:00:00:00:08:01 type vxlan id 8 dstport 4789 remote 10.0.0.2 local 10.0.0.1 dev e0
ip -n b link add vy address 02:00:00:00:08:02 type vxlan id 8 dstport 4789 remote 10.0.0.1 local 10.0.0.2
ip -n a addr add 10.8.0.1/24 dev vy; ip -n a link set vy up; ip -n b addr add 10.8.0.2/24 dev vy; ip -n b link set vy up
reaches a 10.8.0.2; sends b a 10.8.0.1; ip -n a -d link show vy | own
at a bridge fdb show dev vy | grep dst | sort
at a bridge fdb add 02:00:00:00:00:56 dev vx dst 10.0.0.9 port 99 vni 8; at a bridge fdb add 02:00:00:00:00:56 dev vx dst 10.0.0.9
at a bridge fdb append 00:00:00:00:00:00 dev vx dst 10.0.0.9; at a bridge fdb append 00:00:00:00:00:00 dev vx dst 10.0.0.10
at a bridge fdb show dev vx | grep dst | sort; at a bridge fdb replace 02:00:00:00:00:56 dev vx dst 10.0.0.11
at a bridge fdb get 02:00:00:00:00:56 dev vx self; at a bridge fdb del 02:00:00:00:00:57 dev vx dst 10.0.0.9
at a bridge fdb del 00:00:00:00:00:00 dev vx dst 10.0.0.9; at a bridge fdb del 02:00:00:00:00:56 dev vx
at a bridge fdb show dev vx | grep dst | sort; ip -n a link set vy type vxlan id 9
ip -n a link del e0; ip -n a -br link | grep -c vy; ip -n a -br link | grep -c vx`,
  )
  if (text !== undefined) assert.match(text, /got 1000000\n[\s\S]*got 1000000/)
})

test('macvlans are stations of their own on a link, and hear each other as their modes say', context => {
  const text = same(
    context,
    TOOLS,
    `${CABLE}${SENDS}${OWN}
ip -n a link add m1 link e0 address 02:00:00:00:00:11 netns c type macvlan mode bridge
ip -n a link add m2 link e0 address 02:00:00:00:00:12 type macvlan mode bridge
ip -n a link add m3 link e0 type macvlan mode passthru; ip -n a link add m3 link lo type macvlan; ip -n a link add m3 type macvlan
ip -n c addr add 10.0.0.3/24 dev m1; ip -n c link set m1 up; ip -n a addr add 10.9.0.4/24 dev m2; ip -n a link set m2 up
ip -n c addr add 10.9.0.3/24 dev m1
reaches c 10.0.0.2; reaches b 10.0.0.3; reaches c 10.9.0.4; reaches_not c 10.0.0.1; reaches b 10.0.0.3 '-s 4000'
sends c b 10.0.0.2; sends b c 10.0.0.3
ip -n a -d link show m2 | own; ip -n c -o link show m1 | grep -o 'm1@if[0-9]*.*mtu [0-9]*' ; ip -n a -d link show e0 | grep -o 'promiscuity [0-9]'
ip -n a link set m2 type macvlan mode private; ip -n a link set m2 type macvlan mode passthru
reaches_not c 10.9.0.4
ip -n a link set m2 mtu 1600; ip -n a link set e0 mtu 1400; ip -n a -o link show m2 | grep -o 'mtu [0-9]*'
ip -n a link set e0 down; ip -n a -br link show m2; ip -n c -br link show m1 | cut -c1-30; ip -n a link set e0 up
ip -n a link del e0; ip -n a -br link | grep -c m2; ip -n c -br link | grep -c m1`,
  )
  if (text !== undefined) assert.match(text, /got 1000000\n[\s\S]*got 1000000/)
})

test('bridges show and take what is set of them, of their ports and in their tables', context => {
  same(
    context,
    TOOLS,
    `${OWN}
ip link add br0 address 02:00:00:00:00:10 type bridge
for i in 1 2 3; do
  ip netns add n$i; ip link add p$i address 02:00:00:00:01:0$i type veth peer name e netns n$i
  ip link set p$i master br0 up; ip -n n$i link set e address 02:00:00:00:02:0$i up; ip -n n$i addr add 10.1.0.$i/24 dev e
done
ip link set br0 up; ip link show br0 | own
until ip netns exec n1 ping -c 1 -W 1 10.1.0.2 > /dev/null; do :; done
reaches() { ip netns exec n$1 ping -c 1 -W $3 10.1.0.$2 | grep -o '. received'; }
reaches 1 3 10; reaches 2 3 10
bridge fdb show br br0 | grep -v self | sort; bridge link | sed 's/: p\\([0-9]\\)@[^:]*/ p\\1/'
bridge link set dev p1 isolated on; bridge link set dev p3 isolated on; reaches 1 3 1; reaches 1 2 10
bridge link set dev p1 isolated off; reaches 1 3 10
bridge fdb add 02:00:00:00:00:77 dev p1 master static; bridge fdb add 02:00:00:00:00:77 dev p1 master static
bridge fdb replace 02:00:00:00:00:78 dev p1 master dynamic; bridge fdb get 02:00:00:00:00:77 br br0; bridge fdb get 02:00:00:00:00:70 br br0
bridge fdb del 02:00:00:00:00:77 dev p1 master; bridge fdb del 02:00:00:00:00:77 dev p1 master
bridge link set dev p1 cost 50 priority 10 hairpin on learning off flood off guard on; ip -d link show p1 | grep -o 'bridge_slave.*designated_cost 0' | sed 's/ designated_bridge.*//'
ip link set p1 type bridge_slave hairpin off cost 7; bridge link show dev p1 | grep -o 'state.*'; bridge link set dev lo hairpin on
ip link set br0 type bridge ageing_time 1000 forward_delay 300 priority 100; ip -d link show br0 | own
ip link set br0 type bridge group_fwd_mask 1; ip link set br0 type bridge group_fwd_mask 8; ip link set br0 type bridge hello_time 1
ip link set br0 type bridge fdb_flush; bridge fdb show br br0 | grep -v self | grep -vc permanent
ip link set p1 nomaster; ip -d link show p1 | grep -c bridge_slave; bridge link | grep -c p1`,
  )
})

test('VLANs, and tunnels over IPv4, carry pings and TCP', context => {
  const skip = NOT_ROOT || notInstalled(...TOOLS)
  if (skip) return context.skip(skip)
  const text = inside(`${CABLE}${SENDS}${OWN}
ip -n a link add link e0 name e0.5 type vlan id 5; ip -n b link add link e1 name e1.5 type vlan id 5
ip -n a link add link e0 name other type vlan id 5; ip -n a link add link lo name other type vlan id 5
ip -n a link add link e0 name other type vlan id 4095; ip -n a link add link e0 name other type vlan
ip -n a addr add 10.5.0.1/24 dev e0.5; ip -n a link set e0.5 up; ip -n b addr add 10.5.0.2/24 dev e1.5; ip -n b link set e1.5 up
ip -n a -d link show e0.5 | grep -o 'vlan protocol.*>'; reaches a 10.5.0.2; reaches a 10.5.0.2 '-s 4000'; sends a b 10.5.0.2
ip -n a link set e0 down; ip -n a -br link show e0.5 | grep -oE ' (UP|DOWN) '; ip -n a link set e0 up; ip -n a -br link show e0.5 | grep -oE ' (UP|DOWN) '
ip -n a link set e0.5 mtu 1600
ip -n a link add tn type ipip local 10.0.0.1 remote 10.0.0.2; ip -n b link add tunl0 type ipip
ip -n a -d link show tn | own; ip -n a addr add 10.6.0.1/24 dev tn; ip -n a link set tn up
ip -n b addr add 10.6.0.2/32 dev tunl0; ip -n b link set tunl0 up; ip -n b route add 10.6.0.0/24 via 10.0.0.1 dev tunl0 onlink
reaches a 10.6.0.2; reaches b 10.6.0.1; reaches a 10.6.0.2 '-s 4000'; sends a b 10.6.0.2
ip -n a link add s0 type sit local 10.0.0.1 remote 10.0.0.2; ip -n b link add s0 type sit local 10.0.0.2 remote 10.0.0.1
ip -n a addr add fd06::1/64 dev s0 nodad; ip -n b addr add fd06::2/64 dev s0 nodad; ip -n a link set s0 up; ip -n b link set s0 up
reaches a fd06::2; sends b a fd06::1
ip -n a link add t1 type ipip local 10.0.0.1 remote 10.66.0.1; ip -n a link set t1 up; ip -n a route add 10.66.0.0/16 dev t1
reaches_not a 10.66.0.5`)
  assert.equal(
    text,
    `Error: VLAN device already exists.
Error: VLANs not supported on device.
Error: Invalid VLAN id.
Error: VLAN id not specified.
vlan protocol 802.1Q id 5 <REORDER_HDR>
1 received
1 received
got 1000000
 DOWN
 UP
RTNETLINK answers: Numerical result out of range
4: tn@NONE: <POINTOPOINT,NOARP> mtu 1480 qdisc noop state DOWN mode DEFAULT group default qlen 1000
    link/ipip 10.0.0.1 peer 10.0.0.2 promiscuity 0  allmulti 0 minmtu 68 maxmtu 65515
    ipip ipip remote 10.0.0.2 local 10.0.0.1 ttl inherit pmtudisc
1 received
1 received
1 received
got 1000000
1 received
got 1000000
0 received
`,
  )
})
