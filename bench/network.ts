/**
 * `npm run bench:network [-- --runs N] [NAME…]`: servers in a network namespace, in a container of caisson's with
 * --network=sandbox, and where it is installed in one of gVisor's, each behind a veth pair of its own, whose clients are in
 * another network namespace. All meet in each round, one after the other; the ratios are to native, above 1 where a rate is
 * higher or a time longer. Needs root.
 *
 * Servers and clients are in a cgroup each, whatever the system, as those of two containers are. A cgroup has as much of a
 * CPU as one process outside of all: with eight clients there, a server in a container would get a ninth.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { median } from './table.ts'

const { values: flags, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '3' }, seconds: { type: 'string', default: '3' } },
})

const here = import.meta.dirname
const caisson = join(here, '../bin/caisson')
const directory = mkdtempSync(join(tmpdir(), 'caisson-bench-net-'))
const echo = join(directory, 'echo')
const INSIDE = `cbench-in-${process.pid}`
const OUTSIDE = `cbench-out-${process.pid}`
const SERVER = '10.98.0.2'
/** Of the controller cpu: version 1, or 2. */
const CGROUPS = ['/sys/fs/cgroup/cpu', '/sys/fs/cgroup'].find(path => existsSync(join(path, 'cgroup.procs')))
const SERVERS_CGROUP = `caisson-bench-${process.pid}-servers`
const CLIENTS_CGROUP = `caisson-bench-${process.pid}-clients`
const PORTS = { iperf: 5201, redis: 6379, http: 8080, echo: 7 }

interface Measurement {
  readonly name: string
  readonly unit: 'Gbit/s' | 'µs' | '/s'
  readonly needs: readonly string[]
  /** The client. */
  readonly command: readonly string[]
  /** From what it prints. */
  value(output: string): number
}

const MEASUREMENTS: readonly Measurement[] = [
  iperf('iperf3, in, 1 stream', []),
  iperf('iperf3, out, 1 stream', ['-R']),
  iperf('iperf3, in, 8 streams', ['-P', '8']),
  iperf('iperf3, out, 8 streams', ['-R', '-P', '8']),
  trip('TCP round trip, median', 'tcp', 0),
  trip('TCP round trip, p99', 'tcp', 1),
  trip('UDP round trip, median', 'udp', 0),
  trip('UDP round trip, p99', 'udp', 1),
  {
    name: 'connections',
    unit: '/s',
    needs: [],
    command: [echo, 'connect', SERVER, String(PORTS.echo), '10000'],
    value: output => 1e9 / Number(output),
  },
  redis('redis SET', 'set'),
  redis('redis GET', 'get'),
  {
    name: 'nginx, wrk, 32 connections',
    unit: '/s',
    needs: ['nginx', 'wrk'],
    command: ['wrk', '-t1', '-c32', `-d${flags.seconds}s`, `http://${SERVER}:${PORTS.http}/`],
    value: output => Number(/Requests\/sec: +([\d.]+)/.exec(output)?.[1]),
  },
]

function iperf(name: string, more: string[]): Measurement {
  return {
    name,
    unit: 'Gbit/s',
    needs: ['iperf3'],
    command: ['iperf3', '-J', '-c', SERVER, '-t', flags.seconds, ...more],
    value: output => JSON.parse(output).end.sum_received?.bits_per_second / 1e9,
  }
}

function trip(name: string, kind: string, at: number): Measurement {
  return {
    name,
    unit: 'µs',
    needs: [],
    command: [echo, kind, SERVER, String(PORTS.echo), '5000'],
    value: output => Number(output.split(' ')[at]) / 1000,
  }
}

function redis(name: string, command: string): Measurement {
  return {
    name,
    unit: '/s',
    needs: ['redis-server', 'redis-benchmark'],
    command: ['redis-benchmark', '-h', SERVER, '-t', command, '-n', '30000', '-c', '50', '--csv'],
    value: output => Number(/^"[SG]ET","([\d.]+)"/m.exec(output)?.[1]),
  }
}

interface System {
  readonly name: string
  /** Starts the servers. */
  start(): ChildProcess
  end(): void
}

const SERVERS = join(directory, 'servers.sh')
const quiet: { stdio: 'ignore' } = { stdio: 'ignore' }

function start([program, ...words]: readonly string[]): ChildProcess {
  return spawn(program, words, { ...quiet, detached: true })
}

function inCgroup(name: string, command: readonly string[]): readonly string[] {
  if (CGROUPS === undefined) return command
  const path = join(CGROUPS, name)
  mkdirSync(path, { recursive: true })
  return ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', path, ...command]
}
/** Killed processes take a moment. */
async function removeCgroups(): Promise<void> {
  if (CGROUPS === undefined) return
  for (const name of [SERVERS_CGROUP, CLIENTS_CGROUP]) {
    const path = join(CGROUPS, name)
    for (let tries = 0; tries < 100 && existsSync(path); tries++) {
      if (spawnSync('rmdir', [path], quiet).status !== 0) await sleep(50)
    }
  }
}

