"""Servers for user-network.test.ts, on the addresses of its namespace. Prints 'ready' when all of them listen."""
import socket
import socketserver
import struct
import threading

NAMES = {'www.example.test': '192.0.2.1', 'other.test': '198.51.100.7'}


def http(family, address, port):
    def serve(listener):
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer):
        request = b''
        while b'\r\n\r\n' not in request:
            piece = peer.recv(65536)
            if not piece:
                return
            request += piece
        length = 0
        head, body = request.split(b'\r\n\r\n', 1)
        for line in head.split(b'\r\n'):
            if line.lower().startswith(b'content-length:'):
                length = int(line.split(b':')[1])
        if b'100-continue' in head:
            peer.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        while len(body) < length:
            body += peer.recv(1 << 20)
        text = body or (b'x' * (5 << 20) if head.split()[1] == b'/big' else b'hello from %s\n' % address.encode())
        peer.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(text) + text)
        peer.close()

    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()


def echo(address, port):
    def serve():
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(data.upper(), peer)

    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    threading.Thread(target=serve, daemon=True).start()


def resolve(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack('!H', query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    address = NAMES.get('.'.join(labels).lower())
    answers = b''
    if address and kind == 1:
        answers = struct.pack('!HHHIH', 0xc00c, 1, 1, 30, 4) + socket.inet_aton(address)
    flags = 0x8180 if address else 0x8183
    return query[:2] + struct.pack('!HHHHH', flags, 1, 1 if answers else 0, 0, 0) + question + answers


class UdpResolver(socketserver.BaseRequestHandler):
    def handle(self):
        data, server = self.request
        server.sendto(resolve(data), self.client_address)


class TcpResolver(socketserver.BaseRequestHandler):
    def handle(self):
        size = struct.unpack('!H', self.request.recv(2))[0]
        answer = resolve(self.request.recv(size))
        self.request.sendall(struct.pack('!H', len(answer)) + answer)


socketserver.ThreadingTCPServer.allow_reuse_address = True
for server in (
    socketserver.ThreadingUDPServer(('127.0.0.1', 53), UdpResolver),
    socketserver.ThreadingTCPServer(('127.0.0.1', 53), TcpResolver),
):
    threading.Thread(target=server.serve_forever, daemon=True).start()
http(socket.AF_INET, '192.0.2.1', 8000)
http(socket.AF_INET, '198.51.100.7', 8000)
http(socket.AF_INET6, '2001:db8::1', 8000)
http(socket.AF_INET, '127.0.0.1', 8001)
echo('192.0.2.1', 9000)
print('ready', flush=True)
threading.Event().wait()
