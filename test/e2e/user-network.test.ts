/**
 * --network=user, for an ordinary user: everything happens in a network namespace of the test's own, whose servers have
 * addresses on its loopback interface (user-network-services.py). Nothing outside is spoken to.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const services = join(import.meta.dirname, 'user-network-services.py')
/** Some ordinary user's number; where the tests are not root's, it is himself, as root of a user namespace. */
const USER = 12345
const isRoot = process.getuid!() === 0
/** Only against hanging. */
const LIMIT_S = 300

/**
 * What a script prints in the namespace. `$RUN` runs a command in a sandbox with the network `kind`, of the ordinary user's but
 * for 'sandbox'; it starts in a directory of its own.
 */
function inNamespace(context: TestContext, script: string, kind: 'user' | 'sandbox' = 'user'): string {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-user-network-'))
  chmodSync(directory, 0o777)
  writeFileSync(join(directory, 'resolv.conf'), 'nameserver 127.0.0.1\nsearch example.test\n')
  const asUser = isRoot && kind === 'user' ? `setpriv --reuid=${USER} --regid=${USER} --clear-groups` : ''
  const prelude = `
    set -u -f
    cd "$DIR"
    exec 2>&1
    ip link set lo up
    ip addr add 192.0.2.1/24 dev lo
    ip addr add 198.51.100.7/24 dev lo
    ip addr add 2001:db8::1/64 dev lo nodad
    echo '0 ${isRoot ? 2147483647 : 0}' > /proc/sys/net/ipv4/ping_group_range
    mount --make-rprivate /
    mount --bind resolv.conf "$(realpath /etc/resolv.conf)"
    trap 'kill $(jobs -p) 2>/dev/null' EXIT
    python3 ${services} > services &
    until grep -qs ready services; do kill -0 $! || exit; sleep 0.05; done
    RUN='${asUser} ${caisson} do --network=${kind}'
`
  try {
    const words = ['unshare', isRoot ? '-nm' : '-Urnm', 'bash', '-c', `${prelude}\n${script}`]
    // timeout(1) makes a process group of its own and ends all of it: sandboxes and servers, and itself.
    const { stdout, stderr, signal } = spawnSync('timeout', ['--signal=KILL', `${LIMIT_S}`, ...words], {
      encoding: 'utf8',
      env: { ...process.env, DIR: directory, LC_ALL: 'C' },
    })
    if (/unshare failed|unshare: .*Operation not permitted/.test(stderr)) context.skip('no namespaces here')
    assert.equal(signal, null, stdout + stderr)
    return stdout
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function needs(context: TestContext, ...tools: string[]): boolean {
  const skip = notInstalled(...tools)
  if (skip) context.skip(skip)
  return !skip
}

test('user network: servers are reached by address and by name, with TCP, UDP and echoes', context => {
  if (!needs(context, 'ip', 'python3', 'curl', 'getent')) return
  const text = inNamespace(
    context,
    `
    $RUN -- bash -c '
      cat /etc/resolv.conf
      curl -sS http://192.0.2.1:8000/
      curl -sS http://[2001:db8::1]:8000/
      curl -sS http://www:8000/
      curl -sS http://192.0.2.1:8000/big | wc -c
      head -c 5000000 /dev/zero | curl -sS --data-binary @- http://192.0.2.1:8000/ | wc -c
      getent hosts www.example.test
      id -u'
    $RUN -- python3 -c '
import socket, struct
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(("192.0.2.1", 9000)); udp.settimeout(20)
for size in (5, 9000): udp.send(b"a" * size); print(set(udp.recv(65536)), size)
query = bytes.fromhex("00010100000100000000000003777777076578616d706c6504746573740000010001")
tcp = socket.create_connection(("10.0.2.3", 53)); tcp.sendall(struct.pack("!H", len(query)) + query)
print("over TCP", socket.inet_ntoa(tcp.recv(4096)[-4:]))
for family, protocol, kind, address in ((2, 1, 8, "192.0.2.1"), (10, 58, 128, "2001:db8::1")):
  ping = socket.socket(family, socket.SOCK_DGRAM, protocol); ping.settimeout(20)
  ping.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, 7) + b"payload", (address, 0))
  print(ping.recv(100)[6:])'`,
  )
  assert.equal(
    text,
    `nameserver 10.0.2.3
search example.test
hello from 192.0.2.1
hello from 2001:db8::1
hello from 192.0.2.1
5242880
5000000
192.0.2.1       www.example.test
${isRoot ? USER : 0}
{65} 5
{65} 9000
over TCP 192.0.2.1
b'\\x00\\x07payload'
b'\\x00\\x07payload'
`,
  )
})

test('user network: what can’t be reached fails as it does outside; the caller’s loopback is closed', context => {
  if (!needs(context, 'ip', 'python3')) return
  const program = `
import socket
def attempt(address, port):
  try: socket.create_connection((address, port), 20).close(); print("open")
  except OSError as error: print(error.strerror)
attempt("192.0.2.1", 9)
attempt("2001:db8::1", 9)
attempt("203.0.113.1", 80)
attempt("10.0.2.2", 8001)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(("192.0.2.1", 9)); udp.settimeout(20); udp.send(b"x")
try: udp.recv(1)
except OSError as error: print(error.strerror)
`
  const text = inNamespace(
    context,
    `$RUN -- python3 -c '${program}'; $RUN --host-loopback -- python3 -c '${program}'`,
  )
  const outcome = (loopback: string): string =>
    `Connection refused\nConnection refused\nNetwork is unreachable\n${loopback}\nConnection refused\n`
  assert.equal(text, outcome('Connection refused') + outcome('open'))
})

test('user network: published ports lead to the command, and one that is taken is said before it starts', context => {
  if (!needs(context, 'ip', 'python3')) return
  const text = inNamespace(
    context,
    `
    $RUN -p 8080:80 -p [::1]:8081:80 -p 127.0.0.1:5300:53/udp -p 5301:53/udp -- python3 -c '
import socket
tcp = socket.create_server(("0.0.0.0", 80)); udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("0.0.0.0", 53))
print("listening", flush=True)
for i in range(2):
  peer, (address, _) = tcp.accept(); print(address, peer.recv(100)); peer.sendall(b"answer"); peer.close()
for i in range(3):
  data, peer = udp.recvfrom(100); udp.sendto(data.upper(), peer)
' > inside & SANDBOX=$!
    until grep -qs listening inside; do kill -0 $SANDBOX || exit; sleep 0.05; done
    $RUN -p 8080:1 -- echo started; echo status $?
    $RUN -p 203.0.113.1:8082:1 -- echo started; echo status $?
    python3 -c '
import socket
for address in (("192.0.2.1", 8080), ("::1", 8081)):
  client = socket.create_connection(address, 20); client.sendall(b"question"); print(client.recv(100), client.recv(1))
for address in (("127.0.0.1", 5300), ("127.0.0.1", 5300), ("198.51.100.7", 5301)):
  udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(address); udp.settimeout(20)
  udp.send(b"abc"); print(udp.recv(100))'
    wait $SANDBOX; echo status $?; cat inside`,
  )
  assert.equal(
    text,
    `caisson: -p 8080:1 can't be published: tcp port 8080 is in use on the host
status 125
caisson: -p 203.0.113.1:8082:1 can't be published: 203.0.113.1 is no address of the host
status 125
b'answer' b''
b'answer' b''
b'ABC'
b'ABC'
b'ABC'
status 0
listening
192.0.2.1 b'question'
10.0.2.2 b'question'
`,
  )
})

test('user network: five hundred connections at once', context => {
  if (!needs(context, 'ip', 'python3')) return
  const text = inNamespace(
    context,
    `
    $RUN -- python3 -c '
import asyncio
async def ask(i):
  reader, writer = await asyncio.open_connection("192.0.2.1", 8000)
  writer.write(b"GET / HTTP/1.0\\r\\nContent-Length: 1000\\r\\n\\r\\n" + bytes([65 + i % 26]) * 1000)
  answer = await reader.read(); writer.close()
  return answer.endswith(bytes([65 + i % 26]) * 1000)
async def main(): print(sum(await asyncio.gather(*(ask(i) for i in range(500)))))
asyncio.run(main())'`,
  )
  assert.equal(text, '500\n')
})

test('user network: --allow and --deny hold by network, port and name, and say what they refuse', context => {
  if (!needs(context, 'ip', 'python3', 'curl')) return
  const get = 'curl -s -m 20 -o /dev/null -w "%{http_code} "'
  const both = `'${get} http://192.0.2.1:8000/; ${get} http://198.51.100.7:8000/'`
  const text = inNamespace(
    context,
    `
    for flags in '--allow 192.0.2.0/24' '--deny 192.0.2.0/24' '--allow 192.0.2.1:8001' '--deny *:8000/udp' \\
        '--allow 192.0.2.1 --deny 192.0.2.0/24' '--deny 192.0.2.0/24 --allow *'; do
      $RUN $flags -- sh -c ${both} 2> refused; echo $flags; sort refused
    done
    $RUN --allow '*.example.test:8000' -- sh -c '${get} http://other.test:8000/; ${get} http://198.51.100.7:8000/; ${get} http://192.0.2.1:8000/
      ${get} http://www.example.test:8000/; ${get} http://192.0.2.1:8000/' 2> refused; echo by name; sort refused
    $RUN --deny '*/icmp' -- python3 -c '
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
try: udp.sendto(b"\\x08" + bytes(7), ("192.0.2.1", 0))
except OSError as error: print(error.strerror)' 2> refused
    $RUN --deny 127.0.0.0/8 -- python3 -c '
import socket
server = socket.create_server(("127.0.0.1", 0))
try: socket.create_connection(server.getsockname(), 20)
except OSError as error: print(error.strerror)' 2> refused
    ${caisson} do --allow 192.0.2.1 -- true
    $RUN --deny 10.0.0.0/40 -- true`,
  )
  const refused = (address: string): string => `caisson: network: refused tcp to ${address}:8000\n`
  assert.equal(
    text,
    `200 000 --allow 192.0.2.0/24
${refused('198.51.100.7')}000 200 --deny 192.0.2.0/24
${refused('192.0.2.1')}000 000 --allow 192.0.2.1:8001
${refused('192.0.2.1')}${refused('198.51.100.7')}200 200 --deny *:8000/udp
200 000 --allow 192.0.2.1 --deny 192.0.2.0/24
${refused('198.51.100.7')}000 200 --deny 192.0.2.0/24 --allow *
${refused('192.0.2.1')}000 000 000 200 200 by name
${refused('192.0.2.1')}${refused('198.51.100.7')}caisson: network: refused the question for "other.test"
Operation not permitted
No route to host
caisson: --allow needs --network=user or --network=sandbox
caisson: --deny 10.0.0.0/40: 10.0.0.0/40: a network is an address and a length of at most 32
`,
  )
})

test('flow policy: it holds for a link to the caller’s network as well, and for namespaces of the guest’s', context => {
  if (!needs(context, 'ip', 'python3', 'curl')) return
  if (!isRoot || !existsSync('/dev/net/tun')) return context.skip('no TAP device can be made')
  const get = 'curl -s -m 20 -o /dev/null -w "%{http_code} "'
  const text = inNamespace(
    context,
    `
    $RUN --deny 192.0.2.0/24 -- bash -c '
      ${get} http://192.0.2.1:8000/; ${get} http://198.51.100.7:8000/
      address=$(ip -4 -o addr show eth0 | sed "s/.*inet \\([^ ]*\\).*/\\1/")
      gateway=$(ip route show default | cut -d" " -f3)
      ip netns add other; ip link set eth0 netns other
      inside="ip netns exec other"
      $inside ip link set lo up; $inside ip addr add $address dev eth0; $inside ip link set eth0 up; $inside ip route add default via $gateway
      $inside ${get} http://192.0.2.1:8000/; $inside ${get} http://198.51.100.7:8000/' 2> refused
    cat refused`,
    'sandbox',
  )
  assert.equal(text, '000 200 000 200 caisson: network: refused tcp to 192.0.2.1:8000\n')
})

test('user network: --pcap writes what went over the interfaces, for tcpdump', context => {
  if (!needs(context, 'ip', 'python3', 'curl')) return
  const text = inNamespace(
    context,
    `
    $RUN --pcap file -- sh -c 'curl -s http://192.0.2.1:8000/; python3 -c "
import socket
server = socket.create_server((\\"127.0.0.1\\", 0)); socket.create_connection(server.getsockname())"'
    $RUN --pcap /nowhere/file -- true
    if ${isRoot} && which tcpdump > /dev/null; then tcpdump -Z root -nr file 2> /dev/null | grep -c 'IP 10.0.2.100.*192.0.2.1.8000: Flags \\[S\\]'
    else echo 1; fi
    python3 -c '
import struct
data, at, names, seen = open("file", "rb").read(), 0, [], set()
while at < len(data):
  kind, length = struct.unpack("<II", data[at:at + 8]); body = data[at + 8:at + length - 4]; at += length
  if kind == 1: names.append(body[12:12 + struct.unpack("<H", body[10:12])[0]].decode())
  if kind == 6 and body[32:34] == b"\\x08\\x00": seen.add(names[body[0]])
print(sorted(seen))'`,
  )
  assert.equal(
    text,
    `hello from 192.0.2.1
caisson: --pcap /nowhere/file: the file can't be written: no such file or directory
1
['eth0', 'lo']
`,
  )
})

test('user network: nothing is left of a sandbox whose launcher was killed', context => {
  if (!needs(context, 'ip', 'python3')) return
  const text = inNamespace(
    context,
    `
    for signal in KILL TERM; do
      $RUN -p 8080:80 -- python3 -c '
import socket, time
server = socket.create_server(("0.0.0.0", 80)); print("listening", flush=True)
time.sleep(1000)' > inside & SANDBOX=$!
      until grep -qs listening inside; do kill -0 $SANDBOX || exit; sleep 0.05; done
      children=$(cat /proc/$SANDBOX/task/$SANDBOX/children)
      for child in $children; do cat /proc/$child/comm; done | grep broker
      kill -$signal $SANDBOX; wait $SANDBOX 2> /dev/null; echo status $?
      for child in $children; do while grep -qs '^State:.[^ZX]' /proc/$child/status; do sleep 0.05; done; done
      python3 -c 'import socket; socket.create_server(("0.0.0.0", 8080)); print("free")'
    done`,
  )
  assert.equal(
    text.replace(/.*Killed.*\n/g, ''),
    'caisson-broker\nstatus 137\nfree\ncaisson-broker\nstatus 143\nfree\n',
  )
})

test('user network: the broker’s messages are as the sentry writes them', () => {
  const root = join(import.meta.dirname, '../..')
  const broker = readFileSync(join(root, 'native/launcher/broker.c'), 'utf8')
  const sentry = readFileSync(join(root, 'src/platform/linux-broker.ts'), 'utf8')
  const kinds = /enum \{ (BROKER_CONNECT.*) \};/.exec(broker)![1]
  assert.equal(kinds, 'BROKER_CONNECT = 1, BROKER_LISTEN, BROKER_RULE, BROKER_SEAL')
  for (const line of ['CONNECT = 1', 'LISTEN = 2', 'RULE = 3', 'SEAL = 4', 'REQUEST_SIZE = 28']) {
    assert.ok(sentry.includes(`const ${line}\n`), line)
  }
})
