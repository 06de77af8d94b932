nft -f - <<END
table inet t {
  chain raw { type filter hook prerouting priority raw; policy accept;
    udp dport 5000-5010 meta nftrace set 1
  }
  chain other {
    udp dport 5001 return
    udp dport 5002 accept
    udp dport 5003 meta mark set 9
    udp dport 5004 goto third
  }
  chain third { counter
  }
  chain in { type filter hook input priority 0; policy accept;
    udp dport 4999 drop
    udp dport 5000 drop
    udp dport 5001-5004 jump other
    udp dport 5005 meta nftrace set 0
    counter
    udp dport { 5006, 5007 } jump {
      udp dport 5006 reject
    }
  }
}
table ip n {
  chain in { type nat hook input priority 100; policy accept;
  }
  chain pre { type nat hook prerouting priority -100; policy accept;
    udp dport 5008 redirect to :5009
  }
}
END
nft monitor trace > told & teller=$!
until awk '$2 == 12 && $4 != "00000000"' /proc/net/netlink | grep -q .; do sleep 0.05; done
python3 - <<END
import socket
for port in list(range(4999, 5009)) + [6000]:
  sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sender.bind(('127.0.0.1', 3000)); sender.sendto(b'x', ('127.0.0.1', port)); sender.close()
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); sender.bind(('::1', 3000)); sender.sendto(b'x', ('::1', 5002))
END
until grep -qs 'ip6 saddr' told; do sleep 0.05; done; sleep 0.3; kill $teller
sed 's/trace id [0-9a-f]*/trace id N/; s/ip id [0-9]* //; s/ ip6 flowlabel [0-9]*//; s/checksum 0x[0-9a-f]*/checksum N/; s/__chain[0-9]*/__chainN/' told
iptables-nft -t raw -A OUTPUT -p udp --dport 7 -j TRACE 2>&1; nft list chain ip raw OUTPUT
iptables-legacy -t raw -A OUTPUT -p udp --dport 7 -j TRACE; iptables-legacy -A INPUT -j TRACE; iptables-legacy -t raw -S OUTPUT
