for i in iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy; do
case $i in ip6*) p=ufw6; ic='-p icmpv6 --icmpv6-type'; ty='destination-unreachable packet-too-big time-exceeded parameter-problem echo-request'; all=::/0; mdns=ff02::fb; pn=icmp6-port-unreachable;; *) p=ufw; ic='-p icmp --icmp-type'; ty='destination-unreachable time-exceeded parameter-problem echo-request';all=0.0.0.0/0; mdns=224.0.0.251; pn=icmp-port-unreachable;; esac
{ echo '*filter'; for c in before-logging-input before-logging-output before-logging-forward before-input before-output before-forward after-input after-output after-forward after-logging-input after-logging-output after-logging-forward reject-input reject-output reject-forward track-input track-output track-forward logging-deny logging-allow skip-to-policy-input user-input user-output user-limit user-limit-accept user-logging-input not-local; do echo ":$p-$c - [0:0]"; done
cat <<END
-A INPUT -j $p-before-logging-input
-A INPUT -j $p-before-input
-A INPUT -j $p-after-input
-A INPUT -j $p-after-logging-input
-A INPUT -j $p-reject-input
-A INPUT -j $p-track-input
-A $p-before-input -i lo -j ACCEPT
-A $p-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A $p-before-input -m conntrack --ctstate INVALID -j $p-logging-deny
-A $p-before-input -m conntrack --ctstate INVALID -j DROP
$(for t in $ty; do echo "-A $p-before-input $ic $t -j ACCEPT"; done)
-A $p-before-input -p udp --sport 67 --dport 68 -j ACCEPT
-A $p-before-input -j $p-not-local
-A $p-not-local -m addrtype --dst-type LOCAL -j RETURN
-A $p-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A $p-not-local -m limit --limit 3/min --limit-burst 10 -j $p-logging-deny
-A $p-not-local -j DROP
-A $p-before-input -p udp -d $mdns --dport 5353 -j ACCEPT
-A $p-before-input -j $p-user-input
-A $p-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A $p-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A $p-logging-allow -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW ALLOW] "
-A $p-after-input -p udp --dport 137 -j $p-skip-to-policy-input
-A $p-after-input -m addrtype --dst-type BROADCAST -j $p-skip-to-policy-input
-A $p-skip-to-policy-input -j DROP
-A $p-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
-A $p-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set
-A $p-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j $p-user-limit
-A $p-user-input -p tcp --dport 22 -j $p-user-limit-accept
-A $p-user-input -p tcp -m multiport --dports 80,443 -m comment --comment 'dapp_Apache%20Full' -j ACCEPT
-A $p-user-limit -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A $p-user-limit -j REJECT
-A $p-user-limit-accept -j ACCEPT
COMMIT
END
} > u; $i-restore -n < u; $i-restore -n --test < u; echo $?; $i-save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'; $i -L -n -v --line-numbers | tail -60
$i -P INPUT DROP; $i -P FORWARD DROP; $i -Z; $i -D $p-user-input 3; $i -L $p-user-input 2 -n
$i-restore < /dev/null; printf '*filter\nCOMMIT\n' | $i-restore; $i -S | head -3; $i -P INPUT ACCEPT
done