const NATIVE: System = {
  name: 'native',
  start: () => start(inCgroup(SERVERS_CGROUP, ['ip', 'netns', 'exec', INSIDE, 'sh', SERVERS])),
  end: () => {},
}

const CAISSON: System = {
  name: 'caisson',
  start: () => start([caisson, ...caissonFlags(), 'run', '--bundle', bundle(), 'bench']),
  end: () => void spawnSync(caisson, [...caissonFlags(), 'delete', '--force', 'bench'], quiet),
}
function caissonFlags(): string[] {
  return ['--root', join(directory, 'caisson'), '--network=sandbox']
}

const RUNSC: System = {
  name: 'runsc',
  start: () => {
    const run = `mount -t tmpfs none /proc/sys && mkdir /proc/sys/vm && echo 65536 > /proc/sys/vm/mmap_min_addr &&
      exec "$@"`
    const command = ['runsc', ...runscFlags(), 'run', '-bundle', bundle(), 'bench']
    // Of a setting there it concludes on newer kernels that each network namespace is the machine's own, and refuses it.
    return start(inCgroup(SERVERS_CGROUP, ['unshare', '-m', 'sh', '-c', run, 'sh', ...command]))
  },
  end: () => void spawnSync('runsc', [...runscFlags(), 'delete', '-force', 'bench'], quiet),
}
function runscFlags(): string[] {
  return ['--root', join(directory, 'runsc'), '--network=sandbox', '--ignore-cgroups', '--platform=ptrace']
}

