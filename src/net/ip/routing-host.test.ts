/**
 * Routing against the host's kernel: random addresses, routes and rules are given to both, and `ip route get` must say of
 * random destinations what IpLayer.routeFor says. In a network namespace of its own; skipped where none can be made.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import {
  IFA_F_NODAD,
  RT_SCOPE_LINK,
  RTN_BLACKHOLE,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNREACHABLE,
  RTNH_F_ONLINK,
} from '../../abi/constants.ts'
import { EACCES, EEXIST, EHOSTUNREACH, EINVAL, ENETUNREACH } from '../../abi/errno.ts'
import { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import { FibRoute } from './fib.ts'
import { Flow } from './flow.ts'
import { InterfaceAddress } from './interface-address.ts'
import { FR_ACT_TO_TBL } from './rules.ts'
import { Random, seededFill } from './runtime.ts'
import { RecorderDevice, TestNet } from './testing.ts'

const QUERIES = 80
/** ROUTE_SEED=n tries another world. */
const FIRST_SEED = Number(process.env.ROUTE_SEED ?? 1)
const TABLES = [254, 254, 254, 100]

const ERRORS: Record<string, number> = {
  'Network is unreachable': -ENETUNREACH,
  'No route to host': -EHOSTUNREACH,
  'Permission denied': -EACCES,
  'Invalid argument': -EINVAL,
  'File exists': -EEXIST,
}
const KINDS: [string, number][] = [
  ['unreachable', RTN_UNREACHABLE],
  ['prohibit', RTN_PROHIBIT],
  ['blackhole', RTN_BLACKHOLE],
  ['throw', RTN_THROW],
]

/** One command for the host and what the stack makes of the same. */
interface Step {
  command: string
  apply(): string
}

/** A world: devices, and the random steps and questions of one seed. */
class World {
  readonly net = new TestNet(1)
  readonly stack: IpStack = this.net.stack()
  readonly random: Random
  readonly isV4: boolean
  readonly ip: string
  readonly setup: string[] = ['ip link set lo up']
  readonly devices: RecorderDevice[]
  readonly addresses: InterfaceAddress[] = []

