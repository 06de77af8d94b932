cat > r <<END
table inet t {
  chain in { type filter hook input priority 0; policy accept;
    tcp dport { 22, 80 } jump {
      ip saddr 10.0.0.0/8 accept
      ip saddr 127.0.0.0/8 counter accept
      counter drop
    }
    udp dport 5 goto {
      counter drop
    }
    udp dport 6 drop
  }
}
END
nft -f r; nft list ruleset; nft -a list ruleset | sed 's/ [0-9]* {/ N {/'; nft list chains
python3 - <<END
import socket
r=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); r.setblocking(False)
for p in (5,6,7):
  r=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); r.setblocking(False); r.bind(('127.0.0.1',p)); r.sendto(b'x',('127.0.0.1',p))
  try: print(r.recv(5))
  except OSError as e: print(e)
END
nft list ruleset; nft add rule inet t in tcp dport 5 jump '{ drop; }'; nft add rule inet t nope tcp dport 5 jump '{ drop; }'; nft list ruleset | grep -c jump
h=$(nft -a list chain inet t in | grep 'dport { 22' | sed 's/.*handle //'); nft -a list chain inet t in | tail -8;  nft list ruleset | wc -l; nft delete rule inet t in handle $(nft -a list chain inet t in | grep 'udp dport 6' | sed 's/.*handle //'); nft flush chain inet t in; nft list ruleset; nft -f r; nft delete chain inet t in; nft delete table inet t; nft list ruleset
nft -f r; printf 'flush ruleset\nadd rule inet t none accept\n' | nft -f -; nft list ruleset | wc -l; nft flush ruleset; nft -f r; nft -f r; nft list ruleset | grep -c counter;  printf 'flush chain inet t in\nadd rule inet t in tcp dport 5 jump { drop; }\nadd rule inet t none accept\n' | nft -f -; nft list ruleset | grep -c counter; nft flush chain inet t in; nft list ruleset; nft flush ruleset
nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add set inet t s '{ type inet_service; counter; elements = { 1, 2 counter packets 5 bytes 6 }; }'; nft add map inet t m '{ type inet_service : verdict; }'; nft add counter inet t cn '{ packets 7 bytes 8 }'
nft add rule inet t c counter packets 5 bytes 7 accept
cat > d.py <<END
import socket,struct,sys
def attr(t,v): return struct.pack('=HH',4+len(v),t)+v+b'\0'*(-len(v)%4)
def s(t,x): return attr(t,x.encode()+b'\0')
def msg(typ,body,flags=5,fam=1,res=0): return struct.pack('=IHHIIBBH',20+len(body),typ,flags,1,0,fam,0,socket.htons(res))+body
def run(typ,body,batch=True,flags=5):
  k=socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,12); k.bind((0,0)); k.settimeout(30)
  if batch: k.send(msg(0x10,b'',1,0,10)+msg(10<<8|typ,body,flags)+msg(0x11,b'',1,0,10))
  else: k.send(msg(10<<8|typ,body,flags))
  out=[]
  try:
    while True:
      r=k.recv(65536); at=0
      while at<len(r):
        l,t=struct.unpack_from('=IH',r,at)
        if t==2: out.append(('err',struct.unpack_from('=i',r,at+16)[0])); return out
        if t==3: return out
        out.append((hex(t),l)); at+=(l+3)&~3
  except TimeoutError: out.append('timeout')
  return out
T=s(1,'t')
for typ,bodies in ((26,(T,s(1,'nope'))),(27,(s(1,'t')+s(3,'nope'),s(1,'nope')+s(3,'x'),T)),(28,(s(1,'t')+s(2,'nope'),s(1,'t')+s(2,'c')+attr(3,struct.pack('>Q',999)),s(1,'nope')+s(2,'c'))),(29,(s(1,'t')+s(2,'nope'),s(1,'nope')+s(2,'nope'))),(31,(s(1,'t')+s(2,'nope')+attr(3,struct.pack('>I',1)),s(1,'nope')+s(2,'nope')+attr(3,struct.pack('>I',1)))),(30,(s(1,'t')+s(2,'nope')+attr(3,b''),s(1,'t')+s(2,'s')+attr(3,attr(1,attr(1,attr(1,struct.pack('>H',77))))+attr(1,attr(1,attr(1,struct.pack('>H',1)))))))):
  for b in bodies:
    if typ==26 and b==T: continue
    print(typ,run(typ,b))
for typ,b,fl in ((25,s(1,'t')+s(2,'c'),0x305),(21,s(1,'t'),0x305)): print(typ,run(typ,b,False,fl))
import os; os.system('nft list ruleset')
print(run(31,s(1,'t')+s(2,'cn')+attr(3,struct.pack('>I',1))),run(27,s(1,'t')+s(3,'c')),run(29,s(1,'t')+s(2,'s')),run(26,T),run(26,T)); os.system('nft list ruleset')
END
python3 d.py
