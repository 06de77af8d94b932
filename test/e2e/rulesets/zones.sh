# Two namespaces with the same addresses, told apart by zones
ip netns add a; ip netns add b; 
for n in a b; do ip link add v$n type veth peer name eth0 netns $n; ip link set v$n up; ip -n $n link set eth0 up; ip -n $n addr add 10.0.0.2/24 dev eth0; ip -n $n link set lo up; ip -n $n route add default via 10.0.0.1; done
ip addr add 10.0.0.1/24 dev va; ip addr add 10.0.0.1/24 dev vb noprefixroute 2>/dev/null; ip rule add fwmark 2 table 2 pref 10; ip route add 10.0.0.0/24 dev vb table 2
ip addr add 9.9.9.9/32 dev lo; sysctl -q net.ipv4.ip_forward=1 net.ipv4.conf.va.rp_filter=0 net.ipv4.conf.vb.rp_filter=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
nft -f - <<END
table ip z {
 chain raw { type filter hook prerouting priority raw; policy accept;
   ct original zone set iifname map { "va" : 11, "vb" : 12 }
 }
 chain p { type filter hook prerouting priority mangle; policy accept;
   ct direction original iifname vb ct mark set 2
   ct direction original ct original zone 12 counter
 }
 chain o { type route hook output priority mangle; policy accept;
   meta mark set ct mark
 }
 chain i { type filter hook input priority 0; policy accept;
  ct state new ct original zone 11 counter
  ct state established counter
 }
}
END
nft list ruleset
python3 - <<'END' &
import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('9.9.9.9',99))
for i in range(4):
  d,a=s.recvfrom(99); s.sendto(d+b' back',a)
END
sleep 0.3
for n in a b a b; do ip netns exec $n python3 -c "
import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('10.0.0.2',1000)); s.settimeout(1); s.sendto(b'$n',('9.9.9.9',99))
try: print(s.recv(99))
except Exception as e: print(e)"; done
conntrack -L 2>/dev/null | sed 's/ [0-9]* src/ T src/;s/.ASSURED. //' | sort; sed 's/ [0-9]* src/ T src/;s/.ASSURED. //' /proc/net/nf_conntrack | sort; conntrack -L --orig-zone 11 2>&1| sed 's/ [0-9]* src/ T src/;s/.ASSURED. //';  conntrack -D --orig-zone 11 2>&1| sed 's/ [0-9]* src/ T src/;s/.ASSURED. //'; conntrack -L  2>&1| sed 's/ [0-9]* src/ T src/;s/.ASSURED. //'
conntrack -L -o xml 2>/dev/null | sed 's/<assured.>//;s/<timeout>[0-9]*//;s/<id>[0-9]*//'
nft list ruleset | grep counter
