import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSystemdPath, slicePath } from './systemd-path.ts'

test('systemd path: slice, prefix and name make a scope below its slices', () => {
  assert.deepEqual(parseSystemdPath('a-b.slice:docker:c1', 'c1'), {
    unit: 'docker-c1.scope',
    slice: 'a-b.slice',
  })
  assert.deepEqual(parseSystemdPath('::c1', 'c1'), { unit: 'c1.scope', slice: 'system.slice' })
  assert.deepEqual(parseSystemdPath(undefined, 'c1'), { unit: 'caisson-c1.scope', slice: 'system.slice' })
  assert.equal(slicePath('a-b.slice'), '/a.slice/a-b.slice')
  assert.equal(slicePath('-.slice'), '')
})

test('systemd path: none leads out of its slice', () => {
  for (const path of [
    's.slice:docker:../../c1',
    's.slice:../..:c1',
    's.slice:a/b:c',
    's.slice:a:b:c',
    '/a/b',
    'a:b:',
  ]) {
    assert.throws(() => parseSystemdPath(path, 'c1'), /linux\.cgroupsPath/, path)
  }
  for (const slice of ['../x.slice', 'a/b.slice', 'a', 'a--b.slice', '-a.slice']) {
    assert.throws(() => slicePath(slice), /no name of a slice/, slice)
  }
})
