import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

/**
 * Each layer imports from itself, from those before it, and from its neighbour in the row: a mapped file is a File of
 * the vfs, and a file is mapped into an Mm.
 */
const LAYERS = [
  ['abi'],
  ['base'],
  ['platform'],
  ['mm', 'vfs'],
  ['loader'],
  ['kernel'],
  ['fs', 'net'],
  ['syscalls'],
  ['sandbox'],
  ['oci'],
  ['shim'],
  ['cli'],
]
/** These know nothing of Node.js. */
const PURE = new Set(['abi', 'base', 'mm', 'vfs', 'loader', 'kernel', 'fs', 'net', 'syscalls'])

interface Import {
  readonly file: string
  readonly from: string
  readonly to: string
}

const imports: Import[] = []
for (const file of globSync('*/**/*.ts', { cwd: import.meta.dirname })) {
  if (file.endsWith('.test.ts')) continue
  const text = readFileSync(join(import.meta.dirname, file), 'utf8')
  for (const match of text.matchAll(/(?:from |import\()'([^']+)'/g)) {
    const target = match[1].startsWith('.') ? normalize(join(dirname(file), match[1])) : match[1]
    imports.push({ file, from: file.split('/')[0], to: target })
  }
}

test('imports: each layer imports only from itself and from those before it', () => {
  const rank = (layer: string) => LAYERS.findIndex(row => row.includes(layer))
  const wrong = imports.filter(({ from, to }) => {
    const layer = to.split('/')[0]
    if (layer === from || rank(layer) < 0) return false
    return rank(layer) > rank(from)
  })
  assert.deepEqual(
    wrong.map(({ file, to }) => `${file} imports ${to}`),
    [],
  )
})

test('imports: nothing between abi and syscalls knows Node.js', () => {
  const wrong = imports.filter(({ from, to }) => PURE.has(from) && !to.includes('.ts'))
  assert.deepEqual(
    wrong.map(({ file, to }) => `${file} imports ${to}`),
    [],
  )
})