  constructor(seed: number, isV4: boolean) {
    this.random = new Random(seededFill(seed))
    this.isV4 = isV4
    this.ip = isV4 ? 'ip' : 'ip -6'
    this.devices = [1, 2, 3].map(i => this.#device(i))
    this.net.run(5)
  }

  steps(): Step[] {
    const steps: Step[] = []
    for (const device of this.devices) for (let i = 0; i < 2; i++) steps.push(this.#addAddress(device))
    for (let i = 0; i < 14; i++) steps.push(this.#addRoute())
    for (let i = 0; i < 2; i++) steps.push(this.#addRule(100 + i))
    for (let i = 0; i < QUERIES; i++) steps.push(this.#query())
    steps.push(this.#removeAddress(0))
    for (let i = 0; i < QUERIES; i++) steps.push(this.#query())
    steps.push(this.#bounce(this.devices[1]))
    for (let i = 0; i < QUERIES; i++) steps.push(this.#query())
    return steps
  }

  #device(i: number): RecorderDevice {
    const device = new RecorderDevice(`d${i}`)
    device.address = Uint8Array.of(2, 0, 0, 0, 0, i)
    this.stack.devices.register(device)
    this.stack.sysctls.ipv6Conf.of(device.index).accept_dad = 0
    this.stack.sysctls.ipv6Conf.all.accept_dad = 0
    this.stack.devices.setUp(device, true)
    const six = '/proc/sys/net/ipv6/conf'
    this.setup.push(
      `ip link add d${i} address 02:00:00:00:00:0${i} type veth peer name e${i}`,
      `echo 1 > ${six}/e${i}/disable_ipv6; echo 0 > ${six}/d${i}/accept_dad`,
      `ip link set e${i} up; ip link set d${i} up`,
    )
    return device
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.random.below(list.length)]
  }

  #address(): IpAddress {
    const { random } = this
    const text = this.isV4
      ? `${this.#pick([10, 10, 10, 172, 192, 8])}.${random.below(3)}.${random.below(3)}.${1 + random.below(250)}`
      : `${this.#pick(['2001:db8', 'fd00:1', '2002:a00', '2a00:5'])}:${random.below(3)}:${random.below(2)}::${1 + random.below(99)}`
    return IpAddress.of(text)
  }

  #addAddress(device: RecorderDevice): Step {
    const length = this.#pick(this.isV4 ? [8, 16, 24, 24, 30, 32] : [48, 64, 64, 120])
    const entry = new InterfaceAddress(device, this.#address(), length)
    entry.flags |= IFA_F_NODAD
    this.addresses.push(entry)
    return {
      command: `${this.ip} addr add ${entry.address}/${length} dev ${device.name} ${this.isV4 ? '' : 'nodad'}`,
      apply: () => done(this.stack.addresses.add(entry)),
    }
  }

  #removeAddress(at: number): Step {
    const entry = this.addresses[at]
    return {
      command: `${this.ip} addr del ${entry.address}/${entry.length} dev ${entry.device.name}`,
      apply: () => done(this.stack.addresses.remove(entry)),
    }
  }

  #bounce(device: RecorderDevice): Step {
    return {
      command: `ip link set ${device.name} down && ip link set ${device.name} up`,
      apply: () => {
        this.stack.devices.setUp(device, false)
        return done(this.stack.devices.setUp(device, true))
      },
    }
  }

  #addRoute(): Step {
    const length = this.#pick(this.isV4 ? [0, 0, 8, 16, 20, 24, 32] : [0, 16, 32, 48, 64, 128])
    const route = new FibRoute(this.#address(), length)
    route.priority = this.#pick(this.isV4 ? [0, 0, 50, 100] : [100, 200, 1024])
    route.table = this.#pick(TABLES)
    const device = this.#pick(this.devices)
    const way = this.random.below(10)
    const target = `${route.destination}/${length}`
    const where = `metric ${route.priority} table ${route.table}`
    let command = `${this.ip} route add ${target} dev ${device.name} ${where}`
    if (way === 0) {
      const [name, type] = this.#pick(KINDS)
      route.type = type
      command = `${this.ip} route add ${name} ${target} ${where}`
    } else if (way < 5) {
      if (this.isV4) route.scope = RT_SCOPE_LINK
      route.nextHops.push({ device, gateway: undefined, weight: 1, flags: 0 })
    } else {
      // Nobody has this one: a gateway must not be an address of ours.
      const gateway = this.isV4 ? IpAddress.of('10.250.0.1') : IpAddress.of('fe80::99')
      route.nextHops.push({ device, gateway, weight: 1, flags: RTNH_F_ONLINK })
      command = `${this.ip} route add ${target} via ${gateway} dev ${device.name} onlink ${where}`
    }
    return { command, apply: () => done(this.stack.addRoute(route, { exclusive: true })) }
  }

  #addRule(priority: number): Step {
    const length = this.isV4 ? 12 : 32
    const prefix = this.#address().masked(length)
    const rule = {
      priority,
      action: FR_ACT_TO_TBL,
      table: 100,
      destination: prefix,
      destinationLength: length,
    }
    return {
      command: `${this.ip} rule add to ${prefix}/${length} table 100 priority ${priority}`,
      apply: () => {
        this.stack.generation++
        return done((this.isV4 ? this.stack.rules4 : this.stack.rules6).add(rule, true))
      },
    }
  }

  #query(): Step {
    const special = this.isV4
      ? ['224.0.0.5', '239.1.1.1', '255.255.255.255', '127.0.0.5', '127.255.255.255']
      : ['ff02::1', 'ff05::2', 'fe80::5', '::1', 'fe80::ff:fe00:1']
    const own = this.#pick(this.addresses)
    const kind = this.random.below(10)
    let destination =
      kind === 0 ? IpAddress.of(this.#pick(special)) : kind === 1 ? own.address : this.#address()
    if (kind === 2 && this.isV4 && own.length < 32)
      destination = IpAddress.v4(own.address.w3 | (2 ** (32 - own.length) - 1))
    const device = this.random.below(4) === 0 ? this.#pick(this.devices) : undefined
    // The first address is removed on the way: it isn't asked for as a source.
    const source = this.random.below(4) === 0 ? this.#pick(this.addresses.slice(4)).address : undefined
    const from = source === undefined ? '' : ` from ${source}`
    const oif = device === undefined ? '' : ` oif ${device.name}`
    const flow = new Flow()
    flow.destination = destination
    flow.source = source ?? IpAddress.of(this.isV4 ? '0.0.0.0' : '::')
    flow.device = device?.index ?? 0
    return {
      command: `${this.ip} -o route get ${destination}${from}${oif}`,
      apply: () => describe(this.stack, flow),
    }
  }
}

function done(status: number): string {
  return status === 0 ? '' : `${status}`
}

/** A route in the words of `explain`. */
function describe(stack: IpStack, flow: Flow): string {
  const route = stack.ip.routeFor(flow)
  if (typeof route === 'number') return `${route}`
  const names: Record<number, string> = {
    [RTN_LOCAL]: 'local',
    [RTN_BROADCAST]: 'broadcast',
    [RTN_MULTICAST]: 'multicast',
  }
  const type = names[route.type] ?? 'unicast'
  const device = type === 'local' ? '' : route.device.name
  return `${type} via ${route.gateway ?? ''} dev ${device} from ${route.source}`
}

/** What iproute2 says, in the same words. `source`: the one that was asked for. */
function explain(said: string, source: string | undefined, isV4: boolean): string {
  const error = /answers: (.*)/.exec(said)
  if (error !== null) return `${ERRORS[error[1]] ?? error[1]}`
  const word = (name: string): string => new RegExp(` ${name} (\\S+)`).exec(said)?.[1] ?? ''
  if (word('dev') === '') return said
  const type = /^(local|broadcast|multicast)/.exec(said)?.[1] ?? 'unicast'
  // IPv6's `src` is what would be chosen if the source weren't given.
  const from = isV4 ? word('src') || source : (source ?? word('src'))
  const via = word('via') === '' ? '' : IpAddress.of(word('via')).toString()
  return `${type} via ${via} dev ${type === 'local' ? '' : word('dev')} from ${from}`
}

function hostAnswers(world: World, steps: readonly Step[]): string[] {
  const script = [...world.setup, 'sleep 0.2', ...steps.map(step => `echo @; ${step.command} 2>&1`)].join(
    '\n',
  )
  const run = spawnSync('unshare', ['-n', 'sh'], { input: script, encoding: 'utf8' })
  return run.stdout.split('@\n').slice(1)
}

function hasNamespaces(): boolean {
  const probe = 'ip link add d9 type veth peer name e9 && test -w /proc/sys/net/ipv6/conf/d9/accept_dad'
  return spawnSync('unshare', ['-n', 'sh', '-c', probe]).status === 0
}

for (const isV4 of [true, false]) {
  test(`routes: ${isV4 ? 'IPv4' : 'IPv6'} goes where the host's kernel would send it`, t => {
    if (!hasNamespaces()) {
      t.skip('no network namespaces here')
      return
    }
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 2; seed++) {
      const world = new World(seed, isV4)
      const steps = world.steps()
      const answers = hostAnswers(world, steps)
      assert.equal(answers.length, steps.length)
      for (const [i, { command, apply }] of steps.entries()) {
        const source = / from (\S+)/.exec(command)?.[1]
        const expected = explain(answers[i].trim(), source, isV4)
        assert.equal(apply(), expected, `ROUTE_SEED=${seed}, step ${i}: ${command}: ${answers[i]}`)
      }
    }
  })
}
