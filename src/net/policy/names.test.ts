import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IpAddress } from '../address.ts'
import { NamePins } from './names.ts'

const A = 1
const CNAME = 5
const AAAA = 28

type Answer = [owner: string, type: number, ttl: number, data: string]

function name(text: string): number[] {
  return [...text.split('.').flatMap(label => [label.length, ...Buffer.from(label)]), 0]
}

function response(question: string, answers: Answer[], flags = 0x8180): Uint8Array {
  const bytes = [0, 1, flags >> 8, flags & 255, 0, 1, 0, answers.length, 0, 0, 0, 0]
  bytes.push(...name(question), 0, A, 0, 1)
  for (const [owner, type, ttl, data] of answers) {
    const rest = type === CNAME ? name(data) : [...IpAddress.of(data).bytes()]
    // The question's name is pointed to.
    bytes.push(...(owner === question ? [0xc0, 12] : name(owner)), 0, type, 0, 1)
    bytes.push(ttl >>> 24, (ttl >> 16) & 255, (ttl >> 8) & 255, ttl & 255, 0, rest.length, ...rest)
  }
  return Uint8Array.from(bytes)
}

function namesOf(pins: NamePins, address: string, seconds = 0): string[] {
  return pins.namesOf(IpAddress.of(address), seconds * 1e9)
}

test('names: an address has the names that were asked for, aliases followed, for their time but at least a minute', () => {
  const pins = new NamePins()
  pins.learn(response('Www.Example.org', [['Www.Example.org', A, 300, '192.0.2.1']]), 0)
  pins.learn(
    response('alias.test', [
      ['alias.test', CNAME, 5, 'www.example.org'],
      ['www.example.org', A, 5, '192.0.2.1'],
      ['www.example.org', AAAA, 5, '2001:db8::1'],
    ]),
    0,
  )
  assert.deepEqual(namesOf(pins, '192.0.2.1'), ['www.example.org', 'alias.test'])
  assert.deepEqual(namesOf(pins, '2001:db8::1', 59), ['alias.test'])
  assert.deepEqual(namesOf(pins, '192.0.2.1', 61), ['www.example.org'])
  assert.deepEqual(namesOf(pins, '192.0.2.1', 301), [])
})

test('names: nothing is learnt of records that answer another question, of errors, or of questions', () => {
  const pins = new NamePins()
  pins.learn(response('evil.test', [['bank.test', A, 300, '192.0.2.1']]), 0)
  pins.learn(
    response('evil.test', [
      ['evil.test', CNAME, 300, 'bank.test'],
      ['bank.test', A, 300, '192.0.2.1'],
    ]),
    0,
  )
  assert.deepEqual(namesOf(pins, '192.0.2.1'), ['evil.test'], 'and not bank.test')
  const answer: Answer[] = [['x.test', A, 300, '192.0.2.2']]
  pins.learn(response('x.test', answer, 0x8183), 0)
  pins.learn(response('x.test', answer, 0x0100), 0)
  assert.deepEqual(namesOf(pins, '192.0.2.2'), [])
})

test('names: messages that are cut, lie about lengths or point in circles do no harm', () => {
  const whole = response('a.test', [
    ['a.test', CNAME, 1, 'b.test'],
    ['b.test', A, 1, '192.0.2.1'],
  ])
  for (let length = 0; length <= whole.length; length++) new NamePins().learn(whole.subarray(0, length), 0)
  let random = 7
  for (let i = 0; i < 20000; i++) {
    const changed = whole.slice()
    for (let j = 0; j < 4; j++) {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0
      changed[random % changed.length] = (random >>> 16) & 255
    }
    new NamePins().learn(changed, 0)
  }
  const circle = response('a.test', [])
  circle.set([0xc0, 12], 12)
  new NamePins().learn(circle, 0)
  // A label with a dot in it is no two labels, and no terminal gets to see controls.
  const pins = new NamePins()
  const dotted = response('aXtest', [['aXtest', A, 9, '192.0.2.1']])
  for (const character of ['.', ' ', '\u001b', '\u009b']) {
    dotted[14] = character.charCodeAt(0)
    pins.learn(dotted, 0)
  }
  assert.deepEqual(namesOf(pins, '192.0.2.1'), [])
})

test('names: those of many addresses are bounded', () => {
  const pins = new NamePins()
  for (let i = 0; i < 5000; i++) {
    pins.learn(response('a.test', [['a.test', A, 300, `10.0.${i >> 8}.${i & 255}`]]), 0)
  }
  assert.deepEqual(namesOf(pins, '10.0.0.0'), [])
  assert.deepEqual(namesOf(pins, '10.0.19.0'), ['a.test'])
  for (let i = 0; i < 100; i++) pins.learn(response(`n${i}.test`, [[`n${i}.test`, A, 300, '192.0.2.1']]), 0)
  assert.equal(namesOf(pins, '192.0.2.1').length, 16)
})
