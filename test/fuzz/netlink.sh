#!/bin/bash
# Programs that configure networks, with mutate.c before them: as the first process of a sandbox with a network of its own.
# Usage: netlink.sh LIBRARY SEED SECONDS
library=$1 seed=$2 last=$((SECONDS + $3)) runs=0

commands=$(cat <<'END'
ip link add d0 type dummy
ip link set d0 up mtu 1400 address 02:00:00:00:00:01
ip addr add 10.9.0.1/24 dev d0 label d0:x
ip addr add fd00::1/64 dev d0 valid_lft 100 preferred_lft 50
ip link add br0 type bridge stp_state 1 vlan_filtering 1
ip link add v0 type veth peer name v1
ip link set v0 master br0
ip link add link d0 name d0.5 type vlan id 5
ip link add vx0 type vxlan id 42 dstport 4789 remote 10.9.0.2
ip link add mv0 link d0 type macvlan mode bridge
ip link add bond0 type bond mode active-backup
ip link add vrf0 type vrf table 10
ip link add wg0 type wireguard
ip tuntap add tap0 mode tap
ip route add 10.10.0.0/16 via 10.9.0.2 metric 5 mtu 1300
ip route add 10.11.0.0/16 nexthop via 10.9.0.2 weight 1 nexthop via 10.9.0.3 weight 2
ip route add unreachable 10.12.0.0/16
ip -6 route add fd01::/64 via fd00::2
ip route get 10.10.1.1 from 10.9.0.1
ip rule add from 10.9.0.0/24 fwmark 5/0xff lookup 100 priority 500
ip rule add iif d0 ipproto tcp dport 80-90 lookup 101
ip neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev d0 nud permanent
ip nexthop add id 5 via 10.9.0.2 dev d0
ip nexthop add id 6 group 5
ip route add 10.13.0.0/16 nhid 6
ip nexthop del id 5
ip neigh add proxy fd00::9 dev d0
ip addrlabel add prefix fd05::/16 label 9
ip ntable
ip link add ifb0 type ifb
ip link set ifb0 up
ip link add iv0 link d0 type ipvlan mode l3
ip link add g0 type gretap remote 10.9.0.2 key 5
ip link set v1 master bond0
ip -s -d link show
ip addr show
ip route show table all
ip netns add n1
ip netconf
ip token
ip maddr show
bridge vlan add dev v0 vid 7-20 untagged
bridge vlan show
bridge fdb add 02:00:00:00:00:08 dev v0 master
bridge fdb show
tc qdisc add dev d0 root handle 1: htb default 10
tc class add dev d0 parent 1: classid 1:10 htb rate 1mbit ceil 2mbit
tc qdisc add dev d0 parent 1:10 netem delay 10ms loss 1%
tc qdisc replace dev d0 root tbf rate 1mbit burst 32kbit latency 400ms
tc filter add dev d0 parent 1: protocol ip prio 1 u32 match ip dst 10.9.0.5/32 flowid 1:10
tc qdisc add dev d0 ingress
tc qdisc add dev v0 clsact
tc filter add dev v0 egress matchall action mirred egress redirect dev ifb0
tc filter add dev d0 ingress protocol ip flower ip_proto tcp dst_port 80 action police rate 1mbit burst 10k
tc filter add dev d0 parent 1: protocol ip handle 2: u32 divisor 16
tc filter add dev d0 parent 1: protocol ip u32 ht 800:: match ip dst 10.0.0.0/8 hashkey mask 0x0f at 16 link 2:
tc filter show dev d0
tc qdisc add dev v0 root handle 2: prio
tc qdisc add dev v0 parent 2:1 sfq perturb 10
tc qdisc add dev v0 parent 2:2 fq_codel
tc qdisc add dev v0 parent 2:3 fq maxrate 1mbit
tc -s class show dev d0
ping -c 1 -W 1 10.9.0.2
tc -s qdisc show
ss -atunpie
ss -tn state established ( dport = :80 or sport = :22 )
ss -xa
ss -a --family netlink
nft add table inet t
nft add chain inet t c { type filter hook input priority 0 ; policy accept ; }
nft add chain inet t o { type filter hook output priority 0 ; }
nft add chain inet t n { type nat hook prerouting priority -100 ; }
nft add set inet t s { type ipv4_addr ; flags interval, timeout ; timeout 1h ; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.9 timeout 5m } ; }
nft add set inet t cc { type ipv4_addr . inet_service . inet_proto ; elements = { 10.0.0.1 . 80 . tcp } ; }
nft add map inet t m { type inet_service : verdict ; elements = { 22 : accept, 23 : drop } ; }
nft add counter inet t k
nft add quota inet t q { over 10 mbytes }
nft add limit inet t l { rate 5/second burst 3 packets }
nft add rule inet t c ip saddr @s tcp dport { 22, 80-90 } ct state established,related counter accept
nft add rule inet t c tcp dport vmap @m
nft add rule inet t c ip saddr . tcp dport . meta l4proto @cc log prefix x level warn limit rate 3/minute drop
nft add rule inet t c meta mark set ct mark & 0xff xor 0x5 counter name k
nft add rule inet t c tcp flags syn tcp option maxseg size set rt mtu
nft add rule inet t c ip daddr 127.0.0.0/8 reject with icmp type port-unreachable
nft add rule inet t c numgen random mod 5 vmap { 0 : accept, 1 : drop, 2-4 : continue }
nft add rule inet t c fib saddr . iif oif missing quota name q drop
nft add rule inet t c update @s { ip saddr timeout 1m }
nft add rule inet t c meter mm { ip saddr limit rate 10/second } accept
nft insert rule inet t o ip ttl set 64 meta l4proto udp th dport 53 queue num 0-3 bypass
nft add rule inet t c udp dport { 5, 6 } jump { ct label set 5 counter accept ; }
nft add rule inet t o ct zone set 7 meta nftrace set 1 @ih,0,8 5 counter
nft list ruleset
nft delete rule inet t c handle 3
nft flush chain inet t o
ping -c 1 -W 1 127.0.0.1
iptables-nft -A INPUT -p tcp --dport 80 -m conntrack --ctstate NEW -m limit --limit 5/s -j LOG --log-prefix y
iptables-nft -t nat -A PREROUTING -p tcp --dport 81 -j DNAT --to-destination 127.0.0.1:80
iptables-nft -A INPUT -m string --algo bm --string abc -m hashlimit --hashlimit-above 5/s --hashlimit-name h -j DROP
iptables-nft -t raw -A PREROUTING -p udp -j CT --zone-orig 5
iptables-nft -A INPUT -p udp -m bpf --bytecode 4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0 -j NFQUEUE --queue-balance 1:3 --queue-bypass
iptables-nft -t mangle -A OUTPUT -j TEE --gateway 127.0.0.1
iptables-legacy -A INPUT -p sctp -m sctp --dport 5 --chunk-types any INIT -m connlabel --label 3 --set -j NFQUEUE --queue-num 3
iptables-legacy -t mangle -A OUTPUT -p tcp -j TCPOPTSTRIP --strip-options timestamp
iptables-legacy -A INPUT -p udp --sport 5:9 -m multiport --dports 1,2,5:7 -m comment --comment z -j ACCEPT
iptables-legacy -A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.5 -m u32 --u32 0&0xFF=5 -j REJECT
iptables-legacy -t nat -A POSTROUTING -o d0 -j MASQUERADE
iptables-legacy -t mangle -A PREROUTING -m mark --mark 5/7 -j MARK --set-xmark 3/4
iptables-legacy -A INPUT -m recent --name r --set -m set --match-set s1 src -m time --timestart 10:00
ip6tables-legacy -A INPUT -p icmpv6 -m hl --hl-eq 3 -j DROP
iptables-legacy -nvL
iptables-save
ebtables-nft -A FORWARD -p IPv4 --ip-src 10.0.0.1 -j DROP
arptables-nft -A INPUT --source-ip 10.0.0.1 -j DROP
ipset create s1 hash:ip timeout 60 counters comment
ipset create s2 hash:net,port family inet
ipset create s3 bitmap:port range 0-1000
ipset create s4 hash:net,iface
ipset create s5 list:set size 8
ipset add s1 10.0.0.1 timeout 5 comment c
ipset add s1 10.0.0.0-10.0.0.200
ipset add s2 10.1.0.0/16,tcp:80-90
ipset add s2 10.1.0.0-10.3.255.255,udp:53
ipset add s3 5-600
ipset test s1 10.0.0.1
ipset list
ipset swap s1 s2
ipset del s1 10.0.0.1
conntrack -L
conntrack -I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 6 --state ESTABLISHED -t 100
conntrack -D -p tcp
conntrack -S
genl ctrl list
ip l2tp show tunnel
ethtool d0
ethtool -k v0
ethtool -K v0 tx off tso on
END
)

echo "seed $seed"
order=cat
while [ "$SECONDS" -lt "$last" ]; do
  while read -ra words && [ "$SECONDS" -lt "$last" ]; do
    MUTATE_SEED=$((seed + runs)) LD_PRELOAD=$library timeout 20 "${words[@]}" </dev/null >/dev/null 2>&1
    runs=$((runs + 1))
  done < <(echo "$commands" | $order)
  # In another order from now on: what one command makes, the next may need or break.
  order="shuf"
done
echo "runs $runs"
