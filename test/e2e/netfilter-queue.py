"""Takes packets from queues (nfnetlink_queue) over a netlink socket, and prints what it is told and answered."""
import os, select, socket, struct, sys, threading

SUBSYSTEM = 3 << 8
NONE, META, PACKET = 0, 1, 2
DROP, ACCEPT, QUEUE, REPEAT, STOP = 0, 1, 3, 4, 5
FAIL_OPEN, UID_GID = 1, 8

def attribute(kind, value): return struct.pack('=HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)
def number(value): return struct.pack('>I', value)

class Queue:
  def __init__(self, which, bind=True):
    self.which, self.pending = which, []
    self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
    self.socket.bind((0, 0))
    if bind: self.command(1); self.mode(PACKET, 0xffff)
  def message(self, kind, body, flags=5):
    head = struct.pack('=IHHIIBBH', 20 + len(body), SUBSYSTEM | kind, flags, 7, 0, 0, 0, socket.htons(self.which))
    self.socket.send(head + body)
    while flags & 4:
      answer = self.socket.recv(70000)
      if struct.unpack_from('=IH', answer)[1] == 2: return struct.unpack_from('=i', answer, 16)[0]
      self.pending.append(answer)
  def configure(self, body): return self.message(2, body)
  def command(self, which): return self.configure(attribute(1, struct.pack('>BBH', which, 0, 2)))
  def mode(self, mode, length): return self.configure(attribute(2, struct.pack('>IB', length, mode)))
  def flags(self, flags): return self.configure(attribute(5, number(flags)) + attribute(4, number(flags)))
  def most(self, count): return self.configure(attribute(3, number(count)))
  def verdict(self, id, verdict, more=b'', batch=False):
    return self.message(3 if batch else 1, attribute(2, struct.pack('>II', verdict, id)) + more)
  def next(self, timeout=5):
    if self.pending: answer = self.pending.pop(0)
    elif not select.select([self.socket], [], [], timeout)[0]: return None
    else: answer = self.socket.recv(70000)
    length, kind, _, _, _, family, _, which = struct.unpack_from('=IHHIIBBH', answer)
    at, found = 20, {}
    while at < length:
      size, name = struct.unpack_from('=HH', answer, at)
      found[name & 0x3fff] = answer[at + 4:at + size]
      at += (size + 3) & ~3
    return kind, family, socket.ntohs(which), found
  def show(self, timeout=5):
    told = self.next(timeout)
    if told is None: print('nothing'); return None
    kind, family, which, found = told
    id, protocol, point = struct.unpack('>IHB', found.pop(1))
    # Of addresses and the packet itself only how long they are; times are there where somebody else has asked for them, too.
    rest = {name: len(value) if name in (9, 10) else value.hex() for name, value in found.items() if name != 4}
    print('message %x family %d queue %d packet %d protocol %x point %d' % (kind, family, which, id, protocol, point), rest)
    return id

def send(data=b'hello', port=4000):
  sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); sender.bind(('127.0.0.1', port))
  try: sender.sendto(data, ('127.0.0.1', 5000))
  except OSError as error: print('send', error)
def rule(text): os.system(f'{iptables} {text}')

