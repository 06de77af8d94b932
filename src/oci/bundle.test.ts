import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadBundle, parseConfig, parseProcess, parseResources } from './bundle.ts'

function parse(config: object): unknown {
  return parseConfig(JSON.stringify({ ociVersion: '1.2.0', ...config }), 'config.json')
}

const WRONG: readonly (readonly [object, RegExp])[] = [
  [{ root: {} }, /^config\.json: root\.path is missing$/],
  [{ process: { cwd: 1 } }, /process\.cwd must be of type string/],
  [{ mounts: [{ destination: '/a' }, {}] }, /mounts\[1\]\.destination is missing/],
  [{ linux: { namespaces: [{ type: 'cpu' }] } }, /linux\.namespaces\[0\]\.type must be one of mount, pid/],
  [{ process: { cwd: '/', user: { uid: -1 } } }, /process\.user\.uid must be >= 0/],
  [
    { linux: { resources: { pids: { limit: 1.5 } } } },
    /linux\.resources\.pids\.limit must be of type integer/,
  ],
  [{ linux: { rootfsPropagation: 'sideways' } }, /linux\.rootfsPropagation must be one of/],
]

for (const [config, sentence] of WRONG) {
  test(`bundle: ${sentence.source}`, () => {
    assert.throws(() => parse(config), { message: sentence })
  })
}

test('bundle: fields that are null count as absent', () => {
  assert.deepEqual(parse({ process: { cwd: '/', args: null }, hooks: null }), {
    ociVersion: '1.2.0',
    process: { cwd: '/' },
  })
})

test("bundle: the propagation that engines ask for is taken, though the schema doesn't list it", () => {
  parse({ linux: { rootfsPropagation: 'rslave' } })
})

test('bundle: all 64 bits of what seccomp compares with are kept', () => {
  const text = `{"ociVersion":"1.0.2","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
    {"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":18446744073709551614,"op":"SCMP_CMP_EQ"}]}]}}}`
  const rule = parseConfig(text, 'config.json').linux?.seccomp?.syscalls?.[0]
  assert.equal(rule?.args?.[0].value, 18446744073709551614n)
})

test('bundle: what is no JSON and what is no bundle is said in one sentence', () => {
  assert.throws(() => parseConfig('{', '/b/config.json'), /\/b\/config\.json is not JSON: /)
  assert.throws(() => loadBundle('/no/such'), {
    message: '/no/such/config.json does not exist: is /no/such a bundle?',
  })
})

test('bundle: a process and resources are checked alone, too', () => {
  assert.deepEqual(parseProcess('{"cwd":"/","args":["a"]}', 'p'), { cwd: '/', args: ['a'] })
  assert.throws(() => parseProcess('{"args":["a"]}', 'p'), { message: 'p: cwd is missing' })
  assert.throws(() => parseResources('{"pids":{}}', 'r'), { message: 'r: pids.limit is missing' })
})
