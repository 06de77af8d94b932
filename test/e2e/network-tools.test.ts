/** What tools say of sockets, routes, rules and neighbours: the same commands print the same on the host and in a sandbox. */
import { test } from 'node:test'
import { same } from './netfilter-tools.ts'

test('ss tells of the sockets that are asked for, and not of those that were destroyed', context => {
  same(
    context,
    ['ip', 'ss', 'python3'],
    `cat > sockets.py <<END
import socket, sys
a = socket.create_server(('127.0.0.1', 8000), backlog=5)
c = socket.socket(); c.bind(('127.0.0.1', 9000)); c.connect(('127.0.0.1', 8000)); s, _ = a.accept(); s.send(b'x' * 10)
u = socket.socket(socket.AF_UNIX); u.bind('listener'); u.listen(3)
w = socket.socket(socket.AF_UNIX); w.connect('listener')
b = socket.socket(); b.bind(('127.0.0.1', 7000))
open('ready', 'w'); sys.stdin.read()
END
mkfifo in; python3 sockets.py < in & sockets=$!; exec 9> in; until test -e ready; do kill -0 $sockets || exit; sleep 0.05; done
own() { grep -v 'Invalid argument' | sed -E 's/ +/ /g; s/ [0-9]+ \\*/ N */g; s/(listener) [0-9]+/\\1 N/' | sort; }
ss -Htan 2>&1 | own; ss -HMan 2>&1 | own; ss -HSan 2>&1 | own; ss -Hdan 2>&1 | own; ss -Hxln 2>&1 | own
ss -HK dst 127.0.0.1 dport = 8000 2>&1 | own; ss -Htan 2>&1 | own; cat /proc/net/tcp | grep -c :; exec 9>&-; wait $sockets`,
  )
})

test('routes over the other family, gotos to nowhere, rejections, and addresses and neighbours set by ioctl', context => {
  same(
    context,
    ['ip', 'route', 'arp', 'ifconfig'],
    `ip link add v0 address 02:00:00:00:00:01 type veth peer name v1; ip link set v0 up; ip link set v1 up
ip addr add 10.1.0.1/24 dev v0; ip addr add fd01::1/64 dev v0 nodad
ip route add 10.16.0.0/16 via inet6 fd01::9 dev v0; ip route add 10.17.0.0/16 via inet6 fd77::9 dev v0
ip route add 10.18.0.0/16 nexthop via 10.1.0.3 nexthop via inet6 fd01::4 dev v0; ip -6 route add fd18::/64 via inet 10.1.0.3 dev v0
ip rule add to 1.2.3.5 goto 200 prio 106; ip rule; ip rule add to 1.2.3.5 lookup main prio 200; ip rule
route add -net 10.52.0.0/16 reject; route add -net 10.53.0.0/16 gw 10.1.0.9; ip route; route -n; route del -net 10.52.0.0/16 reject; ip route get 10.53.0.1
ifconfig v0 add fd01::5/64; ifconfig v0 add fd01::5/64; ip -6 -o addr show v0 | grep -c fd01::5; ifconfig v0 del fd01::5/64; ip -6 -o addr show v0 | grep -c fd01::5
route -A inet6 add fd20::/64 gw fd01::9; route -A inet6 add fd21::/64 dev v0; route -A inet6 add fd22::/64 gw fd99::1
ip -6 route | grep fd2; route -A inet6 del fd20::/64; route -A inet6 del fd20::/64; ip -6 route | grep fd2
arp -s 10.1.0.7 02:00:00:00:00:07; arp -n 10.1.0.7; ip neigh show dev v0; arp -d 10.1.0.7; arp -n 10.1.0.7`,
  )
})
