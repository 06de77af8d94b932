/** nfnetlink_queue: programs that decide on packets, by NFQUEUE in each of its forms, see the same on the host and in a sandbox. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { same } from './netfilter-tools.ts'

const library = readFileSync(join(import.meta.dirname, 'netfilter-queue.py'), 'utf8')
const WRITE = `cat > nfq.py <<'END'\n${library}\nEND\n`

for (const iptables of ['iptables-nft', 'iptables-legacy']) {
  test(`netfilter: ${iptables}'s NFQUEUE: a program is told of packets, and decides`, context => {
    const text = same(
      context,
      [iptables, 'python3'],
      `${WRITE}timeout -s KILL 60 python3 nfq.py verdicts ${iptables}`,
    )
    if (text !== undefined) assert.match(text, /got b'hello there'/)
  })
  test(`netfilter: ${iptables}'s NFQUEUE: a TCP connection passes a queue at each point`, context => {
    const text = same(
      context,
      [iptables, 'python3'],
      `${WRITE}timeout -s KILL 60 python3 nfq.py stream ${iptables}`,
    )
    if (text !== undefined) assert.match(text, /30000 bytes at points \[0, 1, 3, 4\]/)
  })
}

test('netfilter: NFQUEUE: packets that are forwarded wait for a program, too', context => {
  const text = same(
    context,
    ['iptables-nft', 'python3', 'ip', 'ping'],
    `${WRITE}ip netns add a; ip netns add b
ip link add v0 netns a type veth peer name v0 netns b; ip link add w0 type veth peer name w0 netns a
ip -n a link set v0 up; ip -n b link set v0 up; ip link set w0 up; ip -n a link set w0 up
ip addr add 10.1.0.1/24 dev w0; ip -n a addr add 10.1.0.2/24 dev w0
ip -n a addr add 10.2.0.2/24 dev v0; ip -n b addr add 10.2.0.3/24 dev v0
ip route add default via 10.1.0.2; ip -n b route add default via 10.2.0.2
ip netns exec a sysctl -qw net.ipv4.ip_forward=1
ip netns exec a timeout -s KILL 60 python3 nfq.py forwarded iptables-nft > out & while ! test -e ready; do sleep 0.05; done
ping -c1 -W9 10.2.0.3 | grep -o '1 received'; wait; cat out`,
  )
  if (text !== undefined) assert.match(text, /^1 received/)
})
