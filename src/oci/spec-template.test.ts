import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { parseConfig } from './bundle.ts'
import { features } from './features.ts'
import { judgeFields } from './fields.ts'
import { specTemplate } from './spec-template.ts'

for (const rootless of [undefined, { uid: 1000, gid: 1000 }]) {
  test(`spec: the ${rootless ? 'rootless ' : ''}template is a config that is obeyed in full`, () => {
    const text = JSON.stringify(specTemplate({ rootless }))
    assert.deepEqual(judgeFields(parseConfig(text, 'config.json')), [])
  })
}

test("features: what is printed is as runtime-spec's schema has it", () => {
  const { files } = JSON.parse(readFileSync(join(import.meta.dirname, 'schema/runtime-spec.json'), 'utf8'))
  const ajv = new Ajv({ strict: false })
  for (const [name, schema] of Object.entries<{ $schema?: string }>(files)) {
    delete schema.$schema
    if (name !== 'features-schema.json') ajv.addSchema(schema, name)
  }
  const validate = ajv.compile(files['features-schema.json'])
  assert.ok(validate(features('1.0')), JSON.stringify(validate.errors))
})
