/**
 * Pods under containerd's CRI plugin, by crictl: a pod is one shim and one sandbox, whose containers share network, ipc
 * and host name. CAISSON_TEST_RUNTIME=runc runs the same tests with that.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BUSYBOX, CGROUP_PARENT, ContainerdDaemon, whyNoContainerd } from './containerd-daemon.ts'
import { until } from './leftovers.ts'

const runtime = process.env.CAISSON_TEST_RUNTIME ?? 'caisson'
const skip = whyNoContainerd('crictl', '/usr/lib/cni/bridge')
/** NamespaceMode */
const POD = 0
const CONTAINER = 1
const NODE = 2
/** A machine that is a container itself may not let runc give pods the score that they are to have. */
const FOR_RUNC = ['restrict_oom_score_adj = true']

/** Most likely nobody else takes it meanwhile. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

describe(`pods with ${runtime}`, { skip }, () => {
  let daemon: ContainerdDaemon
  let pods = 0

  const file = (name: string, content: unknown): string => {
    const path = join(daemon.directory, name)
    writeFileSync(path, JSON.stringify(content))
    return path
  }
  const logs = () => join(daemon.directory, 'podlogs')

  /** A pod that runs: its id, and the file that describes it. `more`: of its configuration. */
  const newPod = async (pid = CONTAINER, more: object = {}, network = POD) => {
    const name = `pod${++pods}`
    const config = file(`${name}.json`, {
      metadata: { name, namespace: 'default', uid: `uid-${process.pid}-${pods}`, attempt: 1 },
      hostname: `host-${name}`,
      log_directory: logs(),
      linux: {
        cgroup_parent: `/${CGROUP_PARENT}`,
        security_context: { namespace_options: { network, ipc: POD, pid } },
      },
      ...more,
    })
    const id = await daemon.crictl('runp', '--runtime', runtime, config)
    return { id, config, pid, network }
  }
  const newContainer = async (pod: Awaited<ReturnType<typeof newPod>>, command: string, memoryMb = 128) => {
    const name = `c${++pods}`
    const config = file(`${name}.json`, {
      metadata: { name },
      image: { image: BUSYBOX },
      command: ['sh', '-c', command],
      log_path: `${name}.log`,
      linux: {
        resources: { memory_limit_in_bytes: memoryMb << 20 },
        security_context: { namespace_options: { network: pod.network, ipc: POD, pid: pod.pid } },
      },
    })
    const id = await daemon.crictl('create', '--no-pull', pod.id, config, pod.config)
    await daemon.crictl('start', id)
    return id
  }
  const inContainer = async (id: string, script: string) =>
    (await daemon.crictl('exec', '--sync', id, 'sh', '-c', script)).trimEnd()
  const inspect = async (id: string) => JSON.parse(await daemon.crictl('inspect', id)).status
  const becomes = async (id: string, state: string) => {
    for (let tries = 0; tries < 200 && (await inspect(id)).state !== state; tries++) {
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    const status = await inspect(id)
    assert.equal(status.state, state)
    return status
  }
  const IDLE = 'trap "exit 0" TERM; while :; do sleep 0.1; done'

  before(async () => {
    daemon = await ContainerdDaemon.start('k8s.io', ...(runtime === 'runc' ? FOR_RUNC : []))
    mkdirSync(logs())
  })
  after(async () => daemon?.stop())
  afterEach(async () => {
    for (const pod of (await daemon.crictl('pods', '--quiet')).split('\n')) {
      if (pod !== '') await daemon.crictl('rmp', '--force', pod)
    }
    await daemon.leavesNothing()
  })

  test('two containers share network, ipc and host name, and have files and processes of their own', async () => {
    const pod = await newPod()
    const first = await newContainer(
      pod,
      `echo mine > /file; echo shared > /dev/shm/file; nc -l -p 8000 -e cat & ${IDLE}`,
    )
    const second = await newContainer(pod, IDLE)
    for (
      let tries = 0;
      tries < 100 && (await inContainer(first, 'test -e /dev/shm/file && echo y')) !== 'y';
      tries++
    );
    assert.equal(
      await inContainer(second, 'cat /dev/shm/file; ls /file 2>&1; hostname'),
      `shared\nls: /file: No such file or directory\nhost-pod${pods - 2}`,
    )
    assert.equal(await inContainer(second, 'echo over tcp | nc -w 5 127.0.0.1 8000'), 'over tcp')
    assert.doesNotMatch(await inContainer(second, 'ps -o args'), /8000/)
    const address = JSON.parse(await daemon.crictl('inspectp', pod.id)).status.network.ip
    assert.match(await inContainer(second, 'ip -o -4 addr show dev eth0'), new RegExp(address))
    if (runtime === 'caisson') assert.equal(daemon.shimOf(second), undefined)
  })

  test('port-forward: a port of the host leads to one of the pod’s loopback address', async () => {
    const pod = await newPod()
    const id = await newContainer(pod, `echo inside > /page; httpd -p 127.0.0.1:8000 -h /; ${IDLE}`)
    await inContainer(id, 'until wget -qO- http://127.0.0.1:8000/page; do sleep 0.1; done')
    const config = join(daemon.directory, 'crictl.yaml')
    const forward = spawn('crictl', ['--config', config, 'port-forward', pod.id, ':8000'])
    const ended = new Promise(resolve => forward.on('close', resolve))
    try {
      let said = ''
      for (const output of [forward.stdout, forward.stderr]) output.on('data', text => (said += text))
      const port = () => Number(/127\.0\.0\.1:(\d+) ->/.exec(said)?.[1])
      await until(() => port() > 0 || forward.exitCode !== null, 'it forwards', 30_000)
      assert.equal(await (await fetch(`http://127.0.0.1:${port()}/page`)).text(), 'inside\n', said)
    } finally {
      forward.kill('SIGKILL')
      await ended
    }
  })

  test('a port of the host is mapped to one of the pod’s, and its name servers are as it says', async () => {
    const port = await freePort()
    const pod = await newPod(CONTAINER, {
      port_mappings: [{ protocol: 0, container_port: 8000, host_port: port }],
      dns_config: { servers: ['10.9.8.7'], searches: ['pods.test'], options: ['ndots:3'] },
    })
    const id = await newContainer(pod, `echo mapped > /page; httpd -p 8000 -h /; ${IDLE}`)
    await inContainer(id, 'until wget -qO- http://127.0.0.1:8000/page; do sleep 0.1; done')
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/page`)).text(), 'mapped\n')
    const { ip } = JSON.parse(await daemon.crictl('inspectp', pod.id)).status.network
    assert.equal(await (await fetch(`http://${ip}:8000/page`)).text(), 'mapped\n')
    assert.equal(
      await inContainer(id, 'cat /etc/resolv.conf'),
      'search pods.test\nnameserver 10.9.8.7\noptions ndots:3',
    )
  })

  test('a pod with the host’s network reaches a server on the host’s loopback address', async () => {
    const server = createServer(socket => socket.end('of the host\n'))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    try {
      const pod = await newPod(CONTAINER, { hostname: '' }, NODE)
      const id = await newContainer(pod, IDLE)
      const { port } = server.address() as AddressInfo
      assert.equal(await inContainer(id, `nc 127.0.0.1 ${port} < /dev/null`), 'of the host')
    } finally {
      server.close()
    }
  })

  test('processes are shared where the pod asks for it', async () => {
    const pod = await newPod(POD)
    const first = await newContainer(pod, 'exec sleep 54321')
    const second = await newContainer(pod, IDLE)
    assert.match(await inContainer(second, 'ps -o args'), /sleep 54321/)
    await inContainer(
      second,
      'kill -9 $(ps -o pid,args | grep "[5]4321" | while read pid rest; do echo $pid; done)',
    )
    assert.equal((await becomes(first, 'CONTAINER_EXITED')).exitCode, 137)
  })

  test('exec: output and exit status; logs: both streams', async () => {
    const pod = await newPod()
    const id = await newContainer(pod, `echo out; echo err >&2; ${IDLE}`)
    const { status, stdout } = await daemon.tryCrictl('exec', id, 'sh', '-c', 'echo hello; exit 3')
    assert.equal(stdout, 'hello\n')
    assert.equal(status, 1)
    let outcome = await daemon.tryCrictl('logs', id)
    for (let tries = 0; tries < 50 && outcome.stderr === ''; tries++)
      outcome = await daemon.tryCrictl('logs', id)
    assert.deepEqual([outcome.stdout, outcome.stderr], ['out\n', 'err\n'])
  })

  test('stop ends a container by TERM, and by KILL where that does not help; the others go on', async () => {
    const pod = await newPod()
    const obeys = await newContainer(pod, 'trap "exit 7" TERM; while :; do sleep 0.1; done')
    const ignores = await newContainer(pod, 'trap "" TERM; while :; do sleep 0.1; done')
    await inContainer(obeys, 'true')
    await daemon.crictl('stop', '--timeout', '10', obeys)
    assert.equal((await inspect(obeys)).exitCode, 7)
    assert.equal(await inContainer(ignores, 'echo still here'), 'still here')
    await daemon.crictl('stop', '--timeout', '1', ignores)
    assert.equal((await inspect(ignores)).exitCode, 137)
    await daemon.crictl('rm', obeys)
    const again = await newContainer(pod, IDLE)
    assert.equal(await inContainer(again, 'echo new'), 'new')
  })

  test('statistics and limits are each container’s own', async () => {
    const pod = await newPod()
    const small = await newContainer(pod, IDLE)
    const large = await newContainer(pod, `head -c 30000000 /dev/zero | tail & ${IDLE}`)
    if (runtime === 'caisson') {
      assert.equal(await inContainer(small, 'cat /sys/fs/cgroup/memory.max'), `${128 << 20}`)
    }
    await inContainer(large, 'dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null')
    const stats = async (id: string) =>
      JSON.parse(await daemon.crictl('stats', '--output', 'json', '--id', id)).stats[0]
    const used = async (id: string) => Number((await stats(id)).memory.workingSetBytes.value)
    assert.ok((await used(large)) > 0)
    assert.ok((await used(small)) > 0)
    assert.ok(Number((await stats(small)).cpu.usageCoreNanoSeconds.value) > 0)
  })

  test('a container that runs out of memory is OOMKilled, and the pod goes on', async () => {
    const pod = await newPod()
    const other = await newContainer(pod, IDLE)
    const eater = await newContainer(pod, 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done', 32)
    const { exitCode, reason } = await becomes(eater, 'CONTAINER_EXITED')
    assert.deepEqual([exitCode, reason], [137, 'OOMKilled'])
    assert.equal(await inContainer(other, 'echo fine'), 'fine')
  })

  test('one container of a pod is paused, the others go on', async () => {
    const pod = await newPod()
    const other = await newContainer(pod, IDLE)
    const counter = await newContainer(
      pod,
      'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.02; done',
    )
    const count = () => inContainer(counter, 'cat /count')
    const before = await count()
    await daemon.ctr('tasks', 'pause', counter)
    assert.match(await daemon.ctr('tasks', 'list'), new RegExp(`${counter} .*PAUSED`))
    await assert.rejects(count())
    assert.equal(await inContainer(other, 'echo fine'), 'fine')
    await daemon.ctr('tasks', 'resume', counter)
    for (let tries = 0; tries < 100 && (await count()) === before; tries++);
    assert.notEqual(await count(), before)
    await daemon.ctr('tasks', 'pause', counter)
    await daemon.ctr('tasks', 'kill', '--signal', 'SIGKILL', counter)
    assert.equal((await becomes(counter, 'CONTAINER_EXITED')).exitCode, 137)
  })

  test('the end of the pod’s sandbox is the end of its containers', async () => {
    const pod = await newPod()
    const id = await newContainer(pod, IDLE)
    await daemon.crictl('stopp', pod.id)
    assert.equal((await inspect(id)).state, 'CONTAINER_EXITED')
    await daemon.crictl('rmp', pod.id)
  })

  test('kill -9 of a pod’s shim: all of it is gone, and a new pod can take its place', {
    skip: runtime !== 'caisson',
  }, async () => {
    const pod = await newPod()
    const id = await newContainer(pod, IDLE)
    process.kill(daemon.shimOf(pod.id)!, 'SIGKILL')
    assert.notEqual((await becomes(id, 'CONTAINER_EXITED')).exitCode, 0)
    const next = await newPod()
    assert.equal(await inContainer(await newContainer(next, IDLE), 'echo ok'), 'ok')
  })

  test('a pod lives through the death and the return of containerd', async () => {
    const pod = await newPod()
    const id = await newContainer(pod, IDLE)
    await daemon.restart()
    assert.equal((await inspect(id)).state, 'CONTAINER_RUNNING')
    assert.equal(await inContainer(id, 'echo still here'), 'still here')
    assert.equal(await inContainer(await newContainer(pod, IDLE), 'hostname'), `host-pod${pods - 2}`)
  })
})
