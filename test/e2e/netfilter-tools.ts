/** What the tests of packet filters share: a script that runs on the host and in a sandbox, and programs for it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

export const caisson = join(import.meta.dirname, '../../bin/caisson')

/** A place for network namespaces that have names, and for files. */
const BEGIN = 'exec 2>&1\nmount -t tmpfs none /run; mkdir -p /run/netns; cd /run; ip link set lo up'

/** In namespaces of its own. */
function command(script: string): string[] {
  return ['unshare', '-mnpf', '--kill-child', '--mount-proc', 'bash', '-c', `${BEGIN}\n${script}`]
}

export function same(context: TestContext, tools: readonly string[], script: string): string | undefined {
  const skip = NOT_ROOT || notInstalled(...tools)
  if (skip) {
    context.skip(skip)
    return undefined
  }
  const [unshare, ...rest] = command(script)
  const host = run(unshare, rest)
  if (/Protocol not supported|Operation not permitted\n.*initialize/.test(host)) {
    context.skip('the host has no nf_tables')
    return undefined
  }
  const guest = run(caisson, ['do', '--network=sandbox', '--', ...command(script)])
  assert.equal(guest, host)
  return guest
}

/** What a script prints in a sandbox, for what kernels are often built without. */
export function inside(script: string): string {
  const words = ['unshare', '-mn', 'bash', '-c', `${BEGIN}\n${script}`]
  return run(caisson, ['do', '--network=sandbox', '--', ...words]).replace(/ +$/gm, '')
}

export function run(program: string, args: string[]): string {
  // unshare(1) takes no SIGTERM while it waits; with either of the two all of theirs ends.
  const options = { encoding: 'utf8', timeout: 300_000, killSignal: 'SIGKILL' } as const
  const { stdout, stderr, error } = spawnSync(program, args, options)
  assert.equal(error, undefined, `it does not end: ${stdout}`)
  assert.equal(stderr, '', `what fails outside of the script, behind: ${stdout.slice(-2000)}`)
  return stdout
}

/** Says which datagrams to these ports of ours come. */
export const SEND = `cat > send.py <<'END'
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in map(int, sys.argv[1:]):
  receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(('127.0.0.1', port))
  # What one sends to oneself is there at once, or never.
  sender.sendto(b'x', ('127.0.0.1', port)); receiver.setblocking(False)
  try: receiver.recv(1); print(port, 'came')
  except BlockingIOError: print(port, 'was dropped')
END`

/** Namespaces `a` and `b` with a cable between them, e0 and e1, and two more; `at` one of them a command is run. */
export const CABLE = `for n in a b c d; do ip netns add $n; ip -n $n link set lo up; done
at() { ip netns exec "$@"; }
ip link add e0 netns a type veth peer name e1 netns b
ip -n a link set e0 address 02:00:00:00:00:01 up; ip -n b link set e1 address 02:00:00:00:00:02 up
ip -n a addr add 10.0.0.1/24 dev e0; ip -n b addr add 10.0.0.2/24 dev e1
until at a ping -c 1 -W 1 10.0.0.2 > /dev/null; do :; done
`
