import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePublished } from './publish.ts'

test('publish: what it takes', () => {
  const cases: readonly [string, [string, string, number, number]][] = [
    ['8080:80', ['tcp', '', 8080, 80]],
    ['127.0.0.1:53:5353/udp', ['udp', '127.0.0.1', 53, 5353]],
    ['[::1]:8080:80/tcp', ['tcp', '::1', 8080, 80]],
    [':8080:80', ['tcp', '', 8080, 80]],
  ]
  for (const [text, expected] of cases) {
    const { protocol, address, port, guestPort } = parsePublished(text)
    assert.deepEqual([protocol, address, port, guestPort], expected, text)
  }
})

test('publish: what it refuses, and why', () => {
  const cases: readonly [string, RegExp][] = [
    ['80', /expected \[ADDRESS:\]PORT/],
    ['8080:80/sctp', /expected/],
    ['::1:8080:80', /expected/],
    ['localhost:8080:80', /localhost is no IP address/],
    ['[127.0.0]:8080:80', /127\.0\.0 is no IP address/],
    ['0:80', /ports are 1 to 65535/],
    ['8080:65536', /ports are 1 to 65535/],
  ]
  for (const [text, message] of cases) assert.throws(() => parsePublished(text), message, text)
})
