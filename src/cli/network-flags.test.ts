import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeText } from '../base/bytes.ts'
import { parseWords } from './flags.ts'
import { NETWORK_FLAGS, networkOptions } from './network-flags.ts'

test('network flags: /etc/hosts is the caller’s, byte for byte, and has the name that the sandbox is given', () => {
  const words = parseWords(NETWORK_FLAGS, ['--network=user'])!
  const { files } = networkOptions(words, encodeText('größe'))
  const hosts = files.find(({ path }) => path === '/etc/hosts')!
  const bytes = Buffer.from(hosts.text, 'latin1')
  const own = readFileSync('/etc/hosts')
  assert.deepEqual(bytes.subarray(0, own.length), own)
  assert.ok(bytes.toString().endsWith('\n127.0.1.1\tgröße\n'))
})
