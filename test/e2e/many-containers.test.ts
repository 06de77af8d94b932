/** Many containers at once, and many who want the same one. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { assertSentence, OciWorld, type Outcome } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'containers are made by root alone'
const world = new OciWorld()
after(() => world.end())
const SLEEPER = ['sleep', '1000']
const LIMIT_MS = 240_000

function together(name: string, body: () => Promise<void> | void): void {
  test(`many containers: ${name}`, { skip: needsRoot, timeout: LIMIT_MS }, () => world.cleanly(body))
}

together('of many who create one id at once one does, and the others leave it alone', async () => {
  const creations = Array.from({ length: 6 }, () =>
    world.beside('create', '-b', world.bundle({ args: SLEEPER }), 'one'),
  )
  const outcomes = await Promise.all(creations)
  assert.equal(outcomes.filter(({ status }) => status === 0).length, 1)
  for (const outcome of outcomes.filter(({ status }) => status !== 0)) {
    assertSentence(outcome, /container with given ID already exists/)
  }
  world.ok('start', 'one')
  assert.equal(world.state('one').status, 'running')
  world.ok('delete', '--force', 'one')
})

together('an id is made and deleted by several at once, and each succeeds or says why', async () => {
  const bundle = world.bundle({ args: ['true'] })
  const outcomes = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const all: Outcome[] = []
      for (let round = 0; round < 3; round++) {
        all.push(
          await world.beside('create', '-b', bundle, 'hot'),
          await world.beside('delete', '--force', 'hot'),
        )
      }
      return all
    }),
  )
  for (const outcome of outcomes.flat().filter(({ status }) => status !== 0)) {
    assertSentence(
      outcome,
      /already exists|is busy|does not exist|is not running|ended while it started|killed/,
    )
  }
  world.ok('delete', '--force', 'hot')
})

together('fifty at once are started, exec’d in and removed', async () => {
  const ids = Array.from({ length: 50 }, (_, i) => `m${i}`)
  const step = async (what: string, ...words: ((id: string) => string)[]) => {
    const start = performance.now()
    const outcomes = await Promise.all(ids.map(id => world.beside(what, ...words.map(word => word(id)))))
    // One that only ends because somebody's patience does is none of many that wait for a CPU.
    assert.ok(performance.now() - start < 18_000, what)
    const failed = outcomes.filter(({ status }) => status !== 0)
    assert.deepEqual(failed, [], what)
  }
  const bundles = new Map(ids.map(id => [id, world.bundle({ args: SLEEPER })]))
  await step(
    'create',
    () => '-b',
    id => bundles.get(id)!,
    id => id,
  )
  await step('start', id => id)
  await step(
    'exec',
    id => id,
    () => 'true',
  )
  assert.equal(world.ok('list', '-q').trim().split('\n').length, 50)
  await step(
    'delete',
    () => '--force',
    id => id,
  )
})
