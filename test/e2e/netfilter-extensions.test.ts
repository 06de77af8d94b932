/**
 * The packet filter's less common parts: extensions of x_tables over both interfaces, sets of ipset(8), and expressions of
 * nf_tables that change packets. The same commands print the same, and the same packets come through with the same headers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { same } from './netfilter-tools.ts'

/** Rules that need nothing but their extension, for both families; `4` and `6` before one: only for that. */
const RULES = `
-A INPUT -m recent --set --name x --rsource -j ACCEPT
-A INPUT -m recent --update --seconds 60 --hitcount 4 --name x --mask 255.255.255.0 --rdest -j ACCEPT
-A INPUT -m recent --rcheck --seconds 60 --reap --rttl --name y -j ACCEPT
-A INPUT -p tcp -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-mode srcip,dstport --hashlimit-name foo -j ACCEPT
-A INPUT -m hashlimit --hashlimit-above 512kb/s --hashlimit-mode srcip --hashlimit-srcmask 24 --hashlimit-name bar -j DROP
-A INPUT -m string --string abc --algo bm -j ACCEPT
-A INPUT -m string ! --hex-string |0a0b| --algo kmp --from 10 --to 100 --icase -j ACCEPT
4 -A INPUT -m ttl --ttl-lt 5 -j ACCEPT
6 -A INPUT -m hl --hl-eq 255 -j ACCEPT
-A INPUT -m tos --tos 0x10 -j ACCEPT
-A INPUT -m dscp ! --dscp-class EF -j ACCEPT
-A INPUT -m ecn --ecn-ip-ect 1 -j ACCEPT
-A INPUT -p tcp -m ecn --ecn-tcp-cwr -j ACCEPT
-A INPUT -p tcp -m tcpmss --mss 500:1000 -j ACCEPT
-A INPUT -m rpfilter --invert -j ACCEPT
-t raw -A PREROUTING -m rpfilter --loose --validmark --invert -j DROP
-A INPUT -m connbytes --connbytes 100: --connbytes-dir both --connbytes-mode bytes -j ACCEPT
-A INPUT -m quota --quota 1000 -j ACCEPT
-A INPUT -m time --timestart 10:00 --timestop 12:00 --weekdays Mon,Tue -j ACCEPT
-A INPUT -m u32 --u32 0>>22&0x3C@0>>24=1,5:9 -j ACCEPT
-A INPUT -m physdev --physdev-in eth0 -j ACCEPT
-A INPUT -m cpu --cpu 0 -j ACCEPT
-A INPUT -m devgroup --src-group 1 -j ACCEPT
-A INPUT -m helper --helper ftp -j ACCEPT
-A INPUT -m policy --dir in --pol none -j ACCEPT
-A INPUT -p esp -m esp --espspi 1:9 -j ACCEPT
4 -A INPUT -p ah -m ah --ahspi 1 -j ACCEPT
6 -A INPUT -m ah --ahspi 1 -j ACCEPT
6 -A INPUT -m rt --rt-type 0 -j DROP
6 -A INPUT -m ipv6header --header auth,hop --soft -j ACCEPT
6 -A INPUT -m hbh --hbh-len 8 -j ACCEPT
6 -A INPUT -m dst --dst-opts 5:2 -j ACCEPT
6 -A INPUT -m frag --fragid 1:9 --fragfirst -j ACCEPT
-t mangle -A PREROUTING -j TOS --set-tos 0x10
-t mangle -A PREROUTING -j DSCP --set-dscp 10
-A INPUT -j DSCP --set-dscp 10
4 -t mangle -A PREROUTING -j TTL --ttl-inc 5
6 -t mangle -A PREROUTING -j HL --hl-set 9
-t mangle -A POSTROUTING -j CLASSIFY --set-class 1:1
-t mangle -A PREROUTING -j CLASSIFY --set-class 1:1
-t mangle -A POSTROUTING -p udp -j CHECKSUM --checksum-fill
-t mangle -A PREROUTING -j CONNMARK --left-shift-mark 2 --set-mark 1
4 -t nat -A PREROUTING -d 10.1.0.0/16 -j NETMAP --to 10.2.0.0/16
6 -t nat -A POSTROUTING -s fd01::/64 -j NETMAP --to fd02::/64
`

