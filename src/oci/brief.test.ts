import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { briefOf } from './brief.ts'
import { type SavedState, StateStore } from './state.ts'

const V2 = { version: 2, directories: { '': '/cg/c' }, mountpoints: { '': '/cg' }, made: true } as const

function state(change: Partial<SavedState> = {}): SavedState {
  return {
    format: 1,
    ociVersion: '1.2.0',
    id: 'c',
    bundle: '/b',
    rootfs: '/b/rootfs',
    created: '',
    ownerUid: 0,
    annotations: {},
    phase: 'created',
    creator: { pid: 1, startTime: 1 },
    process: { pid: 12, startTime: 345 },
    sandbox: 'c',
    cgroup: V2,
    poststart: [],
    poststop: [],
    ...change,
  }
}

test('brief: tells process and cgroup, and that there is nothing else to remove', () => {
  assert.equal(briefOf(state()), 'process 12 345\nfreezer /cg/c/cgroup.freeze\ncgroup /cg/c\nremovable\n')
})

test('brief: a directory that several controllers of version 1 share is there once', () => {
  const directories = { cpu: '/cg/cpu/c', cpuacct: '/cg/cpu/c', freezer: '/cg/freezer/c' }
  const cgroup = { version: 1, directories, mountpoints: {}, made: true } as const
  assert.equal(
    briefOf(state({ cgroup })),
    'process 12 345\nfreezer /cg/freezer/c/freezer.state\ncgroup /cg/cpu/c\ncgroup /cg/freezer/c\nremovable\n',
  )
})

test('brief: what has more at its end than a cgroup is not removed by the launcher', () => {
  const hook = { path: '/bin/true' }
  const systemd = { unit: 'c.scope', slice: 's.slice' } as never
  for (const change of [
    { poststop: [hook] },
    { networkPath: '/run/netns/n' },
    { cgroup: { ...V2, systemd } },
    { cgroup: { ...V2, made: undefined } },
  ]) {
    assert.equal(briefOf(state(change))?.includes('removable'), false, JSON.stringify(change))
  }
})

test('brief: there is none of a container in the sandbox of another, nor of one with a path of two lines', () => {
  assert.equal(briefOf(state({ sandbox: 'pod' })), undefined)
  assert.equal(briefOf(state({ process: undefined })), undefined)
  assert.equal(briefOf(state({ cgroup: { ...V2, directories: { '': '/cg/a\nremovable' } } })), undefined)
})

test('brief: the launcher takes the ids that the runtime takes', () => {
  const source = (name: string) =>
    readFileSync(join(import.meta.dirname, '../../native/launcher', name), 'utf8')
  const [, letters] = /letters\[\] = "([^"]+)"/.exec(source('brief.c'))!
  const longest = Number(/MAX_CONTAINER_ID = (\d+)/.exec(source('launcher.h'))![1])
  const store = new StateStore('/root', undefined as never)
  const takes = (id: string) => {
    try {
      return store.directory(id) !== ''
    } catch {
      return false
    }
  }
  for (let code = 1; code < 128; code++) {
    const letter = String.fromCharCode(code)
    assert.equal(letters.includes(letter), takes(`a${letter}`), JSON.stringify(letter))
  }
  assert.deepEqual([takes('a'.repeat(longest)), takes('a'.repeat(longest + 1))], [true, false])
})