/** A container whose root is the host's, in the namespace that is there for it. */
function bundle(): string {
  const path = join(directory, 'bundle')
  mkdirSync(path, { recursive: true })
  const kinds = ['pid', 'ipc', 'uts', 'mount'].map(type => ({ type }))
  const tmpfs = (destination: string) => ({ destination, type: 'tmpfs', source: 'tmpfs' })
  const capabilities = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_SETUID', 'CAP_SETGID', 'CAP_NET_BIND_SERVICE']
  const config = {
    ociVersion: '1.0.2',
    process: {
      args: ['sh', SERVERS],
      env: [`PATH=${process.env.PATH}`],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
    root: { path: '/', readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      tmpfs('/dev'),
      ...['/tmp', '/var/log', '/var/lib/nginx', '/run'].map(tmpfs),
      { destination: directory, type: 'bind', source: directory, options: ['rbind', 'rw'] },
    ],
    linux: {
      namespaces: [...kinds, { type: 'network', path: `/run/netns/${INSIDE}` }],
      cgroupsPath: `/${SERVERS_CGROUP}`,
    },
  }
  writeFileSync(join(path, 'config.json'), JSON.stringify(config))
  return path
}

function writeServers(): void {
  const nginx = join(directory, 'nginx.conf')
  writeFileSync(
    nginx,
    `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log /dev/null;
     events { worker_connections 512; }
     http { access_log off; keepalive_requests 1000000;
            server { listen ${PORTS.http}; location / { return 200 "a short page, as of an interface\\n"; } } }`,
  )
  writeFileSync(
    SERVERS,
    `${echo} serve ${PORTS.echo} &
     command -v iperf3 >/dev/null && iperf3 -s >/dev/null &
     command -v redis-server >/dev/null && redis-server --save '' --protected-mode no --dir ${directory} >/dev/null &
     command -v nginx >/dev/null && nginx -c ${nginx} &
     wait`,
  )
}

function ip(line: string): void {
  execFileSync('ip', line.split(' '), { stdio: ['ignore', 'ignore', 'pipe'] })
}
function makeNamespaces(): void {
  for (const name of [INSIDE, OUTSIDE]) {
    ip(`netns add ${name}`)
    ip(`-n ${name} link set lo up`)
  }
  ip(`link add eth0 netns ${INSIDE} type veth peer name out0 netns ${OUTSIDE}`)
  ip(`-n ${INSIDE} address add ${SERVER}/24 dev eth0`)
  ip(`-n ${OUTSIDE} address add 10.98.0.1/24 dev out0`)
  ip(`-n ${INSIDE} link set eth0 up`)
  ip(`-n ${OUTSIDE} link set out0 up`)
}
function removeNamespaces(): void {
  for (const name of [INSIDE, OUTSIDE]) spawnSync('ip', ['netns', 'delete', name], quiet)
}

function client(command: readonly string[]): string | undefined {
  const [program, ...words] = inCgroup(CLIENTS_CGROUP, ['ip', 'netns', 'exec', OUTSIDE, ...command])
  const run = spawnSync(program, words, { encoding: 'utf8', timeout: 120_000 })
  if (run.status === 0) return run.stdout
  process.stderr.write(`${command.join(' ')}: ${run.stdout}${run.stderr}\n`)
  return undefined
}

/** Until all servers can be connected to. */
async function serving(ports: readonly number[]): Promise<boolean> {
  const probe = ports.map(port => `(: < /dev/tcp/${SERVER}/${port})`).join(' && ')
  for (let tries = 0; tries < 100; tries++) {
    if (spawnSync('ip', ['netns', 'exec', OUTSIDE, 'bash', '-c', probe], quiet).status === 0) return true
    await sleep(100)
  }
  return false
}

async function measure(system: System, wanted: readonly Measurement[]): Promise<(number | undefined)[]> {
  makeNamespaces()
  const servers = system.start()
  const ended = new Promise(resolve => servers.on('exit', resolve))
  try {
    if (!(await serving(portsOf(wanted)))) {
      process.stderr.write(`${system.name}: the servers do not start\n`)
      return wanted.map(() => undefined)
    }
    const values: (number | undefined)[] = []
    for (const each of wanted) values.push(await measured(each))
    return values
  } finally {
    system.end()
    try {
      process.kill(-servers.pid!, 'SIGKILL')
    } catch {
      // It has ended.
    }
    await ended
    removeNamespaces()
  }
}

/** An iperf3 server takes a moment after each client until it takes the next. */
async function measured({ command, value }: Measurement): Promise<number | undefined> {
  for (let tries = 0; tries < 5; tries++) {
    const output = client(command)
    const number = output === undefined ? Number.NaN : value(output)
    if (!Number.isNaN(number)) return number
    await sleep(300)
  }
  return undefined
}

function portsOf(wanted: readonly Measurement[]): number[] {
  const of = (tool: string, port: number) => (wanted.some(({ needs }) => needs.includes(tool)) ? [port] : [])
  return [
    PORTS.echo,
    ...of('iperf3', PORTS.iperf),
    ...of('redis-server', PORTS.redis),
    ...of('nginx', PORTS.http),
  ]
}

function installed(tool: string): boolean {
  return spawnSync('which', [tool]).status === 0
}

function format({ unit }: Measurement, value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? 'failed' : `${significant(value)} ${unit}`
}
function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function print(
  wanted: readonly Measurement[],
  systems: readonly System[],
  rounds: (number | undefined)[][][],
): void {
  const columns = systems.flatMap(({ name }, i) => (i === 0 ? [name] : [name, 'ratio']))
  const row = (name: string, texts: readonly string[]) =>
    `${name.padEnd(30)}${texts.map(text => text.padStart(13)).join('')}`
  console.log(row('workload', columns))
  wanted.forEach((measurement, m) => {
    const texts = systems.flatMap((_, s) => {
      const own = format(measurement, median(rounds.map(round => round[s][m])))
      if (s === 0) return [own]
      const ratio = median(
        rounds.map(round => {
          const [base, value] = [round[0][m], round[s][m]]
          return base === undefined || value === undefined ? undefined : value / base
        }),
      )
      return [own, ratio === undefined ? '' : `${significant(ratio)}×`]
    })
    console.log(row(measurement.name, texts))
  })
}

/** As main.ts does. */
function save(
  wanted: readonly Measurement[],
  systems: readonly System[],
  rounds: (number | undefined)[][][],
): void {
  const values = (m: number) => systems.map(({ name }, s) => [name, rounds.map(round => round[s][m] ?? null)])
  const date = new Date().toISOString()
  const report = {
    date,
    machine: { kernel: release(), cpu: cpus()[0].model, cpus: cpus().length },
    rows: wanted.map(({ name, unit }, m) => ({ name, unit, values: Object.fromEntries(values(m)) })),
  }
  mkdirSync(join(here, 'results'), { recursive: true })
  const file = join(here, 'results', `network-${date.replaceAll(':', '').slice(0, 15)}.json`)
  writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`)
}

const compiled = spawnSync('cc', ['-O2', '-Wall', '-o', echo, join(here, 'guest/echo.c')], {
  encoding: 'utf8',
})
if (compiled.status !== 0) throw new Error(`echo.c can't be compiled: ${compiled.stderr}`)
try {
  writeServers()
  const wanted = MEASUREMENTS.filter(({ name, needs }) => {
    const missing = needs.filter(tool => !installed(tool))
    if (missing.length > 0) process.stderr.write(`${name}: not installed: ${missing.join(', ')}\n`)
    return missing.length === 0 && (names.length === 0 || names.some(each => name.includes(each)))
  })
  const systems = [NATIVE, CAISSON, ...(installed('runsc') ? [RUNSC] : [])]
  const rounds: (number | undefined)[][][] = []
  for (let round = 0; round < Number(flags.runs); round++) {
    const values: (number | undefined)[][] = []
    for (const system of systems) values.push(await measure(system, wanted))
    rounds.push(values)
  }
  print(wanted, systems, rounds)
  save(wanted, systems, rounds)
} finally {
  await removeCgroups()
  rmSync(directory, { recursive: true, force: true })
}
