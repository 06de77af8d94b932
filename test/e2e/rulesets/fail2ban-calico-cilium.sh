ipset -exist create f2b-sshd hash:ip timeout 600 maxelem 65536; ipset -exist create f2b-sshd6 hash:ip family inet6 timeout 0
ipset save | sed 's/ initval.*//'; iptables-nft -w -N f2b-x; for i in iptables-nft iptables-legacy; do
$i -w -I INPUT -p tcp -m multiport --dports ssh -m set --match-set f2b-sshd src -j REJECT --reject-with icmp-port-unreachable
$i -w -C INPUT -p tcp -m multiport --dports ssh -m set --match-set f2b-sshd src -j REJECT --reject-with icmp-port-unreachable; echo $?; $i-save | grep f2b; done
ipset -exist add f2b-sshd 1.2.3.4 timeout 600; ipset test f2b-sshd 1.2.3.4; ipset list | sed -E 's/timeout (59[0-9]|600)$/timeout T/; s/ initval.*//; /Size in memory/d'; ipset del f2b-sshd 1.2.3.4 -exist; ipset flush f2b-sshd; ipset destroy f2b-sshd
# calico
ipset create cali40all-ipam-pools hash:net family inet maxelem 1048576; ipset create cali40this-host hash:ip family inet maxelem 1048576; ipset create cali40s:abc hash:ip,port family inet maxelem 1048576 
ipset create cali40t0 hash:net,port,net maxelem 100; ipset create cali40n hash:net,net maxelem 100; ipset create cali40i hash:net,iface
ipset restore <<END
create cali40tmp hash:net family inet maxelem 1048576 
add cali40tmp 10.244.0.0/16
swap cali40all-ipam-pools cali40tmp
destroy cali40tmp
COMMIT
END
ipset add cali40s:abc 10.1.1.1,tcp:80; ipset add cali40s:abc 10.1.1.1,udp:53;  ipset add cali40this-host 127.0.0.1
for i in iptables-nft iptables-legacy; do
$i-restore --noflush --verbose <<END
*filter
:cali-FORWARD - -
:cali-INPUT - -
:cali-OUTPUT - -
:cali-from-wl-dispatch - -
:cali-fw-cali1234 - -
:cali-tw-cali1234 - -
:cali-pri-kns.default - -
:cali-wl-to-host - -
:cali-cidr-block - -
:cali-to-hep-forward - -
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:A_sPAO0mcxbT9mOV" -m mark --mark 0x0/0x10000 -j cali-to-hep-forward
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -m comment --comment "cali:MH9kMp5aNICL-Olv" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -m comment --comment "cali:MH9kMp5aNICL-Ol2" -j MARK --set-xmark 0x10000/0x10000
-A cali-INPUT -p ipencap -m comment --comment "cali:PajejrV4aFdkZojI" -m comment --comment "Allow IPIP packets from Calico hosts" -m set --match-set cali40this-host src -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -p ipencap -m comment --comment "cali:_wjq-Yrma8Ly1Svo" -j DROP
-A cali-INPUT -p udp -m multiport --dports 4789 -m set --match-set cali40this-host src -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -i cali+ -g cali-wl-to-host
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -j RETURN
-A cali-OUTPUT -m addrtype --src-type LOCAL --limit-iface-out -j RETURN
-A cali-OUTPUT -m conntrack ! --ctstate DNAT -j cali-to-hep-forward
-A cali-from-wl-dispatch -i cali1234 -g cali-fw-cali1234
-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali1234 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali1234 -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali1234 -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali1234 -p ipencap -j DROP
-A cali-fw-cali1234 -m set --match-set cali40s:abc dst,dst -j RETURN
-A cali-fw-cali1234 -m set ! --match-set cali40all-ipam-pools dst -m set --match-set cali40all-ipam-pools src -j RETURN
-A cali-fw-cali1234 -m connlimit --connlimit-above 10 --connlimit-mask 0 -j REJECT --reject-with tcp-reset
-A cali-fw-cali1234 -j NFLOG --nflog-group 1 --nflog-prefix "DPI|a" --nflog-size 80 
-A cali-fw-cali1234 -j NFLOG --nflog-group 1 --nflog-prefix "DPI|a" --nflog-range 80 --nflog-threshold 5
-A cali-wl-to-host -j cali-from-wl-dispatch
-A cali-tw-cali1234 -m rpfilter --validmark --invert -j DROP
COMMIT
*raw
:cali-PREROUTING - -
:cali-rpf-skip - -
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -p udp --dport 4789 -j NOTRACK
COMMIT
*nat
:cali-PREROUTING - -
:cali-fip-dnat - -
:cali-nat-outgoing - -
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -j cali-fip-dnat
-A cali-nat-outgoing -m set --match-set cali40all-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully
COMMIT
END
$i-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
$i-restore --noflush <<END
*raw
-R cali-PREROUTING 1 -j MARK --set-xmark 0x0/0xf0001
-D cali-PREROUTING -p udp --dport 4789 -j NOTRACK
COMMIT
*filter
-I INPUT 1 -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
COMMIT
END
$i -t raw -S; $i -S INPUT
# cilium
$i-restore --noflush <<END
*raw
:CILIUM_PRE_raw - [0:0]
:CILIUM_OUTPUT_raw - [0:0]
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_raw" -j CILIUM_PRE_raw
-A CILIUM_PRE_raw -m mark --mark 0x200/0xf00 -m comment --comment "cilium: NOTRACK for proxy traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o lxc+ -m mark --mark 0xa00/0xfffffeff -j CT --notrack
COMMIT
*mangle
:CILIUM_PRE_mangle - [0:0]
-A PREROUTING -j CILIUM_PRE_mangle
-A CILIUM_PRE_mangle ! -o lo -m socket --transparent -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0x800/0xf00 -j MARK --set-xmark 0x200/0xffffffff
-A CILIUM_PRE_mangle -m socket --transparent -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0x800/0xf00 -j MARK --set-xmark 0x200/0xffffffff
-A CILIUM_PRE_mangle -p tcp -m mark --mark 0x4d9b0200 -j TPROXY --on-port 39757 --on-ip 127.0.0.1 --tproxy-mark 0x200/0xffffffff
COMMIT
END
$i-restore --noflush <<END
*mangle
:CILIUM_PRE_mangle - [0:0]
-A PREROUTING -j CILIUM_PRE_mangle
-A CILIUM_PRE_mangle -m socket --transparent -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0x800/0xf00 -j MARK --set-xmark 0x200/0xffffffff
-A CILIUM_PRE_mangle -p tcp -m mark --mark 0x4d9b0200 -j TPROXY --on-port 39757 --on-ip 127.0.0.1 --tproxy-mark 0x200/0xffffffff
COMMIT
END
$i-save | grep CILIUM
for t in nat raw mangle filter; do $i -t $t -F; $i -t $t -X; done
done