for (const kind of ['nft', 'legacy']) {
  test(`netfilter: extensions are taken and shown by iptables-${kind}`, context => {
    const text = same(
      context,
      [`iptables-${kind}`, `ip6tables-${kind}`, 'ip'],
      `iptables-${kind} -t raw -S > nothing; ip6tables-${kind} -t raw -S > nothing
cat > rules <<'END'${RULES}END
while read -r rule; do
  case $rule in '4 '*) tools=iptables; rule=\${rule#4 };; '6 '*) tools=ip6tables; rule=\${rule#6 };; *) tools='iptables ip6tables';; esac
  for tool in $tools; do $tool-${kind} $rule; echo "$tool $? $rule"; done
done < rules
for tool in iptables ip6tables; do for table in raw mangle nat filter; do $tool-${kind} -t $table -S; $tool-${kind} -t $table -F; done; done`,
    )
    if (text === undefined) return
    assert.match(text, /^-A INPUT -m recent --set --name x --mask 255\.255\.255\.255 --rsource -j ACCEPT$/m)
  })
}

/** What comes of datagrams that are sent to ports of this machine, and with which hop limit and class. */
const FATES = `cat > fates.py <<'END'
import socket
def send(port, *payloads, ttl=64, to='127.0.0.1'):
  receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', port)); receiver.setblocking(False)
  receiver.setsockopt(socket.IPPROTO_IP, 12, 1); receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
  sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
  for payload in payloads:
    sender.sendto(payload, (to, port))
    # What one sends to oneself is there at once, or never.
    try:
      data, control, flags, address = receiver.recvmsg(100, 100)
      print(port, data, 'came', sorted((kind, value[0]) for level, kind, value in control))
    except BlockingIOError: print(port, payload, 'was dropped')
x = b'x'
exec(open('sends').read())
END
`

for (const kind of ['nft', 'legacy']) {
  test(`netfilter: packets fare as extensions of iptables-${kind} say`, context => {
    const text = same(
      context,
      [`iptables-${kind}`, 'ipset', 'ip', 'python3'],
      `${FATES}
iptables() { iptables-${kind} "$@" || echo "failed: $*"; }
ipset create nets hash:net; ipset add nets 127.0.0.0/8; ipset add nets 127.0.0.2 nomatch
ipset create seen hash:ip,port timeout 600 counters; ipset create some bitmap:port range 0-200
ipset add some 111; ipset create counted hash:ip counters; ipset add counted 127.0.0.1
rule() { port=$1; shift; iptables -A INPUT -p udp --dport $port "$@"; }
rule 101 -m recent --name r --rcheck --seconds 600 --hitcount 3 -j DROP
rule 101 -m recent --name r --set -j ACCEPT
rule 102 -m hashlimit --hashlimit-above 2/hour --hashlimit-burst 2 --hashlimit-mode srcip,dstport --hashlimit-name h -j DROP
rule 103 -m string --string BAD --algo bm -j DROP
rule 104 -m ttl --ttl-lt 10 -j DROP
iptables -t mangle -A OUTPUT -p udp --dport 105 -j TTL --ttl-set 33
iptables -t mangle -A OUTPUT -p udp --dport 105 -j DSCP --set-dscp-class EF
iptables -t mangle -A OUTPUT -p udp --dport 106 -j TOS --set-tos 0x10/0x3f
rule 107 -m u32 --u32 '0>>22&0x3C@8=0x58595a30' -j DROP
rule 108 -m connbytes --connbytes 3: --connbytes-dir original --connbytes-mode packets -j DROP
rule 109 -m quota --quota 60 -j ACCEPT; rule 109 -j DROP
rule 110 -m set --match-set nets src -j DROP
rule 111 -m set ! --match-set some dst -j DROP
rule 112 -m set ! --match-set some dst -j DROP
rule 113 -j SET --add-set seen src,dst --exist
rule 114 -m set --match-set seen src,dst -j DROP
rule 115 -m set --match-set counted src --packets-gt 1 -j DROP
iptables -t nat -A OUTPUT -p udp -d 127.5.0.0/16 -j NETMAP --to 127.0.0.0/16
rule 117 -m policy --dir in --pol none -m time --weekdays Mon,Tue,Wed,Thu,Fri,Sat,Sun -j DROP
cat > sends <<'END'
send(101, x, x, x, x, x); send(102, x, x, x); send(103, b'good', b'what is BAD', b'what is bad')
send(104, x, ttl=5); send(104, x); send(105, x); send(106, x); send(107, b'XYZ0', b'XYZ1', b'X'); send(108, x, x, x, x, x)
send(109, x, x, x); send(110, x); send(111, x); send(112, x); send(113, x); send(114, x); send(115, x, x, x); send(117, x); send(116, x, to='127.5.0.1')
END
python3 fates.py; iptables -S INPUT | wc -l
ipset list seen | grep -c '^127.0.0.1,udp:113 timeout'; ipset del seen 127.0.0.1,udp:113; ipset save counted | sed 's/initval.*//'
ipset destroy nets; ipset flush nets; ipset swap seen counted; iptables -F; ipset destroy; ipset list -n`,
    )
    if (text === undefined) return
    assert.match(text, /^101 b'x' was dropped$/m)
    assert.match(text, /^116 b'x' came/m)
  })
}

