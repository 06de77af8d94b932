import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import type { NewFlow } from './flow.ts'
import { type FlowRule, onFlowOf, onFlowOfAll, onQuestionOf, parseRule, parseRuleLine } from './rule.ts'

/** `+TARGET` allows, `-TARGET` denies. */
function rules(...texts: string[]): FlowRule[] {
  return texts.map(text => {
    const rule = parseRule(text[0] === '+' ? 'allow' : 'deny', text.slice(1))
    assert.ok(typeof rule !== 'string', String(rule))
    return rule
  })
}

function flow(destination: string, port = 80, more: Partial<NewFlow> = {}): NewFlow {
  return {
    protocol: IPPROTO_TCP,
    source: IpAddress.of('10.0.2.100'),
    sourcePort: 40000,
    destination: IpAddress.of(destination),
    destinationPort: port,
    names: [],
    local: false,
    ...more,
  }
}

test('rules: what they mean', () => {
  const cases: readonly [string[], NewFlow, 'allow' | 'deny'][] = [
    [['-192.0.2.0/24'], flow('192.0.2.9'), 'deny'],
    [['-192.0.2.0/24'], flow('192.0.3.9'), 'allow'],
    [['+192.0.2.9'], flow('192.0.2.9'), 'allow'],
    [['+192.0.2.9'], flow('192.0.2.8'), 'deny'],
    [['+192.0.2.9:80'], flow('192.0.2.9', 81), 'deny'],
    [['+192.0.2.9:80-90/tcp'], flow('192.0.2.9', 85), 'allow'],
    [['+192.0.2.9:80-90/tcp'], flow('192.0.2.9', 85, { protocol: IPPROTO_UDP }), 'deny'],
    [['-*/udp'], flow('192.0.2.9', 53, { protocol: IPPROTO_UDP }), 'deny'],
    [['-*/icmp'], flow('192.0.2.9', 0, { protocol: IPPROTO_ICMP }), 'deny'],
    [['-*:443'], flow('192.0.2.9', 0, { protocol: IPPROTO_ICMP }), 'allow'],
    [['-2001:db8::/32'], flow('2001:db8::1'), 'deny'],
    [['-[2001:db8::1]:443'], flow('2001:db8::1', 80), 'allow'],
    [['-0.0.0.0/0'], flow('2001:db8::1'), 'allow'],
    // The first that matches.
    [['+192.0.2.9', '-192.0.2.0/24'], flow('192.0.2.9'), 'allow'],
    [['-192.0.2.0/24', '+192.0.2.9'], flow('192.0.2.9'), 'deny'],
    // Names.
    [['+Example.ORG.'], flow('192.0.2.9', 80, { names: ['example.org'] }), 'allow'],
    [['+example.org'], flow('192.0.2.9', 80, { names: ['www.example.org'] }), 'deny'],
    [['+*.example.org'], flow('192.0.2.9', 80, { names: ['a.b.example.org'] }), 'allow'],
    [['+*.example.org'], flow('192.0.2.9', 80, { names: ['example.org', 'badexample.org'] }), 'deny'],
    [['-evil.test'], flow('192.0.2.9', 80, { names: ['good.test', 'evil.test'] }), 'deny'],
    // What stays inside.
    [['+192.0.2.9'], flow('127.0.0.1', 80, { local: true }), 'allow'],
    [['-*'], flow('127.0.0.1', 80, { local: true }), 'allow'],
    [['-0.0.0.0/0'], flow('127.0.0.1', 80, { local: true }), 'allow'],
    [['-127.0.0.0/8:22'], flow('127.0.0.1', 22, { local: true }), 'deny'],
  ]
  for (const [texts, asked, verdict] of cases) {
    assert.equal(onFlowOf(rules(...texts))(asked), verdict, `${texts} ${asked.destination}`)
  }
})

test('rules: names that are spoken of may be asked for, where not all may', () => {
  const ask = onQuestionOf(rules('-secret.example.org', '+*.example.org', '+192.0.2.0/24'))
  assert.equal(ask('www.example.org'), 'allow')
  assert.equal(ask('secret.example.org'), 'deny')
  assert.equal(ask('example.org'), 'deny')
})

test('rules: of several policies each must allow a flow, or the question for a name that it allows', () => {
  const decide = onFlowOfAll([rules('+10.0.0.0/8', '+web'), rules('-10.1.0.0/16')])
  assert.equal(decide(flow('10.2.0.1')), 'allow')
  assert.equal(decide(flow('10.1.0.1')), 'deny')
  assert.equal(decide(flow('192.0.2.1')), 'deny')
  assert.equal(decide(flow('192.0.2.53', 53, { question: 'web' })), 'allow')
  assert.equal(decide(flow('192.0.2.53', 53, { question: 'elsewhere' })), 'deny')
})

test('rules: as a line they have their verdict in front', () => {
  assert.deepEqual(parseRuleLine(' deny  10.0.0.0/8:80/tcp '), parseRule('deny', '10.0.0.0/8:80/tcp'))
  for (const line of ['', 'allow', 'permit x', 'allow a b', 'allow 10.0.0.0/99']) {
    assert.equal(typeof parseRuleLine(line), 'string', line)
  }
})

test('rules: what is none says why', () => {
  const cases: readonly [string, RegExp][] = [
    ['', /nothing is neither an address/],
    ['10.0.0.0/33', /at most 32/],
    ['10.0.0.0/', /at most 32/],
    ['2001:db8::/129', /at most 128/],
    ['10.0.0.300', /neither an address, a network nor a name/],
    ['10.0.0', /neither/],
    ['foo..bar', /neither/],
    ['a b', /neither/],
    ['*.', /neither/],
    ['example.org:http', /neither a port nor a range/],
    ['example.org:0', /ports are 1 to 65535/],
    ['example.org:90-80', /the smaller first/],
    ['example.org:65536', /ports are/],
    ['example.org/sctp', /none of tcp, udp and icmp/],
    ['*:8/icmp', /icmp has no ports/],
  ]
  for (const [text, message] of cases) assert.match(String(parseRule('deny', text)), message, text)
})
