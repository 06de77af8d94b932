cat > r <<'END'
table inet firewalld {
	ct helper helper-ftp-tcp {
		type "ftp" protocol tcp
		l3proto inet
	}
}
END

cat > r <<'END'
table inet firewalld {
	chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept;
		jump mangle_PREROUTING_ZONES
	}
	chain mangle_PREROUTING_POLICIES_pre { jump mangle_PRE_policy_allow-host-ipv6
	}
	chain mangle_PREROUTING_ZONES { iifname "eth0" goto mangle_PRE_public
		goto mangle_PRE_public
	}
	chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept;
		jump nat_PREROUTING_ZONES
	}
	chain nat_PREROUTING_ZONES { iifname "eth0" goto nat_PRE_public
		goto nat_PRE_public
	}
	chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept;
		jump nat_POSTROUTING_ZONES
	}
	chain nat_POSTROUTING_ZONES { oifname "eth0" goto nat_POST_public
		goto nat_POST_public
	}
	chain nat_OUTPUT { type nat hook output priority -90; policy accept;
	}
	chain filter_PREROUTING { type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24, 2002:a00::/24, 2002:7f00::/24, 2002:a9fe::/32, 2002:ac10::/28, 2002:c0a8::/32, 2002:e000::/19 } reject with icmpv6 addr-unreachable
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_OUTPUT { type filter hook output priority filter + 10; policy accept;
		ct state { established, related } accept
		oifname "lo" accept
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
	}
	chain filter_INPUT_ZONES { iifname "eth0" goto filter_IN_public
		goto filter_IN_public
	}
	chain filter_FORWARD_ZONES { iifname "eth0" goto filter_FWD_public
		goto filter_FWD_public
	}
	chain filter_IN_public { jump filter_IN_public_allow
		jump filter_IN_public_deny
		meta l4proto { icmp, ipv6-icmp } accept
	}
	chain filter_IN_public_deny { }
	chain filter_IN_public_allow { tcp dport 22 accept
		ip6 daddr fe80::/64 udp dport 546 accept
		udp dport 69 ct helper set "helper-tftp-udp"
		tcp dport 1000-2000 accept
		ip saddr 10.0.0.0/8 tcp dport { 80, 443 } limit rate 3/minute log prefix "web" level warn accept
	}
	chain filter_FWD_public {
		oifname "eth0" accept
	}
	chain nat_POST_public {
		jump nat_POST_public_allow
	}
	chain nat_POST_public_allow {
		meta nfproto ipv4 oifname != "lo" masquerade
	}
	chain nat_PRE_public {
		jump nat_PRE_public_allow
	}
	chain nat_PRE_public_allow { meta nfproto ipv4 meta l4proto tcp th dport 8080 dnat ip to 10.1.1.1:80 
		meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::1]:80
		tcp dport 81 redirect to :8081
	}
	chain mangle_PRE_public {
		tcp dport 5 mark set 0x1
	}
	chain mangle_PRE_policy_allow-host-ipv6 { }
	set ipset1 {
		type ipv4_addr
	flags interval; auto-merge
	elements = { 1.2.3.0/24, 1.2.4.0/24 } }
	set macs {
		type ether_addr; elements = { 00:11:22:33:44:55 } }
	set hp {
		type ipv4_addr . inet_proto . inet_service; flags interval; elements = { 1.2.3.4 . tcp . 80-90, 10.0.0.0/8 . udp . 53 } }
	set mk {
		type mark; elements = { 0x1 } }
	set ifn {
		type ifname; flags interval; elements = { "eth0", "wlan*" } }
	ct helper helper-tftp-udp { type "tftp" protocol udp
	l3proto inet
	}
}
END
grep -v 'helper' r | grep -v l3proto | sed 's/^$//' > r2; echo; 
python3 - <<END
t=open('r').read(); i=t.index('ct helper helper-tftp-udp {'); t=t[:i]+'}\n'; t=t.replace('udp dport 69 ct helper set "helper-tftp-udp"',''); open('r3','w').write(t)
END
nft -f r3; nft list ruleset; nft add rule inet firewalld filter_IN_public_allow ether saddr @macs accept; nft add rule inet firewalld filter_IN_public_allow 'iifname @ifn ip daddr . meta l4proto . th dport @hp drop'
nft add rule inet firewalld filter_IN_public_allow 'ip protocol esp accept'; nft add rule inet firewalld filter_IN_public_allow 'ip daddr 224.0.0.251 udp dport 5353 accept'
nft add rule inet firewalld filter_IN_public_allow 'rt type 0 drop'; nft add rule inet firewalld filter_IN_public_allow 'meta day "Monday" drop';nft add rule inet firewalld filter_IN_public_allow 'meta pkttype { broadcast, multicast } log prefix "x" drop'; nft add rule inet firewalld filter_IN_public_allow 'ct original proto-dst 80 ct original ip saddr 1.2.3.4 accept'
nft add rule inet firewalld filter_IN_public_allow 'meta mark vmap { 1 : accept, 2-4 : drop }'
nft list table inet firewalld | tail -100; nft delete table inet firewalld; nft list ruleset
# podman netavark nftables
cat > n <<'END'
table inet netavark {
	chain INPUT { type filter hook input priority filter; policy accept;
		ip saddr 10.88.0.0/16 meta l4proto { tcp, udp } th dport 53 accept
	}
	chain FORWARD { type filter hook forward priority filter; policy accept;
		ct state invalid drop
		jump NETAVARK-ISOLATION-1
		ip daddr 10.88.0.0/16 ct state { established, related } accept
		ip saddr 10.88.0.0/16 accept
	}
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00002000 == 0x00002000 masquerade
		ip saddr 10.88.0.0/16 jump nv_2f259bab_10_88_0_0_nm16
	}
	chain PREROUTING { type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump NETAVARK-HOSTPORT-DNAT
	}
	chain OUTPUT { type nat hook output priority dstnat; policy accept;
		fib daddr type local jump NETAVARK-HOSTPORT-DNAT
	}
	chain NETAVARK-HOSTPORT-DNAT {
		tcp dport 8080 jump nv_2f259bab_10_88_0_0_nm16_dnat
	}
	chain NETAVARK-HOSTPORT-SETMARK {
		meta mark set meta mark | 0x00002000
	}
	chain NETAVARK-ISOLATION-1 { }
	chain NETAVARK-ISOLATION-2 { }
	chain NETAVARK-ISOLATION-3 { oifname "podman0" drop
		jump NETAVARK-ISOLATION-2
	}
	chain nv_2f259bab_10_88_0_0_nm16 { ip daddr 10.88.0.0/16 accept
		ip daddr != 224.0.0.0/4 masquerade
	}
	chain nv_2f259bab_10_88_0_0_nm16_dnat { ip saddr 10.88.0.0/16 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK
		ip saddr 127.0.0.1 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK
		tcp dport 8080 dnat ip to 10.88.0.2:80
	}
}
END
nft -f n; nft -a list ruleset; nft -j list ruleset | tail -c 3000
nft -j -f - <<'END'
{"nftables":[{"add":{"rule":{"family":"inet","table":"netavark","chain":"NETAVARK-ISOLATION-1","expr":[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"podman1"}},{"match":{"op":"!=","left":{"meta":{"key":"oifname"}},"right":"podman1"}},{"jump":{"target":"NETAVARK-ISOLATION-2"}}]}}}]}
END
nft list chain inet netavark NETAVARK-ISOLATION-1
