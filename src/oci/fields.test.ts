import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fieldTable } from './field-table.ts'
import { FIELDS, judgeFields } from './fields.ts'

// biome-ignore lint/suspicious/noExplicitAny: a JSON schema is a tree of anything
type Schema = any

const { files } = JSON.parse(readFileSync(join(import.meta.dirname, 'schema/runtime-spec.json'), 'utf8'))
const OTHER_SYSTEMS = new Set(['solaris', 'windows', 'vm', 'zos', 'freebsd'])

/** The paths of all fields of the schema that have no fields themselves, as FIELDS names them. */
function leaves(schema: Schema, file: string, path: string): string[] {
  if (OTHER_SYSTEMS.has(path)) return [path]
  if (schema.$ref !== undefined) {
    const [name, pointer] = schema.$ref.split('#')
    const target = pointer.split('/').slice(1)
    const next = name === '' ? file : name
    return leaves(
      target.reduce((at: Schema, key: string) => at[key], files[next]),
      next,
      path,
    )
  }
  const parts: Schema[] = [...(schema.allOf ?? []), ...(schema.anyOf ?? [])]
  if (parts.length > 0) return parts.flatMap(part => leaves(part, file, path))
  if (schema.items !== undefined) {
    const inner = leaves(schema.items, file, `${path}[]`)
    return inner.length === 1 && inner[0] === `${path}[]` ? [path] : inner
  }
  const values = schema.additionalProperties ?? schema.patternProperties?.['.{1,}']
  if (values !== undefined) return leaves(values, file, `${path}.*`)
  if (schema.properties === undefined) return [path]
  return Object.entries(schema.properties).flatMap(([key, each]) =>
    leaves(each, file, path === '' ? key : `${path}.${key}`),
  )
}

test('fields: every field of the schema has its fate, and nothing else has', () => {
  const inSchema = new Set(leaves(files['config-schema.json'], 'config-schema.json', ''))
  assert.deepEqual(
    [...inSchema].filter(path => !(path in FIELDS)),
    [],
    'without a fate',
  )
  assert.deepEqual(
    Object.keys(FIELDS).filter(path => !inSchema.has(path)),
    [],
    'not in the schema',
  )
})

test('fields: one that is refused is named, unless it asks for nothing', () => {
  assert.throws(
    () => judgeFields({ linux: { intelRdt: { closID: 'a' } } }),
    /linux\.intelRdt\.closID can't be obeyed: /,
  )
  assert.throws(
    () => judgeFields({ linux: { netDevices: { eth0: { name: 'x' } } } }),
    /linux\.netDevices\.eth0\.name/,
  )
  assert.throws(() => judgeFields({ windows: { layerFolders: ['a'] } }), /windows can't be obeyed/)
  assert.deepEqual(judgeFields({ linux: { intelRdt: {} } }), [])
})

test('fields: one that is ignored is told, and so is one that nobody knows', () => {
  const warnings = judgeFields({
    process: { apparmorProfile: 'docker-default', selinuxLabel: '' },
    linux: { rocket: { fuel: 1 } },
    mounts: [{ destination: '/x', colour: 'red' }],
    annotations: { 'a.b': 'c' },
  })
  assert.deepEqual(
    warnings.map(text => text.split(' ')[0]),
    ['process.apparmorProfile', 'linux.rocket.fuel', 'mounts[0].colour'],
  )
})

test('fields: a process of its own is judged by its own paths', () => {
  assert.deepEqual(judgeFields({ args: ['a'], cwd: '/', user: { uid: 1 } }, 'process'), [])
})

test('fields: docs/oci.md has the table as it is', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/oci.md'), 'utf8')
  assert.ok(text.includes(fieldTable()), `docs/oci.md should have:\n${fieldTable()}`)
})
