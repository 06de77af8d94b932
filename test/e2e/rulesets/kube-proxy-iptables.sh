for i in iptables-nft iptables-legacy; do
$i-restore --noflush --counters <<END
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -m comment --comment "default/empty has no endpoints" -m tcp -p tcp -d 10.96.0.77 --dport 80 -j REJECT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]
:KUBE-EXT-XPGD46QRK7WJZT7O - [0:0]
:KUBE-SEP-AAA - [0:0]
:KUBE-SEP-BBB - [0:0]
:KUBE-SEP-CCC - [0:0]
:KUBE-SVL-XPGD46QRK7WJZT7O - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -m comment --comment "default/web cluster IP" -m tcp -p tcp -d 10.96.0.10 --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -m comment --comment default/web -m tcp -p tcp --dport 30080 -j KUBE-EXT-XPGD46QRK7WJZT7O
-A KUBE-EXT-XPGD46QRK7WJZT7O -m comment --comment "pod traffic for default/web external destinations" -s 10.244.0.0/16 -j KUBE-SVC-XPGD46QRK7WJZT7O
-A KUBE-EXT-XPGD46QRK7WJZT7O -m comment --comment "masquerade LOCAL traffic for default/web external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-XPGD46QRK7WJZT7O -m comment --comment "route LOCAL traffic" -m addrtype --src-type LOCAL -j KUBE-SVC-XPGD46QRK7WJZT7O
-A KUBE-EXT-XPGD46QRK7WJZT7O -j KUBE-SVL-XPGD46QRK7WJZT7O
-A KUBE-SVL-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.1.2:8080" -j KUBE-SEP-AAA
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web cluster IP" -m tcp -p tcp -d 10.96.0.10 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.1.2:8080" -m recent --name KUBE-SEP-AAA --rcheck --seconds 10800 --reap -j KUBE-SEP-AAA
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.2.2:8080" -m recent --name KUBE-SEP-BBB --rcheck --seconds 10800 --reap -j KUBE-SEP-BBB
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.1.2:8080" -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-AAA
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.2.2:8080" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-BBB
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "default/web -> 10.244.3.2:8080" -j KUBE-SEP-CCC
-A KUBE-SEP-AAA -m comment --comment default/web -s 10.244.1.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-AAA -m comment --comment default/web -m recent --name KUBE-SEP-AAA --set -m tcp -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-SEP-BBB -m comment --comment default/web -s 10.244.2.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-BBB -m comment --comment default/web -m recent --name KUBE-SEP-BBB --set -m tcp -p tcp -j DNAT --to-destination 10.244.2.2:8080
-A KUBE-SEP-CCC -m comment --comment default/web -s 10.244.3.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-CCC -m comment --comment default/web -m recent --name KUBE-SEP-CCC --set -m tcp -p tcp -j DNAT --to-destination 10.244.3.2:8080
COMMIT
END
$i-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
# kubelet's canary and deletion
$i -t mangle -N KUBE-KUBELET-CANARY; $i -t mangle -L KUBE-KUBELET-CANARY -n; $i -w -t mangle -S
$i -t nat -C KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully; echo $?
$i --version; $i -t nat -L KUBE-SVC-XPGD46QRK7WJZT7O -n -v
$i-restore --noflush --counters <<END
*nat
:KUBE-SVL-XPGD46QRK7WJZT7O - [0:0]
:KUBE-EXT-XPGD46QRK7WJZT7O - [0:0]
:KUBE-NODEPORTS - [0:0]
-X KUBE-SVL-XPGD46QRK7WJZT7O
-X KUBE-EXT-XPGD46QRK7WJZT7O
COMMIT
END
$i-save -t nat | grep -c KUBE
$i -t nat -F; $i -F; $i -X; $i -t nat -X; $i-save | grep -c KUBE
done
