import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WaitQueue } from '../base/wait-queue.ts'
import { type LoggedRequest, RequestLog } from './request-log.ts'

class Question implements LoggedRequest {
  readonly text: string
  readonly queue = new WaitQueue()
  done = true
  usedIn = 0
  ended = 0

  constructor(text: string) {
    this.text = text
  }
  interrupt(): void {}
  end(): void {
    this.ended++
  }
}

const about =
  (text: string) =>
  (request: LoggedRequest): boolean =>
    (request as Question).text === text

test('request log: a later try finds the answers to what earlier ones asked, each once', () => {
  const log = new RequestLog()
  const first = new Question('same')
  const second = new Question('same')
  assert.equal(log.find(about('same')), undefined)
  log.add(first)
  log.rewind()
  assert.equal(log.find(about('same')), first)
  assert.equal(log.find(about('same')), undefined)
  log.add(second)
  log.rewind()
  assert.equal(log.find(about('same')), first)
  assert.equal(log.find(about('same')), second)
  assert.equal(log.find(about('other')), undefined)
})

test('request log: what a try does not ask this time is still there for the next', () => {
  const log = new RequestLog()
  const name = new Question('name')
  const data = new Question('data')
  log.add(name)
  log.rewind()
  log.find(about('name'))
  log.add(data)
  // The name was in a cache now, and at the third try it is not believed any more.
  log.rewind()
  assert.equal(log.find(about('data')), data)
  log.rewind()
  assert.equal(log.find(about('name')), name)
  assert.equal(log.find(about('data')), data)
})

test('request log: what is settled ends at once, and the others are found as before', () => {
  const log = new RequestLog()
  const asked = ['a', 'b', 'c'].map(text => new Question(text))
  for (const each of asked) log.add(each)
  log.rewind()
  assert.equal(log.find(about('a')), asked[0])
  assert.equal(log.find(about('b')), asked[1])
  log.settle(asked[0])
  assert.deepEqual(
    asked.map(each => each.ended),
    [1, 0, 0],
  )
  assert.equal(log.size, 2)
  assert.equal(log.find(about('c')), asked[2])
  log.rewind()
  assert.equal(log.find(about('a')), undefined)
  assert.equal(log.find(about('b')), asked[1])
  log.end()
  assert.deepEqual(
    asked.map(each => each.ended),
    [1, 1, 1],
  )
})

test('request log: at the end of the call requests end and locks are released', () => {
  const log = new RequestLog()
  const asked = [new Question('a'), new Question('b')]
  for (const each of asked) log.add(each)
  let unlocked = 0
  log.hold({ unlock: () => unlocked++ })
  log.end()
  assert.deepEqual(
    asked.map(each => each.ended),
    [1, 1],
  )
  assert.equal(unlocked, 1)
})
