nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add chain inet t o '{ type filter hook output priority 0; }'
for rule in 'ct label set 5' 'ct label 5 counter' 'ct label 6 counter' 'ct label set 127' 'ct label != 5 counter' 'ct avgpkt > 100 counter' 'ct helper "ftp" counter' 'udp dport 5000 @ih,0,8 0x78 counter' 'udp dport 5000 @ih,8,8 0x78 counter' 'rt ipsec exists counter' 'rt ipsec missing counter' '@ih,0,8 set 5'; do nft add rule inet t c "$rule" 2>&1 | head -1; done
iptables-nft -A INPUT -m connlabel --label 7 --set; iptables-nft -A INPUT -m connlabel --label 7; iptables-nft -A INPUT -m connlabel ! --label 7; iptables-nft -A INPUT -m connlabel --label 128; iptables-legacy -A INPUT -m connlabel --label 127 -j ACCEPT; iptables-legacy -A INPUT -m connlabel ! --label 9 --set -j ACCEPT
nft add flowtable inet t f '{ hook ingress priority 0; devices = { lo }; }' 2>&1 | head -1
cat > send.py <<END
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', 5000))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sender.bind(('127.0.0.1', 3000)); sender.sendto(b'xyz', ('127.0.0.1', 5000))
print(receiver.recv(9))
END
python3 send.py; conntrack -L -o labels 2>&1 | sed 's/ [0-9]* src/ T src/; s/use=.*//'; nft list ruleset; iptables-nft -L INPUT -v -n -x | grep -v '^#'; iptables-legacy -S INPUT
conntrack -U --label-add 9 2>&1 | sed 's/ [0-9]* src/ T src/'; conntrack -L -o labels 2>&1 | sed 's/ [0-9]* src/ T src/; s/use=.*//'
