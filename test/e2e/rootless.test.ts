/** Containers of the root of a user namespace, as rootless Docker and podman start them: without a right on the host. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chownSync, globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { caisson, OciWorld } from './oci-bundle.ts'

const world = new OciWorld()
after(() => world.end())

/** Some ordinary user's number; his own where the tests are an ordinary user's. */
const USER = 12345

test('rootless: run gives output and status, and the files stay the user’s', () => {
  const bundle = world.bundle({
    args: ['sh', '-c', 'id -u; echo made > /data/file; exit 7'],
    mounts: [{ destination: '/data', type: 'bind', source: world.directory, options: ['bind'] }],
  })
  const asUser =
    process.getuid!() === 0 ? ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups'] : []
  if (process.getuid!() === 0) {
    for (const path of globSync(join(world.directory, '**'))) chownSync(path, USER, USER)
    chownSync(world.directory, USER, USER)
  }
  const words = [...asUser, 'unshare', '-r', '-m', caisson, '--root', join(world.directory, 'r'), 'run']
  const { status, stdout, stderr } = spawnSync(words[0], [...words.slice(1), '--bundle', bundle, 'one'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
    timeout: 30_000,
  })
  assert.equal(stdout.split('\n')[0], '0', stderr)
  assert.equal(status, 7)
  const file = join(world.directory, 'file')
  assert.equal(readFileSync(file, 'utf8'), 'made\n')
  assert.equal(statSync(file).uid, process.getuid!() === 0 ? USER : process.getuid!())
  const left = globSync(join(world.directory, 'r/*'))
  assert.deepEqual(left, [])
})
