for i in iptables-nft iptables-legacy; do
$i -t nat -N DOCKER; $i -t filter -N DOCKER; $i -t filter -N DOCKER-ISOLATION-STAGE-1; $i -N DOCKER-ISOLATION-STAGE-2; $i -N DOCKER-USER
$i -N DOCKER-FORWARD; $i -N DOCKER-BRIDGE; $i -N DOCKER-CT; $i -N DOCKER-INTERNAL
$i -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
$i -t nat -I DOCKER -i docker0 -j RETURN
$i -I FORWARD -i docker0 ! -o docker0 -j ACCEPT; $i -I FORWARD -i docker0 -o docker0 -j ACCEPT
$i -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$i -I FORWARD -o docker0 -j DOCKER; $i -I FORWARD -j DOCKER-ISOLATION-STAGE-1; $i -I FORWARD -j DOCKER-USER
$i -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2; $i -A DOCKER-ISOLATION-STAGE-1 -j RETURN
$i -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP; $i -A DOCKER-ISOLATION-STAGE-2 -j RETURN; $i -A DOCKER-USER -j RETURN
$i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; $i -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER ! --dst 127.0.0.0/8
$i -A DOCKER -d 172.17.0.2 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
$i -t nat -A POSTROUTING -p tcp -s 172.17.0.2 -d 172.17.0.2 --dport 80 -j MASQUERADE
$i -t nat -A DOCKER -p tcp -d 0/0 --dport 8080 -j DNAT --to-destination 172.17.0.2:80 ! -i docker0
# 28
$i -t raw -I PREROUTING -p tcp -d 172.17.0.2 ! -i docker0 -j DROP
$i -t raw -A PREROUTING -p tcp -d 127.0.0.1 --dport 8080 ! -i lo -j DROP
$i -A DOCKER ! -i docker0 -o docker0 -j DROP
$i -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; $i -A DOCKER-BRIDGE -o docker0 -j DOCKER
$i -A DOCKER-FORWARD -j DOCKER-CT; $i -A DOCKER-FORWARD -j DOCKER-INTERNAL; $i -A DOCKER-FORWARD -i docker0 -j ACCEPT
$i -A DOCKER-FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ipset create docker-ext-bridges-v4 hash:net family inet 2>&1; ipset add docker-ext-bridges-v4 172.17.0.0/16; 
$i -A DOCKER-FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$i -A DOCKER-FORWARD -m set --match-set docker-ext-bridges-v4 dst -j DOCKER
$i -t mangle -A POSTROUTING -s 10.0.0.0/24 -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j DROP
# swarm
$i -N DOCKER-INGRESS; $i -t nat -N DOCKER-INGRESS; $i -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
$i -t mangle -A PREROUTING -p tcp --dport 80 -j MARK --set-mark 256; $i -t mangle -A OUTPUT -d 10.0.0.2 -j MARK --set-mark 0x100
$i -t nat -A POSTROUTING -d 10.0.0.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.0.3
$i -A OUTPUT -p udp -m policy --dir out --pol none --dport 4789 -m u32 --u32 "0>>22&0x3C@12&0xFFFFFF00=1048576" -j DROP
$i -t mangle -A OUTPUT -p udp --dport 4789 -m u32 --u32 "0>>22&0x3C@12&0xFFFFFF00=1048576" -j MARK --set-mark 13681891
$i -I INPUT -m udp -p udp --dport 4789 -m u32 --u32 "0>>22&0x3C@12&0xFFFFFF00=1048576" -m policy --dir in --pol none -j DROP
$i -t nat -A OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:34567
$i -t nat -A POSTROUTING -s 127.0.0.11 -p udp --sport 34567 -j SNAT --to-source :53
$i-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'; $i -t nat -S; $i -S DOCKER-USER
i6=${i/ip/ip6}
$i6 -t nat -N DOCKER; $i6 -N DOCKER; $i6 -N DOCKER-ISOLATION-STAGE-1; $i6 -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
$i6 -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER ! --dst ::1/128
$i6 -t nat -A POSTROUTING -s fd00:1::/64 ! -o br0 -j MASQUERADE
$i6 -t nat -A DOCKER -p tcp -d ::/0 --dport 8080 -j DNAT --to-destination [fd00:1::2]:80 ! -i br0
$i6 -t raw -A PREROUTING -d fd00:1::2 ! -i br0 -j DROP; $i6 -A FORWARD -p icmpv6 --icmpv6-type 134 -j ACCEPT
$i6-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
$i -F; $i -X; $i -t nat -F; $i -t nat -X; $i -t raw -F; $i -t mangle -F; ipset destroy
done
