import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { loadAddon } from '../platform/addon.ts'
import { Streams } from './streams.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-streams-'))
after(() => rmSync(dir, { recursive: true }))
const owner = { id: 'c', namespace: 'n' }

test('streams: a process whose client is gone before it starts finds the end of its input', async () => {
  const paths = { stdin: join(dir, 'gone'), stdout: '', stderr: '', terminal: false }
  const streams = await Streams.open(addon, paths, owner)
  streams.openInput()
  assert.equal(readSync(streams.io.stdio![0], Buffer.alloc(1)), 0)
  streams.close()
})

test('streams: a program that takes the output of a terminal finds the end of standard error at once', async () => {
  const program = join(dir, 'log')
  const seen = join(dir, 'seen')
  writeFileSync(program, `#!/bin/sh\nexec 5>&-\ncat <&4 && : > ${seen}\ncat <&3 > /dev/null\n`, {
    mode: 0o755,
  })
  const paths = { stdin: '', stdout: `binary://${program}`, stderr: '', terminal: true }
  const streams = await Streams.open(addon, paths, owner)
  const end = Date.now() + 5000
  while (!existsSync(seen) && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 5))
  assert.ok(existsSync(seen))
  streams.close()
})
