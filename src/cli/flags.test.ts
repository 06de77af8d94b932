import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Flags, parseWords } from './flags.ts'

const FLAGS: Flags = {
  bundle: { value: 'DIR', short: 'b', help: '' },
  env: { value: 'NAME=VALUE', short: 'e', help: '' },
  detach: { short: 'd', help: '' },
}

test('flags: each form of a flag gives its value', () => {
  for (const words of [['--bundle', '/x'], ['--bundle=/x'], ['-b', '/x'], ['-b=/x']]) {
    assert.equal(parseWords(FLAGS, [...words, 'id'])!.last('bundle'), '/x')
  }
  assert.deepEqual(parseWords(FLAGS, ['-e', 'A=1', '--env=B=2'])!.all('env'), ['A=1', 'B=2'])
  assert.equal(parseWords(FLAGS, ['--detach=true'])!.has('detach'), true)
  assert.equal(parseWords(FLAGS, ['-d', '--detach=false'])!.has('detach'), false)
})

test('flags: several of them are known in the order in which they were given', () => {
  const words = parseWords(FLAGS, ['-e', 'A', '--bundle', '/x', '-d', '--env=B'])!
  assert.deepEqual(
    words.inOrder('bundle', 'env').map(({ name, value }) => name + value),
    ['envA', 'bundle/x', 'envB'],
  )
})

test('flags: what follows the first other word is the verb’s, unless flags may stand anywhere', () => {
  const words = ['-d', 'id', '--bundle', '/x']
  assert.deepEqual(parseWords(FLAGS, words)!.rest, ['id', '--bundle', '/x'])
  const anywhere = parseWords(FLAGS, words, true)!
  assert.deepEqual([anywhere.rest, anywhere.last('bundle')], [['id'], '/x'])
  assert.deepEqual(parseWords(FLAGS, ['id', '--', '-d'], true)!.rest, ['id', '-d'])
  assert.deepEqual(parseWords(FLAGS, ['-'])!.rest, ['-'])
})

test('flags: what is not among them, or lacks its value, is refused', () => {
  assert.throws(() => parseWords(FLAGS, ['--nonsense']), /unknown option --nonsense/)
  assert.throws(() => parseWords(FLAGS, ['-x']), /unknown option -x/)
  assert.throws(() => parseWords(FLAGS, ['--toString']), /unknown option/)
  assert.throws(() => parseWords(FLAGS, ['--bundle']), /--bundle needs a value/)
  assert.throws(() => parseWords(FLAGS, ['--detach=maybe']), /takes no value/)
})
