/**
 * The packet filter: the same commands in a network namespace of the host and in one of a sandbox print the same. What is
 * of the moment in what they print (ports that were chosen, times that are left) is taken out.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { caisson, run, SEND, same } from './netfilter-tools.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

test('netfilter: nft makes, shows and removes tables, chains, rules, sets and maps', context => {
  const text = same(
    context,
    ['nft', 'ip'],
    `cat > rules <<END
table inet f {
  set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.20 }; }
  set ports { type inet_service; elements = { 22, 80, 443 }; }
  set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 }; }
  set ranges { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/24 . 80-90 }; }
  set counted { type ipv4_addr; counter; elements = { 10.0.0.9 counter packets 5 bytes 100 }; }
  map to { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.2 }; }
  map what { type ipv4_addr : verdict; elements = { 10.0.0.1 : jump other, 10.0.0.2 : drop }; }
  chain other {
    return
  }
  chain in {
    type filter hook input priority 0; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname lo accept
    ip saddr @nets tcp dport @ports counter accept comment "hello"
    ip saddr vmap @what
    ip saddr . tcp dport @pairs accept
    ip saddr . tcp dport @ranges accept
    tcp dport { 1000-2000, 3000 } ct mark set 0x1 meta mark set ct mark
    udp sport != 53 limit rate 10/minute burst 3 packets log prefix "udp " level info flags all
    ip6 saddr fe80::/10 icmpv6 type { echo-request, nd-neighbor-solicit } accept
    meta skuid 1000 reject with icmpx type admin-prohibited
    ip ttl < 5 reject with icmp type host-unreachable
    tcp flags & (syn|ack) == syn drop
  }
  chain out {
    type route hook output priority mangle; policy accept;
    meta mark set 0x5
  }
}
table ip n {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport 80 dnat to 10.0.0.1:8080
    dnat to tcp dport map { 1 : 10.0.0.1, 2 : 10.0.0.2 }
    udp dport 53 redirect to :5353
    dnat to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }
    fib daddr type local counter
    fib saddr . iif oif missing drop
  }
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    masquerade random,persistent
    ip protocol tcp snat to 1.2.3.4-1.2.3.8:1000-2000
    tcp dport 1 masquerade to :1024-2048
  }
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    ip daddr 1.2.3.4 notrack
  }
}
END
nft -f rules; nft -a list ruleset; nft --debug=netlink list ruleset > all; grep -v element all; grep element all | sort
nft get element inet f nets '{ 10.1.2.3 }'; nft add element inet f ports '{ 8080 }'; nft list set inet f ports
nft create element inet f ports '{ 80 }'; nft delete element inet f ports '{ 81 }'; nft flush set inet f ports
nft delete set inet f nets; nft delete chain inet f other; nft create table ip n; nft add rule ip n none accept
nft add rule ip none pre accept; nft delete rule ip n pre handle 999; nft rename chain ip n raw early
nft add chain ip n c '{ type nat hook forward priority 0; }'; nft add rule ip n early masquerade
nft insert rule ip n early counter; nft list chain ip n early; nft flush chain ip n early; nft list chain ip n early
nft add rule ip n early jump nowhere; nft add chain ip n x; nft add chain ip n y; nft add rule ip n x jump y
nft add rule ip n y jump x; nft delete chain ip n y; nft add rule ip n c 'ip saddr vmap { 1.2.3.4 : jump x }';
nft delete chain ip n x; nft flush chain ip n c; nft flush chain ip n x; nft flush chain ip n y; nft delete chain ip n x; nft delete table ip nope; nft delete table inet f
printf 'flush ruleset\\ntable ip z {\\n}\\nadd rule ip z none accept\\n' | nft -f -; nft list tables
nft flush ruleset; nft list ruleset
nft monitor > told & teller=$!
until awk '$2 == 12 && $4 != "00000000"' /proc/net/netlink | grep -q .; do sleep 0.05; done
nft -e -a add table ip x | grep -v '^#'; nft -e add chain ip x c '{ type filter hook input priority 0; policy drop; }' | grep -v '^#'
nft -e -a add rule ip x c tcp dport 22 counter accept | grep -v '^#'; nft insert rule ip x c udp dport 5 drop
nft add set ip x s '{ type ipv4_addr; flags interval; }'; nft add element ip x s '{ 1.2.3.0/24, 5.5.5.5 }'
nft delete element ip x s '{ 5.5.5.5 }'; nft flush chain ip x c; nft delete set ip x s; nft delete table ip x
until grep -qs 'delete table' told; do sleep 0.05; done; kill $teller; grep -v '^#' told`,
  )
  if (text === undefined) return
  assert.match(text, /ip saddr @nets tcp dport @ports counter packets 0 bytes 0 accept comment "hello"/)
})

test('netfilter: iptables and ip6tables make, show and remove rules', context => {
  const text = same(
    context,
    ['iptables-nft', 'ip6tables-nft', 'ip'],
    `iptables() { iptables-nft "$@"; }; ip6tables() { ip6tables-nft "$@"; }
iptables -t nat -N DOCKER
iptables -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER -i docker0 -j RETURN
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL ! --dst 127.0.0.0/8 -j DOCKER
iptables -t nat -A DOCKER -p tcp -d 0/0 --dport 8080 -j DNAT --to-destination 172.17.0.2:80 ! -i docker0
iptables -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -P FORWARD DROP
iptables-nft-restore -n <<END
*filter
:INPUT ACCEPT [0:0]
:FOO - [0:0]
-A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -m comment --comment "web" -j ACCEPT
-A INPUT -p icmp --icmp-type echo-request -m limit --limit 5/s -j ACCEPT
-A INPUT -m mark --mark 0x1/0xff -j FOO
-A INPUT -m state --state INVALID -j DROP
-A OUTPUT -m owner --uid-owner 1000 --gid-owner 5 -j LOG --log-prefix "x: "
-A FOO -p tcp --tcp-flags SYN,ACK SYN -j REJECT --reject-with tcp-reset
-A FOO -p tcp --sport 1000:2000 -j RETURN
-A FOO -m connmark --mark 0x5 -j CONNMARK --save-mark
-A FOO ! -s 10.0.0.0/8 -i eth+ -j LOG --log-level 4 --log-prefix "foo "
-A FOO -m conntrack --ctorigdst 1.2.3.4 --ctproto tcp --ctdir ORIGINAL -j ACCEPT
COMMIT
*nat
-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.5:80-90
-A POSTROUTING -o eth0 -j MASQUERADE --random
-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 1000-2000
-A POSTROUTING -p tcp -o eth0 -j SNAT --to-source 1.2.3.4:1000-2000
COMMIT
-A PREROUTING -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.0.0.1
-A PREROUTING -m statistic --mode nth --every 2 --packet 1 -j DNAT --to-destination 10.0.0.2
-A PREROUTING -m iprange ! --src-range 10.0.0.1-10.0.0.9 -m length --length 40:1500 -m pkttype ! --pkt-type broadcast -j RETURN
COMMIT
*mangle
-A PREROUTING -j MARK --set-mark 7
-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p tcp --syn -j TCPMSS --set-mss 1200
COMMIT
*raw
-A PREROUTING -p udp -j CT --notrack
COMMIT
END
iptables-nft-save | grep -v '^#'; iptables -L -n -v; iptables -t nat -L -n; iptables -D FOO 1; iptables -R FOO 1 -j DROP
iptables -I FOO 2 -p icmp -j ACCEPT; iptables -S FOO; iptables -F FOO; iptables -X FOO; iptables -N FOO
iptables -E FOO BAR; iptables -S; iptables -C INPUT -m mark --mark 0x1/0xff -j BAR; echo $?; iptables -C INPUT -j DROP; echo $?
iptables -A FORWARD -j MASQUERADE; iptables -t nat -A OUTPUT -j MASQUERADE; iptables -A INPUT -m tcp --dport 3
ip6tables -t nat -A POSTROUTING -s fd00::/64 ! -o docker0 -j MASQUERADE
ip6tables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:8080
ip6tables -A INPUT -p icmpv6 --icmpv6-type 128 -j REJECT; ip6tables-nft-save | grep -v '^#'
nft --debug=netlink list ruleset`,
  )
  if (text === undefined) return
  assert.match(
    text,
    /-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172\.17\.0\.2:80/,
  )
})

test('netfilter: iptables-legacy makes, shows and removes rules', context => {
  const text = same(
    context,
    ['iptables-legacy', 'ip6tables-legacy', 'ip'],
    `iptables() { iptables-legacy "$@"; }; ip6tables() { ip6tables-legacy "$@"; }
iptables -L -n -v; iptables -t nat -N DOCKER; cat /proc/net/ip_tables_names; cat /proc/net/ip6_tables_names
iptables -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER -i docker0 -j RETURN
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL ! --dst 127.0.0.0/8 -j DOCKER
iptables -t nat -A DOCKER -p tcp -d 0/0 --dport 8080 -j DNAT --to-destination 172.17.0.2:80 ! -i docker0
iptables -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -P FORWARD DROP
iptables-legacy-restore -c -n <<END
*filter
:INPUT ACCEPT [7:700]
:FOO - [0:0]
:BAR - [0:0]
[5:55] -A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -m comment --comment "web" -j ACCEPT
[0:0] -A INPUT -p icmp --icmp-type echo-request -m limit --limit 5/s -j ACCEPT
[0:0] -A INPUT -m mark --mark 0x1/0xff -j FOO
[0:0] -A INPUT -m state --state INVALID -g BAR
[0:0] -A INPUT -f -s 10.1.2.3/255.0.255.0 -j DROP
[0:0] -A INPUT ! -p tcp -m mac --mac-source 02:00:00:00:00:01 -m mac ! --mac-source 02:00:00:00:00:02 -j DROP
[0:0] -A OUTPUT -m owner --uid-owner 1000 --gid-owner 5 -j LOG --log-prefix "x: "
[0:0] -A FOO -p tcp --tcp-flags SYN,ACK SYN -j REJECT --reject-with tcp-reset
[0:0] -A FOO -p tcp --sport 1000:2000 -j RETURN
[0:0] -A FOO -m connmark --mark 0x5 -j CONNMARK --save-mark
[0:0] -A FOO ! -s 10.0.0.0/8 -i eth+ -j LOG --log-level 4 --log-prefix "foo "
[0:0] -A FOO -m conntrack --ctorigdst 1.2.3.4 --ctproto tcp --ctdir ORIGINAL -j ACCEPT
COMMIT
*nat
[0:0] -A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.5:80-90
[0:0] -A POSTROUTING -o eth0 -j MASQUERADE --random
[0:0] -A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 1000-2000
[0:0] -A POSTROUTING -p tcp -o eth0 -j SNAT --to-source 1.2.3.4:1000-2000
[0:0] -A OUTPUT -p tcp -j REDIRECT --to-ports 15001
[0:0] -A PREROUTING -m statistic --mode nth --every 2 --packet 1 -j DNAT --to-destination 10.0.0.2
[0:0] -A PREROUTING -m iprange ! --src-range 10.0.0.1-10.0.0.9 -m length --length 40:1500 -m pkttype ! --pkt-type broadcast -j RETURN
COMMIT
*mangle
[0:0] -A PREROUTING -j MARK --set-mark 7
[0:0] -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
[0:0] -A FORWARD -p tcp --syn -j TCPMSS --set-mss 1200
COMMIT
*raw
[0:0] -A PREROUTING -p udp -j CT --notrack
COMMIT
END
cat /proc/net/ip_tables_names
iptables-legacy-save -c | grep -v '^#'; iptables -L -n -v -x; iptables -D FOO 1; iptables -R FOO 1 -j DROP
iptables -I FOO 2 -p icmp -j ACCEPT; iptables -S FOO; iptables -Z INPUT; iptables -F FOO; iptables -X FOO; iptables -N FOO
iptables -F; iptables -X FOO; iptables -E BAR BAZ; iptables -S; iptables -C INPUT -m mark --mark 0x1 -j BAZ; echo $?
iptables -A FORWARD -j MASQUERADE; iptables -t nat -A OUTPUT -j MASQUERADE; iptables -A INPUT -m tcp --dport 3
iptables -A INPUT -j REJECT --reject-with tcp-reset; iptables -t mangle -A INPUT -j REJECT; iptables -t nope -L
iptables -t mangle -A FORWARD -p tcp -j TCPMSS --set-mss 1200
iptables -N A; iptables -N B; iptables -A A -j B; iptables -A B -j A; iptables -A INPUT -j A; iptables -A INPUT -j B
ip6tables -t nat -A POSTROUTING -s fd00::/64 ! -o docker0 -j MASQUERADE
ip6tables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:8080
ip6tables -A INPUT -p icmpv6 --icmpv6-type 128 -j REJECT; ip6tables -A INPUT ! -p udp -d ff02::1 -j DROP
ip6tables-legacy-save | grep -v '^#'; cat /proc/net/ip6_tables_names`,
  )
  if (text === undefined) return
  assert.match(
    text,
    /^\[5:55\] -A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -m comment --comment web -j/m,
  )
})

const PROGRAMS = `
cat > server.py <<'END'
import socket, struct, sys
family = socket.AF_INET6 if sys.argv[1] == '6' else socket.AF_INET
server = socket.socket(family)
if family == socket.AF_INET6: server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('', int(sys.argv[2]))); server.listen(5); print('ready', flush=True)
while True:
  peer, address = server.accept()
  try: wanted = struct.unpack('!H', peer.getsockopt(0, 80, 16)[2:4])[0] if family == socket.AF_INET else '-'
  except OSError as error: wanted = error.strerror
  data = peer.recv(100)
  peer.sendall(f'{data.decode()} from {address[0]} for {wanted}'.encode()); peer.close()
END
cat > client.py <<'END'
import socket, sys
try:
  with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as peer:
    peer.sendall(b'hello'); print(peer.recv(1000).decode())
except OSError as error: print(error)
END
serve() { local out=out.$RANDOM; "$@" > $out & servers="$servers $!"; until grep -qs ready $out; do sleep 0.05; done; }
`

const ROUTER = `
ip netns add c; ip netns add s
ip link add vc type veth peer name eth0 netns c; ip link add vs type veth peer name eth0 netns s
for net in 1:vc:c 2:vs:s; do
  IFS=: read -r n device space <<< $net
  ip addr add 10.$n.0.1/24 dev $device; ip addr add fd0$n::1/64 dev $device nodad; ip link set $device up
  ip -n $space link set lo up; ip -n $space addr add 10.$n.0.2/24 dev eth0
  ip -n $space addr add fd0$n::2/64 dev eth0 nodad; ip -n $space link set eth0 up
done
ip -n c route add default via 10.1.0.1; ip -n c route add default via fd01::1
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
c() { ip netns exec c python3 client.py "$@"; }
`

const TRANSLATED = `
# So that a slow machine still has the pings' connection at the end.
sysctl -q -w net.netfilter.nf_conntrack_icmp_timeout=600
serve ip netns exec s python3 server.py 4 80; serve ip netns exec s python3 server.py 6 80; serve python3 server.py 4 82
iptables -t nat -A POSTROUTING -s 10.1.0.0/24 -o vs -j MASQUERADE; c 10.2.0.2 80
ip netns exec c busybox ping -c 2 -q 10.2.0.2 | grep transmitted
iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80; c 10.1.0.1 8080
iptables -t nat -A OUTPUT -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80; python3 client.py 10.1.0.1 8080
iptables -t nat -A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82; python3 client.py 127.0.0.1 81
iptables -t nat -A PREROUTING -p tcp --dport 83 -j REDIRECT --to-ports 82; c 10.1.0.1 83; c 10.1.0.1 82
ip6tables -t nat -A POSTROUTING -s fd01::/64 -j MASQUERADE; c fd02::2 80
ip6tables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination [fd02::2]:80; c fd01::1 8080
iptables -A FORWARD -p tcp --dport 80 -j REJECT; c 10.2.0.2 80
iptables -F FORWARD; iptables -A FORWARD -p tcp --dport 80 -j REJECT --reject-with icmp-host-prohibited; c 10.1.0.1 8080
iptables -F FORWARD; iptables -A FORWARD -p tcp --dport 80 -j REJECT --reject-with tcp-reset; c 10.1.0.1 8080
ip6tables -A FORWARD -j REJECT --reject-with icmp6-adm-prohibited; c fd02::2 80
iptables -F FORWARD; iptables -P FORWARD DROP
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -i vc -m conntrack --ctstate NEW -j ACCEPT; c 10.2.0.2 80
iptables -A OUTPUT -p tcp --dport 98 -j REJECT --reject-with tcp-reset; python3 client.py 127.0.0.1 98
iptables -A OUTPUT -p udp -m owner --uid-owner 0 -j DROP
python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))" | tail -1
iptables -t nat -L -v -n -x | awk '{print $1, $2, $3}'
cat /proc/net/nf_conntrack | sed -E 's/(tcp +6|icmp +1) [0-9]+ (TIME_WAIT|CLOSE|CLOSE_WAIT|LAST_ACK|FIN_WAIT)?/\\1/; s/id=[0-9]+/id=/g; s/port=[3-6][0-9]{4}/port=/g' | sort -u
kill $servers`

for (const kind of ['nft', 'legacy']) {
  test(`netfilter: connections are translated, followed and refused as rules of iptables-${kind} say`, context => {
    const text = same(
      context,
      [`iptables-${kind}`, `ip6tables-${kind}`, 'ip', 'python3', 'busybox'],
      `iptables() { iptables-${kind} "$@"; }; ip6tables() { ip6tables-${kind} "$@"; }
${PROGRAMS}${ROUTER}${TRANSLATED}`,
    )
    if (text === undefined) return
    assert.match(text, /^hello from 10\.2\.0\.1 /m)
    assert.match(text, /^hello from 10\.1\.0\.2 for 83$/m)
  })
}

test('netfilter: packets add to sets, and each element has a limit and counters of its own', context => {
  const text = same(
    context,
    ['nft', 'ip', 'python3'],
    `cat > rules <<END
table inet f {
  set seen { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }
  set slow { type ipv4_addr . inet_service; flags dynamic; size 10; }
  chain in {
    type filter hook input priority 0; policy accept;
    udp dport 7 add @seen { ip saddr timeout 10m } counter
    udp dport 8 update @seen { ip daddr } counter
    udp dport 9 delete @seen { ip saddr }
    udp dport 10 add @slow { ip saddr . udp dport limit rate over 2/hour burst 2 packets } counter drop
    udp dport 11 meter each { ip saddr counter } accept
  }
}
END
${SEND}
show() { nft list ruleset | sed -E 's/expires [0-9a-z]+/expires/'; }
nft -f rules; nft --debug=netlink list ruleset | grep -v element; python3 send.py 7 8; show; python3 send.py 9 10 10 10 10 11 11; show`,
  )
  if (text === undefined) return
  assert.match(text, /^10 was dropped$/m)
})

test('netfilter: counters, quotas and limits have names, which rules and maps share', context => {
  const text = same(
    context,
    ['nft', 'ip', 'python3'],
    `cat > rules <<END
table ip o {
  counter any { packets 5 bytes 100 }
  counter web { comment "of the web" }
  quota few { 60 bytes }
  quota many { over 5 mbytes used 1 kbytes }
  limit slow { rate 2/hour burst 2 packets }
  map whose { type inet_service : counter; elements = { 7 : "any", 8 : "web" }; }
  chain in {
    type filter hook input priority 0; policy accept;
    counter name "any"
    counter name udp dport map @whose
    udp dport 9 quota name "few" accept
    udp dport 9 drop
    udp dport 10 limit name "slow" accept
    udp dport 10 drop
    udp dport 11 quota until 60 bytes counter accept
    udp dport 11 drop
    quota name udp dport map { 12 : "many", 13 : "few" } counter
  }
}
END
${SEND}
nft -f rules; nft -a list ruleset; nft --debug=netlink list ruleset | grep -v element; python3 send.py 7 8 8 9 9 9 10 10 10 11 11 11 12
nft list ruleset; nft list counters; nft list quotas; nft list counter ip o any; nft list limits
nft reset counters; nft reset quota ip o few; nft list ruleset | grep -A1 -E 'counter (any|web)|quota'; python3 send.py 9
nft delete counter ip o any; nft delete counter ip o none; nft add counter ip o any; nft create counter ip o any
nft add quota ip o few '{ 200 bytes }'; nft list quota ip o few; nft delete element ip o whose '{ 7 }'
nft add element ip o whose '{ 14 : "nothing" }'; nft add element ip o whose '{ 8 : "any" }'; nft get element ip o whose '{ 8 }'
nft add counter ip o gone; nft delete counter ip o gone; nft add rule ip o in counter name gone; nft delete table ip o; nft list ruleset`,
  )
  if (text === undefined) return
  assert.match(text, /^9 was dropped$/m)
})

test('netfilter: connections are counted, of all and of each address', context => {
  const text = same(
    context,
    ['nft', 'iptables-nft', 'iptables-legacy', 'ip', 'python3'],
    `cat > more <<END
table ip l {
  set each { type ipv4_addr; size 100; flags dynamic; }
  chain in {
    type filter hook input priority 0; policy accept;
    tcp dport 81 ct state new ct count over 2 counter reject
    tcp dport 82 ct state new add @each { ip saddr ct count over 1 } counter reject
  }
}
END
cat > connect.py <<'END'
import socket
listeners = []
for port in range(81, 85):
  listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); listener.bind(('', port)); listener.listen(9); listeners.append(listener)
def connect(source, port):
  client = socket.socket(); client.bind((source, 0)); client.settimeout(20)
  try: client.connect(('127.0.0.1', port)); print(port, source, 'connected'); return client
  except OSError as error: print(port, source, error)
for port in range(81, 85):
  held = [connect(source, port) for source in ['127.0.0.1', '127.0.0.1', '127.0.0.2', '127.0.0.2', '127.0.1.1']]
  for client in held:
    if client: client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + 7 * [0])); client.close()
  connect('127.0.0.1', port)
END
nft -f more; nft --debug=netlink list ruleset | grep -v element
iptables-nft -A INPUT -p tcp --syn --dport 83 -m connlimit --connlimit-above 2 --connlimit-mask 24 -j REJECT
iptables-legacy -A INPUT -p tcp --syn --dport 84 -m connlimit --connlimit-upto 2 --connlimit-mask 0 --connlimit-daddr -j ACCEPT
iptables-legacy -A INPUT -p tcp --syn --dport 84 -j REJECT; iptables-legacy -S; iptables-nft -S
python3 connect.py; nft list chain ip l in; nft flush ruleset; nft list ruleset`,
  )
  if (text === undefined) return
  assert.match(text, /^81 127\.0\.0\.2 \[Errno 111\]/m)
})

test('netfilter: a program that has bound a group is told of the packets that rules log there', context => {
  const text = same(
    context,
    ['nft', 'ip', 'python3'],
    `cat > listen.py <<'END'
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.bind((0, 0))
def attr(kind, data): return struct.pack('HH', 4 + len(data), kind) + data + bytes(-len(data) % 4)
def config(group, *attrs):
  body = struct.pack('!BBH', 0, 0, group) + b''.join(attrs)
  s.send(struct.pack('=IHHII', 16 + len(body), 4 << 8 | 1, 5, 1, 0) + body)
  answer = s.recv(65536); return -struct.unpack_from('=i', answer, 16)[0]
cmd = lambda c: attr(1, bytes([c]))
print(config(7, cmd(2)), config(7, attr(5, struct.pack('!I', 1))), config(7, cmd(3)), config(7, cmd(4)))
print(config(7, cmd(1)), config(7, cmd(1)), config(7, attr(2, struct.pack('!IBx', 0, 2))), config(7, attr(2, struct.pack('!IBx', 0, 3))))
print(config(7, attr(5, struct.pack('!I', 2)), attr(6, struct.pack('!H', 3)), attr(4, struct.pack('!I', 300))), config(8, cmd(1), attr(5, struct.pack('!I', 1)), attr(2, struct.pack('!IBx', 20, 2))))
other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); other.bind((0, 0)); s, mine = other, s
print(config(7, cmd(2))); s = mine
NAMES = {1: 'header', 10: 'prefix', 4: 'in', 5: 'out', 2: 'mark', 8: 'address', 15: 'type', 17: 'length', 16: 'link', 11: 'uid', 14: 'gid', 12: 'number', 13: 'global', 9: 'payload'}
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sender.bind(('127.0.0.1', 4000))
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', 7))
for size in 1, 100:
  sender.sendto(b'x' * size, ('127.0.0.1', 7)); receiver.recv(1000)
for turn in range(int(sys.argv[1])):
  data = s.recv(65536); at = 0
  while at < len(data):
    length, kind, flags = struct.unpack_from('=IHH', data, at); end = at + length
    family, version, group = struct.unpack_from('!BBH', data, at + 16); print('message', hex(kind), flags, family, version, group); at += 20
    while at < end and kind != 3:
      size, name = struct.unpack_from('=HH', data, at); value = data[at + 4:at + size]
      if name == 9: value = value[:4] + b'id' + value[6:10] + b'sum' + value[12:]
      if name != 3: print(' ', NAMES.get(name, name), value.hex())
      at += size + 3 & ~3
    at = end
END
nft -f - <<'END'
table ip l {
  chain in { type filter hook input priority 0; udp dport 7 log prefix "in " group 7; udp dport 7 log group 8; }
  chain out { type filter hook output priority 0; meta mark set 5; udp dport 7 log prefix "out " group 7 queue-threshold 1 snaplen 30; }
}
END
python3 listen.py 5`,
  )
  if (text === undefined) return
  assert.match(text, /^ {2}prefix 6f75742000$/m)
})

test("netfilter: what LOG says stands in the kernel's log, of the first network namespace only", context => {
  const skip = NOT_ROOT || notInstalled('iptables-nft', 'ip6tables-nft', 'ip', 'python3', 'dmesg')
  if (skip) return context.skip(skip)
  const script = `
python3 - <<'END'
import socket, subprocess
def rules(space):
  for tool in 'iptables-nft', 'ip6tables-nft':
    subprocess.run([*space, tool, '-A', 'INPUT', '-p', 'udp', '--dport', '9', '-j', 'LOG', '--log-prefix', 'in ', '--log-uid'], check=True)
    subprocess.run([*space, tool, '-A', 'INPUT', '-p', 'tcp', '--syn', '-j', 'LOG', '--log-tcp-options', '--log-level', 'info'], check=True)
rules([])
def use():
  for family, address in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
    receiver = socket.socket(family, socket.SOCK_DGRAM); receiver.bind((address, 9))
    sender = socket.socket(family, socket.SOCK_DGRAM); sender.bind((address, 4000))
    sender.sendto(b'hello', (address, 9)); receiver.recv(9)
    listener = socket.socket(family); listener.bind((address, 80)); listener.listen()
    client = socket.socket(family); client.bind((address, 4000)); client.connect((address, 80))
use()
END
dmesg | sed 's/^[^]]*] //' | grep IN=
unshare -n bash -c 'ip link set lo up; iptables-nft -A OUTPUT -j LOG --log-prefix other; echo x > /dev/udp/127.0.0.1/9'
dmesg | grep -c other`
  const lines = run(caisson, ['do', '--network=sandbox', '--', 'bash', '-c', script])
    .replace(/ID=[1-9]\d*/g, 'ID=n')
    .replace(/080A[0-9A-F]{8}/g, '080A')
    .split('\n')
  const mac = 'MAC=00:00:00:00:00:00:00:00:00:00:00:00'
  const one = '0000:0000:0000:0000:0000:0000:0000:0001'
  assert.deepEqual(lines, [
    `in IN=lo OUT= ${mac}:08:00 SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID=0 DF PROTO=UDP SPT=4000 DPT=9 LEN=13 `,
    `IN=lo OUT= ${mac}:08:00 SRC=127.0.0.1 DST=127.0.0.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=0 DF PROTO=TCP SPT=4000 DPT=80 WINDOW=65495 RES=0x00 SYN URGP=0 OPT (0204FFD70402080A0000000001030307) `,
    `in IN=lo OUT= ${mac}:86:dd SRC=${one} DST=${one} LEN=53 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=4000 DPT=9 LEN=13 `,
    `IN=lo OUT= ${mac}:86:dd SRC=${one} DST=${one} LEN=80 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=TCP SPT=4000 DPT=80 WINDOW=65476 RES=0x00 SYN URGP=0 OPT (0204FFC40402080A0000000001030307) `,
    '0',
    '',
  ])
})