def verdicts():
  receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', 5000)); receiver.setblocking(False)
  # What a verdict lets through over loopback is there at once.
  def got():
    try: print('got', receiver.recv(9999)[:40])
    except BlockingIOError: print('got nothing')
  print('nobody listens'); rule('-A OUTPUT -p udp --dport 5000 -j NFQUEUE --queue-num 3'); send(); got()
  queue = Queue(3); other = Queue(3, False); none = Queue(4, False)
  print('configuration', queue.command(1), queue.configure(b''), queue.command(77), other.configure(b''), none.configure(b''))
  print(none.command(2), none.command(3), none.command(4), queue.configure(attribute(5, number(1))), queue.flags(0x100))
  print(queue.configure(attribute(2, bytes(2))), queue.message(9, b''), queue.message(0, b''), none.verdict(1, ACCEPT), other.verdict(1, ACCEPT))
  send(); id = queue.show(); os.system("awk '{ $2 = \"P\"; print }' /proc/net/netfilter/nfnetlink_queue")
  print(queue.verdict(id, 2), queue.verdict(id, 6), queue.message(1, b''), queue.verdict(id, ACCEPT), queue.verdict(id, ACCEPT)); got()
  print('dropped'); send(); print(queue.verdict(queue.show(), DROP)); got()
  print('marked'); rule('-A INPUT -p udp --dport 5000 -m mark --mark 9 -j DROP'); send()
  print(queue.verdict(queue.show(), ACCEPT, attribute(3, number(9)))); got()
  print('changed'); send(); told = queue.next(); id = struct.unpack_from('>I', told[3][1])[0]
  packet = bytearray(told[3][10] + b' there')
  packet[2:4] = struct.pack('>H', len(packet)); packet[10:12] = bytes(2)
  packet[24:28] = struct.pack('>HH', len(packet) - 20, 0)
  total = sum(struct.unpack('>10H', packet[:20])); total = (total & 0xffff) + (total >> 16)
  packet[10:12] = struct.pack('>H', ~total & 0xffff)
  print(queue.verdict(id, ACCEPT, attribute(10, bytes(packet)))); got()
  print('nonsense'); send(); print(queue.verdict(queue.show(), ACCEPT, attribute(10, b'\x45\0'))); got()
  print('described'); queue.mode(META, 0); send(); print(queue.verdict(queue.show(), ACCEPT)); got()
  print('a part'); queue.mode(PACKET, 24); send(); print(queue.verdict(queue.show(), REPEAT)); print(queue.verdict(queue.show(), ACCEPT)); got()
  print('nothing is told'); queue.mode(NONE, 0); send(); queue.show(0); got(); queue.mode(PACKET, 0)
  print('many at once')
  for i in range(5): send(b'b%d' % i)
  ids = [queue.show() for _ in range(5)]
  print(queue.verdict(ids[2], ACCEPT, batch=True)); got(); got(); got(); got()
  print(queue.verdict(ids[4], DROP, batch=True), queue.verdict(ids[4], DROP, batch=True)); got()
  print('too many'); queue.most(2)
  for i in range(4): send(b'm%d' % i)
  os.system('cut -c1-6,14- /proc/net/netfilter/nfnetlink_queue'); ids = [queue.show(0) for _ in range(3)]
  print(queue.flags(FAIL_OPEN)); send(b'open'); got(); print(queue.verdict(ids[1], ACCEPT, batch=True)); got(); got(); queue.most(1024)
  print('to another queue'); other = Queue(9); send(); print(queue.verdict(queue.show(), 9 << 16 | QUEUE)); print(other.verdict(other.show(), ACCEPT)); got()
  print('whose it is'); print(queue.flags(UID_GID)); send(); print(queue.verdict(queue.show(), STOP)); got()
  print('unbound while it waits'); send(); queue.show(); print(queue.command(2)); got()
  queue = Queue(3); send(); queue.show(); queue.socket.close(); got(); send(); got()
  print('bypass'); rule('-F'); rule('-A OUTPUT -p udp --dport 5000 -j NFQUEUE --queue-num 3 --queue-bypass'); send(); got()
  print('one of several'); rule('-F'); rule('-A INPUT -p udp --dport 5000 -j NFQUEUE --queue-balance 20:23'); rule('-A INPUT -p udp --dport 5000 -j DROP')
  queues = [Queue(20 + i) for i in range(4)]; send(); send(port=4001); used = 0
  for each in queues:
    while (told := each.next(0)) is not None: used += 1; print(each.verdict(struct.unpack_from('>I', told[3][1])[0], ACCEPT))
  print(used); got()

def stream():
  rule('-A INPUT -p tcp -j NFQUEUE --queue-num 3'); rule('-A OUTPUT -p tcp -j NFQUEUE --queue-num 3')
  for point in ('PREROUTING', 'POSTROUTING'): rule(f'-t mangle -A {point} -p tcp -j NFQUEUE --queue-num 3')
  queue = Queue(3); points = set()
  def serve():
    while True:
      told = queue.next(60)
      id, _, point = struct.unpack('>IHB', told[3][1]); points.add(point)
      queue.message(1, attribute(2, struct.pack('>II', ACCEPT, id)), flags=1)
  threading.Thread(target=serve, daemon=True).start()
  listener = socket.create_server(('127.0.0.1', 6000)); client = socket.create_connection(('127.0.0.1', 6000)); server, _ = listener.accept()
  def write(): client.sendall(bytes(30000)); client.close()
  threading.Thread(target=write, daemon=True).start()
  count = 0
  while data := server.recv(65536): count += len(data)
  print(count, 'bytes at points', sorted(points))

def forwarded():
  rule('-A FORWARD -j NFQUEUE --queue-num 1'); rule('-t nat -A POSTROUTING -o v0 -j MASQUERADE')
  queue = Queue(1); open('ready', 'w').close()
  for _ in range(2): print(queue.verdict(queue.show(), ACCEPT))

iptables = sys.argv[2]
{'verdicts': verdicts, 'stream': stream, 'forwarded': forwarded}[sys.argv[1]]()
