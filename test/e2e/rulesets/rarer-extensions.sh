for i in iptables-nft iptables-legacy; do
$i -t mangle -A POSTROUTING -s 10.0.0.0/24 -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j DROP; $i -A INPUT -m bpf --bytecode "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0" -p udp --dport 77 -j DROP; $i -A INPUT -m bpf --object-pinned /x; $i -A INPUT -m bpf --bytecode "1,48 0 0 9"
$i -A INPUT -p sctp --dport 5 -j DROP; $i -A INPUT -p sctp -m sctp --dport 5 --chunk-types any INIT -j DROP; $i -A INPUT -p sctp -m sctp --chunk-types all INIT,DATA:Be -j DROP; $i -A INPUT -p sctp ! --sport 5:7; $i -t mangle -A INPUT -p sctp -m sctp --chunk-types any INIT
$i -t mangle -A FORWARD -j TEE --gateway 1.2.3.4;  $i -t mangle -A FORWARD -j TEE --gateway 1.2.3.4 --oif lo; $i -t mangle -A FORWARD -j TEE --gateway 0.0.0.0
$i -t mangle -A OUTPUT -p tcp -j TCPOPTSTRIP --strip-options timestamp,sack-permitted; $i -t mangle -A INPUT -j TCPOPTSTRIP --strip-options timestamp; $i -A INPUT -p tcp -j TCPOPTSTRIP --strip-options timestamp
$i -t mangle -A INPUT -p tcp -j ECN --ecn-tcp-remove; $i -A INPUT -p tcp -j ECN --ecn-tcp-remove;  $i -A INPUT -m realm --realm 1 -j DROP; $i -A INPUT -m realm ! --realm 5; $i -t raw -A PREROUTING -m realm --realm 1
$i-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
python3 - <<END
import socket,struct
r=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); r.bind(('127.0.0.1',0)); r.setblocking(False)
q=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); q.bind(('127.0.0.1',77)); q.setblocking(False)
for x in (r,q):
  s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.sendto(b'x',x.getsockname())
  try: print(x.recv(9))
  except OSError as e: print(e)
l=socket.socket(); l.bind(('127.0.0.1',0)); l.listen(); c=socket.socket(); c.connect(l.getsockname()); a,_=l.accept(); i=a.getsockopt(6,11,104); print('options',i[5])
END
for t in mangle filter; do $i -t $t -F; done
$i -A INPUT -p sctp --dport 5000 -m sctp --chunk-types any INIT -j ACCEPT;$i -A INPUT -p sctp --dport 5001 -m sctp --chunk-types all INIT,SACK -j ACCEPT;$i -A INPUT -p sctp -m sctp --chunk-types only INIT,SACK -j ACCEPT;  $i -A INPUT -p sctp -m sctp --dport 5002 --chunk-types any DATA:Be -j ACCEPT
python3 - <<END
import socket,struct
def chunk(t,f=0,n=4): return struct.pack('>BBH',t,f,4+n)+b'\0'*n
s=socket.socket(socket.AF_INET,socket.SOCK_RAW,132)
for port in (5000,5001,5002):
  for chunks in (chunk(1),chunk(3),chunk(1)+chunk(3),chunk(1)+chunk(0,3,5),chunk(0,1),b'',b'\1\0\0\0'):
    s.sendto(struct.pack('>HHII',1,port,0,0)+chunks,('127.0.0.1',0))
END
$i -L INPUT -n -v -x | awk '{print $1,$2}'
$i -F
done
ip netns add a; ip netns add b; ip link add v0 type veth peer name v0 netns a; ip link add w0 type veth peer name w0 netns b; for n in a b; do ip -n $n link set lo up; done; ip link set v0 up; ip link set w0 up; ip -n a link set v0 up; ip -n b link set w0 up
ip addr add 10.1.0.1/24 dev v0; ip addr add 10.2.0.1/24 dev w0; ip -n a addr add 10.1.0.2/24 dev v0;  ip -n b addr add 10.2.0.2/24 dev w0; ip netns exec b iptables-nft -A INPUT -j DROP; ip netns exec b iptables-nft -t raw -A PREROUTING -p icmp
ping -q -c1 10.1.0.2 | grep -c '1 received'
iptables-nft -t mangle -A POSTROUTING -p icmp -o v0 -j TEE --gateway 10.2.0.2;iptables-nft -t mangle -A PREROUTING -p icmp -i v0 -j TEE --gateway 10.2.0.2; ping -q -c2 10.1.0.2 | grep -c '2 received'; ip netns exec b iptables-nft -t raw -L PREROUTING -n -v -x | tail -1 | awk '{print $1,$2}'; iptables-nft -t mangle -F
nft add table ip x; nft add chain ip x o '{ type filter hook output priority 0; }'; nft add rule ip x o icmp type echo-request dup to 10.2.0.2 device w0; nft add rule ip x o icmp type echo-request dup to ip daddr map { 10.1.0.2 : 10.2.0.2 }; nft list ruleset ip | grep dup;  ping -q -c1 10.1.0.2 | grep -c '1 received'; ip netns exec b iptables-nft -t raw -L PREROUTING -n -v -x | tail -1 | awk '{print $1,$2}'