test('netfilter: ipset makes, changes, shows and removes sets', context => {
  const text = same(
    context,
    ['ipset', 'iptables-nft', 'iptables-legacy', 'ip'],
    `show() { ipset "$@" | sed -E 's/initval 0x[0-9a-f]+/initval/; s/timeout [1-9][0-9]+/timeout/; /^Size in memory/d'; }
for type in hash:ip hash:net hash:ip,port hash:ip,port,ip hash:ip,port,net hash:net,port hash:net,iface bitmap:port bitmap:ip; do
  what=; case $type in bitmap:port) what='range 0-1000';; bitmap:ip) what='range 10.0.0.0/24';; esac
  ipset create s $type $what; show save s; show list s; ipset destroy s
done
ipset create s hash:mac; ipset create s hash:ip netmask 40; ipset create s bitmap:ip range 0.0.0.0/8
ipset create a hash:ip timeout 100 counters comment maxelem 5
ipset add a 1.2.3.4 comment 'hello world' timeout 50 packets 5 bytes 7; ipset add a 1.2.3.4; show save a; ipset add a 1.2.3.4 -exist
ipset del a 5.5.5.5; ipset del a 5.5.5.5 -exist; ipset test a 1.2.3.4; echo $?; ipset test a 1.2.3.5; echo $?; ipset add a 0.0.0.0
ipset add a 10.0.0.0/29; show list a | sort; ipset list nope; ipset add nope 1.1.1.1; ipset create a hash:ip; ipset create a hash:ip -exist
ipset create a hash:ip timeout 100 counters comment maxelem 5 -exist; ipset rename a b; ipset create a hash:ip; ipset rename a b; ipset swap a b
show save | sort; ipset list -n; ipset list -t b | grep Number; ipset flush b; ipset add a 1.1.1.1 timeout 5; ipset add a 1.1.1.1 comment x; ipset add a 1.1.1.1 packets 1
ipset destroy; ipset list -n
ipset create s hash:ip comment; ipset add s 1.1.1.1 comment "$(printf 'x%.0s' {1..255})"; ipset create t bitmap:ip range 10.0.0.0/24; ipset swap s t; show save; ipset destroy
ipset restore <<END
create n hash:net family inet hashsize 1024 maxelem 65536
add n 10.0.0.0/8
add n 10.1.0.0/16 nomatch
add n 192.168.0.0-192.168.0.5
create p hash:ip,port
add p 1.2.3.4,tcp:80
add p 1.2.3.4,udp:53-55
add p 1.2.3.5,icmp:echo-request
create b bitmap:port range 1-100
add b 5
add b 7-9
create six hash:net family inet6
add six fd00::/64
add six ::1
create pi hash:ip,port,ip
add pi 1.1.1.1,tcp:80,2.2.2.2
create pn hash:ip,port,net
add pn 1.1.1.1,tcp:80,2.2.0.0/16
create np hash:net,port
add np 1.1.0.0/16,tcp:80
create ni hash:net,iface
add ni 1.1.0.0/16,eth0
create m hash:ip netmask 24
add m 10.1.2.3
add m 10.1.2.4 -exist
create f hash:ip maxelem 2 forceadd
add f 1.1.1.1-1.1.1.3
END
show save | grep -v 'add f' | sort; show list f | grep Number; ipset test m 10.1.2.99
ipset restore <<END
add n 11.0.0.0/8
add n 10.0.0.0/8
add n 12.0.0.0/8
END
ipset add b 101; ipset add p 1.1.1.1; ipset test n 10.1.2.3; ipset test n 10.2.2.3; ipset add n 0.0.0.0/0; ipset list n | grep Number; ipset del n 10.0.0.0/8
ipset test six fd00::5; ipset test six fd01::5; ipset add six 1.2.3.4
iptables-nft -A INPUT -m set --match-set n src -j DROP; iptables-nft -A INPUT -m set ! --match-set p dst,dst -j DROP
iptables-nft -A INPUT -m set --match-set p dst,dst --packets-gt 5 -j DROP;  iptables-nft -A INPUT -j SET --add-set n src --exist --timeout 5
iptables-nft -A INPUT -m set --match-set nope src -j DROP; iptables-nft -A INPUT -m set --match-set n src --return-nomatch -j DROP
iptables-nft -S; ipset destroy n; ipset rename n other; ipset list n | grep Ref; iptables-nft -D INPUT 1; ipset list n | grep Ref
iptables-legacy -A INPUT -m set --match-set n src -j DROP; iptables-legacy -S; ipset list n | grep Ref
iptables-nft -F; iptables-legacy -F; ipset destroy; ipset list -n`,
  )
  if (text === undefined) return
  assert.match(text, /^add p 1\.2\.3\.5,icmp:echo-request$/m)
})

