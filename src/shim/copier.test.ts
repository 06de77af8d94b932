import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { loadAddon } from '../platform/addon.ts'
import { Copier } from './copier.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-copier-'))
after(() => rmSync(dir, { recursive: true }))

/** Both ends of a new FIFO. */
function pipe(name: string): { reader: number; writer: number } {
  const path = join(dir, name)
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  return { reader, writer }
}

const turn = () => new Promise(resolve => setImmediate(resolve))

test('a Copier moves all bytes in order through a sink that is read slowly, and ends with its source', async () => {
  const from = pipe('a')
  const to = pipe('b')
  const copier = new Copier(addon, from.reader, to.writer)
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251))
  const got: Buffer[] = []
  const piece = Buffer.alloc(10_000)
  const total = () => got.reduce((sum, { length }) => sum + length, 0)
  for (let at = 0; total() < sent.length; await turn()) {
    // Both FIFOs are full most of the time.
    if (at < sent.length) {
      try {
        at += writeSync(from.writer, sent, at)
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
      }
      if (at === sent.length) closeSync(from.writer)
    }
    try {
      got.push(Buffer.from(piece.subarray(0, readSync(to.reader, piece))))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
    }
  }
  await copier.done
  assert.ok(Buffer.concat(got).equals(sent))
})

test('a Copier writes to a file, and stops when it is told to, whatever may still come', async () => {
  const from = pipe('c')
  const file = openSync(join(dir, 'file'), 'a')
  const copier = new Copier(addon, from.reader, file)
  writeSync(from.writer, 'hello')
  while (readFileSync(join(dir, 'file'), 'utf8') !== 'hello') await turn()
  copier.stop()
  await copier.done
})
