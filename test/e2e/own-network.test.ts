/** The kernel's own network: tools and programs in a network namespace that has nothing but itself. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
/** Only against hanging. */
const LIMIT_MS = 300_000

/** What a script prints in a fresh network namespace of a sandbox, errors included. */
function inside(script: string): string {
  const { stdout, stderr, status } = spawnSync(
    caisson,
    [
      'do',
      '--network=sandbox',
      '--',
      'unshare',
      '-n',
      'bash',
      '-c',
      `exec 2>&1\nip link set lo up\ncd /tmp\n${script}`,
    ],
    { encoding: 'utf8', timeout: LIMIT_MS },
  )
  assert.equal(status, 0, stdout + stderr)
  return stdout
}

function needs(context: TestContext, ...tools: string[]): boolean {
  const skip = NOT_ROOT || notInstalled(...tools)
  if (skip) context.skip(skip)
  return !skip
}

test('own network: the sandbox knows its own name, and the names that its caller knows', () => {
  const { stdout, stderr } = spawnSync(
    caisson,
    ['do', '--network=sandbox', '--', 'sh', '-c', 'getent hosts "$(hostname)"; tail -n +1 /etc/hosts'],
    { encoding: 'utf8', timeout: LIMIT_MS },
  )
  assert.match(stdout, /^127\.0\.1\.1 +caisson\n/, stderr)
  assert.ok(stdout.includes(readFileSync('/etc/hosts', 'utf8')))
})

test('own network: ip shows and changes interfaces, addresses, routes, rules and neighbours', context => {
  if (!needs(context, 'ip')) return
  const text = inside(`
    ip -br addr
    ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02
    ip addr add 10.1.0.1/24 dev v0; ip link set v0 up; ip link set v1 up
    ip route add 10.9.0.0/16 via 10.1.0.2; ip route get 10.9.1.1
    ip rule add from 10.1.0.0/24 table 7; ip rule
    ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:07 dev v0; ip neigh show 10.1.0.2
    ip route add 10.8.0.0/16 via 9.9.9.9 || true
    ip link del v0; ip route; ip -o link | wc -l`)
  assert.match(text, /^lo +UNKNOWN +127\.0\.0\.1\/8 ::1\/128 *$/m)
  assert.match(text, /^10\.9\.1\.1 via 10\.1\.0\.2 dev v0 src 10\.1\.0\.1 uid 0 *$/m)
  assert.match(text, /^7?\d+:\tfrom 10\.1\.0\.0\/24 lookup 7 *$/m)
  assert.match(text, /^10\.1\.0\.2 dev v0 lladdr 02:00:00:00:00:07 PERMANENT *$/m)
  assert.match(text, /Nexthop has invalid gateway/)
  assert.match(text, /\n1\n$/, 'the cable took its routes and its other end along')
})

test('own network: two namespaces reach each other over a cable, which ends with them', context => {
  if (!needs(context, 'ip', 'busybox', 'python3')) return
  const text = inside(`
    ip netns add a; ip netns add b
    ip link add v0 netns a type veth peer name v1 netns b
    ip -n a addr add 10.1.0.1/24 dev v0; ip -n b addr add 10.1.0.2/24 dev v1
    ip -n a link set v0 up; ip -n b link set v1 up
    ip netns exec a busybox ping -c 1 10.1.0.2
    ip netns exec b python3 -c '
import socket, threading
server = socket.create_server(("10.1.0.2", 8000))
print("ready", flush=True)
peer, (address, _) = server.accept()
total = 0
while data := peer.recv(1 << 16): total += len(data)
print(address, total)' > answer &
    until grep -q ready answer; do sleep 0.1; done
    ip netns exec a python3 -c '
import socket
client = socket.create_connection(("10.1.0.2", 8000)); client.sendall(b"x" * 5_000_000)'
    wait; cat answer
    ip netns del a; until ! ip -n b link show v1 >/dev/null 2>&1; do sleep 0.1; done; echo gone`)
  assert.match(text, /1 packets received/)
  assert.match(text, /^10\.1\.0\.1 5000000$/m)
  assert.match(text, /gone\n$/)
})

test('own network: ss, netstat and /proc/net show the sockets that there are', context => {
  if (!needs(context, 'ip', 'ss', 'netstat', 'python3')) return
  const text = inside(`python3 -c '
import socket, os
server = socket.create_server(("127.0.0.1", 8000)); client = socket.create_connection(("127.0.0.1", 8000))
peer, _ = server.accept(); client.send(b"five!")
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); udp.bind(("::1", 5353))
os.system("ss -Htln; ss -Htn sport = :8000; ss -Huan; netstat -tln; grep -c 1F40 /proc/net/tcp; ss -HKtn dport = :8000")
try: peer.recv(5); peer.recv(5)
except OSError as error: print(error)'`)
  assert.match(text, /^LISTEN 0 +\d+ +127\.0\.0\.1:8000 +0\.0\.0\.0:\* *$/m)
  assert.match(text, /^ESTAB 5 +0 +127\.0\.0\.1:8000 /m)
  assert.match(text, /^UNCONN 0 +0 +\[::1\]:5353 +\[::\]:\* *$/m)
  assert.match(text, /^tcp +0 +0 127\.0\.0\.1:8000 +0\.0\.0\.0:\* +LISTEN *$/m)
  assert.match(text, /^3$/m)
  assert.match(text, /Connection reset by peer/)
})

test('own network: settings are files of the namespace', context => {
  if (!needs(context, 'ip', 'unshare')) return
  const text = inside(`
    echo 7 > /proc/sys/net/ipv4/ip_default_ttl; echo 1 > /proc/sys/net/ipv4/ip_forward
    cat /proc/sys/net/ipv4/{ip_default_ttl,conf/lo/forwarding}
    unshare -n cat /proc/sys/net/ipv4/ip_default_ttl
    echo none > /proc/sys/net/ipv4/tcp_congestion_control || true
    unshare -n sh -c 'ls /sys/class/net; wc -l < /proc/net/dev'`)
  assert.match(text, /^7\n1\n64\n/)
  assert.match(text, /No such file or directory/)
  assert.match(text, /lo\n3\n$/)
})