test('netfilter: rules of nft change packets, their options and their checksums', context => {
  const text = same(
    context,
    ['nft', 'ip', 'python3'],
    `${FATES}
cat > rules <<END
table ip t {
  chain out {
    type filter hook output priority mangle; policy accept;
    udp dport 101 ip ttl set 33
    udp dport 102 ip dscp set cs1
    udp dport 103 ip ecn set ect0
    udp dport 104 udp dport set 114
    udp dport 105 @th,64,16 set 0x4142
    udp dport 106 udp checksum set 0
    udp dport 107 meta mark set jhash ip saddr . ip daddr mod 1000 seed 0xdeadbeef offset 7
    udp dport 108 meta mark set jhash ip saddr . udp dport . ip daddr . udp dport mod 100000 seed 0x1
    udp dport 109 ip daddr set 127.0.0.9
    tcp dport 90 tcp flags syn tcp option maxseg size set 900
    tcp dport 91 tcp flags syn reset tcp option sack-perm
    tcp dport 92 tcp flags syn tcp option maxseg size set rt mtu
  }
  chain in {
    type filter hook input priority 0; policy accept;
    tcp dport 90-92 tcp flags syn tcp option maxseg size < 1000 counter
    tcp dport 90-92 tcp flags syn tcp option sack-perm missing counter
    tcp dport 90-92 tcp flags syn tcp option window exists counter
    meta mark 0-1006 meta mark != 0 udp dport 107 counter
    ip option lsrr exists counter
    meta day { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" } udp dport 101 counter
    meta time > "2020-01-01" udp dport 101 counter
    rt classid 0 udp dport 101 counter
    meta sdif 0 meta ipsec missing udp dport 101 counter
  }
}
table ip6 s {
  chain in {
    type filter hook input priority 0; policy accept;
    exthdr hbh exists counter
    frag more-fragments 1 drop
    rt type 0 drop
    ip6 hoplimit set 5
  }
}
END
nft -f rules; nft list ruleset; nft --debug=netlink list ruleset > all; grep -v element all
cat > sends <<'END'
for port in 101, 102, 103: send(port, x)
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', 114))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'moved', ('127.0.0.1', 104)); print(receiver.recv(100))
for port in 105, 106, 107, 108: send(port, b'abc')
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.9', 109))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'elsewhere', ('127.0.0.1', 109)); print(receiver.recv(100))
for port in 90, 91, 92:
  listener = socket.socket(); listener.bind(('127.0.0.1', port)); listener.listen()
  client = socket.create_connection(('127.0.0.1', port)); server = listener.accept()[0]
  print(port, server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & 2, server.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) < 1000)
END
python3 fates.py; nft list chain ip t in`,
  )
  if (text === undefined) return
  assert.match(text, /^101 b'x' came \[\(1, 0\), \(2, 33\)\]$/m)
  assert.match(text, /^105 b'ABc' came/m)
})