test('netfilter: conntrack lists, counts, removes and follows connections', context => {
  same(
    context,
    ['conntrack', 'iptables-nft', 'ip', 'python3'],
    `${PROGRAMS}
clean() { sed -E 's/(tcp +6|udp +17) [0-9]+ /\\1 /; s/port=[3-6][0-9]{4}/port=/g; s/TIME_WAIT|LAST_ACK|CLOSE_WAIT/over/'; }
iptables-nft -A INPUT -m conntrack --ctstate NEW -j ACCEPT; serve python3 server.py 4 80
conntrack -E -o id > events 2>/dev/null & follower=$!
until awk '$2 == 12 && $4 != "00000000"' /proc/net/netlink | grep -q .; do sleep 0.05; done
python3 client.py 127.0.0.1 80
python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
conntrack -L 2>/dev/null | clean | sort; conntrack -C; conntrack -U -p udp --mark 7 2>/dev/null | clean
conntrack -L --mark 7 2>/dev/null | clean; conntrack -D -p udp 2>/dev/null | clean; conntrack -L -p udp 2>/dev/null
cat /proc/sys/net/netfilter/nf_conntrack_count; sysctl -w net.netfilter.nf_conntrack_acct=1
sysctl net.netfilter.nf_conntrack_tcp_timeout_established; conntrack -F; conntrack -C; kill $servers
until [ "$(grep -c DESTROY events)" -ge 2 ]; do sleep 0.05; done
kill $follower; wait $follower 2>/dev/null; grep -c NEW events; grep -c DESTROY events`,
  )
})
