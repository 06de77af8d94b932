/** Programs that make interfaces by /dev/net/tun: two network namespaces of one sandbox, joined by socat(1). */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const skip = NOT_ROOT || notInstalled('socat', 'ip', 'ping', 'nsenter')

/** Each end is a socat between its interface and a unix socket, of SOCK_SEQPACKET: a packet stays a packet. */
const SCRIPT = `
  until_there() { until "$@" > /dev/null 2>&1; do kill -0 $one $two || exit 1; sleep 0.05; done; }
  unshare -n socat UNIX-LISTEN:/tmp/wire,socktype=5 TUN:10.6.0.1/24,tun-type=$1,iff-no-pi,iff-up & one=$!
  until_there test -S /tmp/wire
  unshare -n socat UNIX-CONNECT:/tmp/wire,socktype=5 TUN:10.6.0.2/24,tun-type=$1,iff-no-pi,iff-up & two=$!
  at() { nsenter -t $1 -n "\${@:2}"; }
  until_there at $one ip route get 10.6.0.2
  until_there at $two ip route get 10.6.0.1
  at $one ping -c 2 -i 0.2 -W 10 10.6.0.2 | grep -o '2 received'
  at $two socat -u TCP-LISTEN:9000,reuseaddr CREATE:/tmp/got & receiver=$!
  until_there at $two sh -c 'ss -lnt | grep :9000'
  head -c 300000 /dev/urandom > /tmp/sent
  at $one socat -u OPEN:/tmp/sent TCP:10.6.0.2:9000
  wait $receiver; cmp /tmp/sent /tmp/got && echo the same
  at $one ip -d link show $1"0" | grep -o "tun type $1 pi off"
  kill $one $two; wait $one $two
  ip link | grep -c tun`

for (const type of ['tun', 'tap']) {
  test(`a ${type} of socat's carries pings and TCP to another namespace`, { skip }, () => {
    const done = spawnSync(caisson, ['do', '--network=sandbox', '--', 'bash', '-c', SCRIPT, 'bash', type], {
      encoding: 'utf8',
    })
    assert.equal(done.stdout, `2 received\nthe same\ntun type ${type} pi off\n0\n`, done.stderr)
  })
}
