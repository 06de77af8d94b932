for i in iptables-nft iptables-legacy; do
for i6 in $i ${i/ip/ip6}; do
case $i6 in ip6*) lo=::1/128 six=::6/128;; *) lo=127.0.0.1/32 six=127.0.0.6/32;; esac
$i6-restore --noflush <<END
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s $six -j RETURN
-A ISTIO_OUTPUT -o lo ! -d $lo -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d $lo -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d $lo -j RETURN
-A ISTIO_OUTPUT -p udp --dport 53 -m owner --gid-owner 1000-1005 -j RETURN
-A ISTIO_OUTPUT -p udp --dport 53 -j REDIRECT --to-port 15053
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
* raw
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
-A OUTPUT -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2
-A OUTPUT -p udp --dport 53 -d 1.2.3.4 -j CT --zone 2
-A PREROUTING -p udp --sport 53 -s 1.2.3.4 -j CT --zone 1
COMMIT
END
$i6-restore --noflush <<END
* mangle
-N ISTIO_DIVERT
-N ISTIO_TPROXY
-N ISTIO_INBOUND
-A ISTIO_DIVERT -j MARK --set-mark 1337
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY ! -d $lo -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN
-A ISTIO_INBOUND -p tcp -s $six -i lo -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -m socket --transparent --nowildcard --restore-skmark -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
COMMIT
* raw
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
-A PREROUTING -p udp --sport 53 -j CT --zone 1
COMMIT
* filter
-A OUTPUT -m conntrack --ctstate INVALID -j DROP
COMMIT
END
$i6-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
for t in nat raw mangle filter; do $i6 -t $t -F; $i6 -t $t -X; done
done; done
iptables-nft -t raw -A OUTPUT -p udp --dport 53 -j CT --zone 7
iptables-nft -t raw -A OUTPUT -p tcp --dport 54 -j CT --zone-orig 8
iptables-nft -t raw -A PREROUTING -p udp --sport 53 -j CT --zone-reply 7
iptables-nft -t raw -A OUTPUT -p udp --dport 21 -j CT --helper ftp --ctevents new,destroy
iptables-nft -t raw -A OUTPUT -p udp --dport 69 -j CT --helper none 
iptables-nft -t raw -A OUTPUT -p udp --dport 69 -j CT --timeout none 
iptables-nft-save | grep -v '^#'
iptables-nft -A INPUT -m conntrack --ctstate NEW -j ACCEPT
python3 - <<END
import socket
r=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); r.bind(('127.0.0.1',53))
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',1111)); s.sendto(b'x',('127.0.0.1',53))
END
conntrack -L 2>&1 | sed 's/ [0-9]* src/ T src/'
conntrack -L -w 7 2>&1 | sed 's/ [0-9]* src/ T src/'; conntrack -L -w 8 2>&1 | sed 's/ [0-9]* src/ T src/'; cat /proc/net/nf_conntrack | sed 's/ [0-9]* src/ T src/'
conntrack -D -w 9; conntrack -D -w 7 | sed 's/ [0-9]* src/ T src/'
