import assert from 'node:assert/strict'
import { test } from 'node:test'
import { removeMember, setMember } from './json-edit.ts'

const RUNTIME = { path: '/p' }

test('json-edit: what is set is what JSON.parse finds, whatever was there, and the rest keeps its layout', () => {
  const cases: [string, string][] = [
    ['{}\n', '{\n    "runtimes": {\n        "x": {\n            "path": "/p"\n        }\n    }\n}\n'],
    [
      '{"a":[1,  2],"b":{}}',
      '{"a":[1,  2],"b":{},\n    "runtimes": {\n        "x": {\n            "path": "/p"\n        }\n    }}',
    ],
    [
      '{\n  "a": "}\\"{",\n  "runtimes": { "y": {"path":  "/q"} },\n  "z": 1\n}\n',
      '{\n  "a": "}\\"{",\n  "runtimes": { "y": {"path":  "/q"},\n    "x": {\n      "path": "/p"\n    } },\n  "z": 1\n}\n',
    ],
    ['{"runtimes":{"x":3}}', '{"runtimes":{"x":{\n            "path": "/p"\n        }}}'],
    ['{\n\t"runtimes": {}\n}', '{\n\t"runtimes": {\n\t\t"x": {\n\t\t\t"path": "/p"\n\t\t}\n\t}\n}'],
  ]
  for (const [before, after] of cases) {
    const text = setMember(before, ['runtimes', 'x'], RUNTIME)
    assert.equal(text, after)
    const expected = JSON.parse(before)
    expected.runtimes = { ...expected.runtimes, x: RUNTIME }
    assert.deepEqual(JSON.parse(text), expected)
  }
})

test('json-edit: a member is removed with its comma, and nothing else', () => {
  const cases: [string, string][] = [
    ['{"a": 1, "x": {"b": [","]}, "c": 2}', '{"a": 1, "c": 2}'],
    ['{"x": 1, "c": 2}', '{"c": 2}'],
    ['{"a": 1,\n  "x": 1\n}\n', '{"a": 1\n}\n'],
    ['{ "x": 1 }\n', '{}\n'],
    ['{"a": 1}', '{"a": 1}'],
  ]
  for (const [before, after] of cases) assert.equal(removeMember(before, ['x']), after)
})
