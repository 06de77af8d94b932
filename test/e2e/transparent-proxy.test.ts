/**
 * Proxies that answer in the place of others, as those of service meshes do: TPROXY, the match `socket` and their like of
 * nf_tables, on the host and in a sandbox.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { same } from './netfilter-tools.ts'

/** A client in `a`, whose way to everywhere leads over `b`; a proxy in `b`, which says for whom it answers. */
const SET_UP = `for n in a b; do ip netns add $n; ip -n $n link set lo up; done
at() { ip netns exec "$@"; }
ip link add e0 netns a type veth peer name e1 netns b
ip -n a addr add 10.0.0.1/24 dev e0; ip -n b addr add 10.0.0.2/24 dev e1; ip -n a link set e0 up; ip -n b link set e1 up
ip -n a addr add fd01::1/64 dev e0 nodad; ip -n b addr add fd01::2/64 dev e1 nodad
ip -n a route add default via 10.0.0.2; ip -n a route add default via fd01::2
at b sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
ip -n b rule add fwmark 1 lookup 100; ip -n b route add local default dev lo table 100
ip -n b -6 rule add fwmark 1 lookup 100; ip -n b -6 route add local default dev lo table 100
until at a ping -c 1 -W 1 10.0.0.2 > /dev/null && at a ping -c 1 -W 1 fd01::2 > /dev/null; do :; done
cat > proxy.py <<END
import os, socket, sys, threading
def tcp(family, address):
  server = socket.socket(family)
  server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  if family == socket.AF_INET6: server.setsockopt(socket.IPPROTO_IPV6, 75, 1); server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
  else: server.setsockopt(socket.IPPROTO_IP, 19, 1)
  server.bind((address, 8080)); server.listen()
  while True:
    client, peer = server.accept()
    client.sendall(('%s for %s port %d' % (peer[0], *client.getsockname()[:2])).encode()); client.close()
def udp():
  server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  server.setsockopt(socket.IPPROTO_IP, 19, 1); server.setsockopt(socket.IPPROTO_IP, 20, 1)
  server.bind(('', 8080))
  while True:
    data, control, _, peer = server.recvmsg(100, 100)
    to = control[0][2]
    answer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); answer.setsockopt(socket.IPPROTO_IP, 19, 1)
    answer.bind((socket.inet_ntoa(to[4:8]), int.from_bytes(to[2:4], 'big'))); answer.sendto(b'to ' + data, peer)
for what in (tcp, socket.AF_INET, ''), (tcp, socket.AF_INET6, '::'), (udp,):
  threading.Thread(target=what[0], args=what[1:], daemon=True).start()
threading.excepthook = lambda failed: os._exit(1)
while sys.stdin.read(1): pass
END
cat > client.py <<END
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
try:
  if len(sys.argv) > 3:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((host, port)); s.settimeout(float(sys.argv[3])); s.send(b'data'); print(s.recv(100).decode())
  else: print(socket.create_connection((host, port), timeout=10).recv(100).decode())
except OSError as error: print(type(error).__name__)
END
starts() { mkfifo in; at b python3 proxy.py < in & proxy=$!; exec 9> in; until [ $(at b ss -Hlntu | grep -c :8080) = 3 ]; do kill -0 $proxy || exit; sleep 0.05; done; }
stops() { exec 9>&-; wait $proxy; rm in; }
`
const TOOLS = ['ip', 'iptables', 'ip6tables', 'nft', 'python3', 'ss', 'ping', 'sysctl']

test('TPROXY hands connections and datagrams for others to a transparent socket, which answers under their addresses', context => {
  const text = same(
    context,
    TOOLS,
    `${SET_UP}
at b iptables -t mangle -N DIVERT; at b iptables -t mangle -A DIVERT -j MARK --set-mark 1; at b iptables -t mangle -A DIVERT -j ACCEPT
at b iptables -t mangle -A PREROUTING -p tcp -m socket --transparent -j DIVERT
at b iptables -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --tproxy-mark 0x1/0x1 --on-port 8080
at b iptables -t mangle -A PREROUTING -p udp --dport 53 -j TPROXY --tproxy-mark 0x1/0x1 --on-ip 10.0.0.2 --on-port 8080
at b ip6tables -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --tproxy-mark 1 --on-port 8080
at b iptables -t mangle -A PREROUTING -j TPROXY --on-port 1; at b iptables -t mangle -A INPUT -p tcp -j TPROXY --on-port 1
at b iptables -A INPUT -p tcp -j TPROXY --on-port 1; at b iptables -t mangle -A OUTPUT -m socket -j ACCEPT
at b iptables -t mangle -A FORWARD -j DROP
starts
at a python3 client.py 192.0.2.1 80; at a python3 client.py 198.51.100.7 80; at a python3 client.py 2001:db8::1 80
at a python3 client.py 192.0.2.1 53 10; at a python3 client.py 10.0.0.2 8080
stops
at b iptables-save -t mangle | grep -v '^[#:]'; at b ip6tables-save -t mangle | grep -v '^[#:]'`,
  )
  if (text !== undefined) assert.match(text, /^10.0.0.1 for 192.0.2.1 port 80$/m)
})

test('nf_tables: tproxy, and what it says of sockets', context => {
  const text = same(
    context,
    TOOLS,
    `${SET_UP}
at b nft -f - <<END
table inet m {
  chain p {
    type filter hook prerouting priority mangle; policy accept;
    socket transparent 1 meta mark set 1 accept
    tcp dport 80 tproxy to :8080 meta mark set 1 accept
    meta nfproto ipv4 udp dport 53 tproxy ip to 10.0.0.2:8080 meta mark set 1 accept
    socket wildcard 1 counter
    socket mark 0 counter
  }
  chain f { type filter hook forward priority 0; policy drop; }
}
END
at b nft add rule inet m f tproxy to :8080; at b nft add rule inet m f socket transparent 1
starts
at a python3 client.py 192.0.2.1 80; at a python3 client.py 2001:db8::1 80; at a python3 client.py 192.0.2.1 53 10
stops; at b nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'`,
  )
  if (text !== undefined) assert.match(text, /^fd01::1 for 2001:db8::1 port 80$/m)
})
