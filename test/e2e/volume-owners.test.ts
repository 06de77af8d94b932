/** Who owns what in the volumes of a container: id-mapped mounts, and device nodes that are made there. */
import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { OciWorld } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'owners of files are changed by root alone'
const world = new OciWorld()
after(() => world.end())

const MAPPINGS = [{ containerID: 0, hostID: 100000, size: 65536 }]
const CAPABILITIES = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_MKNOD']
const capabilities = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES }

function volume(name: string): string {
  const path = join(world.directory, name)
  mkdirSync(path)
  chmodSync(path, 0o777)
  return path
}

function ownerOf(path: string): string {
  const { uid, gid } = statSync(path)
  return `${uid}:${gid}`
}

test('volumes: idmap shows owners inside of the container as they are outside', { skip: needsRoot }, () =>
  world.cleanly(() => {
    const source = volume('mapped')
    for (const [name, id] of [
      ['root', 0],
      ['user', 1000],
    ] as const) {
      writeFileSync(join(source, name), '')
      chownSync(join(source, name), id, id)
    }
    const bind = { type: 'bind', source }
    const script = [
      'stat -c "%u:%g %n" /tmp/mapped/* /tmp/given/root /tmp/plain/root',
      'echo text > /tmp/mapped/root && touch /tmp/mapped/new && chown 7:8 /tmp/mapped/user; touch /tmp/plain/own',
      'stat -c "%u:%g %n" /tmp/mapped/user /tmp/mapped/own',
    ].join('\n')
    const bundle = world.bundle({
      args: ['sh', '-c', script],
      process: { capabilities },
      mounts: [
        { ...bind, destination: '/tmp/mapped', options: ['rbind', 'idmap'] },
        {
          ...bind,
          destination: '/tmp/given',
          uidMappings: MAPPINGS,
          gidMappings: MAPPINGS,
          options: ['bind', 'ro'],
        },
        { ...bind, destination: '/tmp/plain', options: ['rbind'] },
      ],
      linux: {
        namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', 'user'].map(type => ({ type })),
        uidMappings: MAPPINGS,
        gidMappings: MAPPINGS,
      },
    })
    const { status, stdout, stderr } = world.run('run', '--bundle', bundle, 'idmap')
    assert.deepEqual([status, stderr], [0, ''])
    assert.deepEqual(stdout.split('\n'), [
      '0:0 /tmp/mapped/root',
      '1000:1000 /tmp/mapped/user',
      '0:0 /tmp/given/root',
      '65534:65534 /tmp/plain/root',
      '7:8 /tmp/mapped/user',
      '65534:65534 /tmp/mapped/own',
      '',
    ])
    assert.deepEqual(
      ['new', 'user', 'own'].map(name => ownerOf(join(source, name))),
      ['0:0', '7:8', '100000:100000'],
    )
  }),
)

test(
  'volumes: a command and a working directory that are private to who owns them through idmap',
  { skip: needsRoot },
  () =>
    world.cleanly(() => {
      const source = volume('private')
      writeFileSync(join(source, 'command'), '#!/bin/sh\npwd\n', { mode: 0o700 })
      mkdirSync(join(source, 'directory'), 0o700)
      const bundle = world.bundle({
        args: ['/tmp/private/command'],
        process: { capabilities: {}, cwd: '/tmp/private/directory' },
        mounts: [{ type: 'bind', source, destination: '/tmp/private', options: ['rbind', 'idmap'] }],
        linux: {
          namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', 'user'].map(type => ({ type })),
          uidMappings: MAPPINGS,
          gidMappings: MAPPINGS,
        },
      })
      const { status, stdout, stderr } = world.run('run', '--bundle', bundle, 'private')
      assert.deepEqual([status, stdout, stderr], [0, '/tmp/private/directory\n', ''])
    }),
)

test('volumes: device nodes can be made, and are there for the next container', { skip: needsRoot }, () =>
  world.cleanly(() => {
    const source = volume('devices')
    const mounts = [{ type: 'bind', source, destination: '/volume', options: ['rbind', 'dev'] }]
    const make =
      'mknod -m 666 /volume/zero c 1 5 && mknod /volume/d b 8 1 && chmod 640 /volume/d && ' +
      'mkdir /volume/moved && mv /volume/d /volume/moved/disk'
    const look =
      'cd /volume; find . -type c; find . -type b; find . -type f; mv moved/disk .; rmdir moved; stat -c "%F %a %t:%T %n" /volume/*; head -c 3 /volume/zero | wc -c; echo x > /volume/disk'
    const first = world.bundle({ args: ['sh', '-c', make], process: { capabilities }, mounts })
    const made = world.run('run', '--bundle', first, 'mknod1')
    assert.deepEqual([made.status, made.stderr], [0, ''])
    assert.ok(statSync(join(source, 'zero')).isFile(), 'to the host it is an empty file')
    const second = world.bundle({ args: ['sh', '-c', look], process: { capabilities }, mounts })
    const { stdout, stderr } = world.run('run', '--bundle', second, 'mknod2')
    assert.equal(
      stdout,
      './zero\n./moved/disk\nblock special file 640 8:1 /volume/disk\ncharacter special file 666 1:5 /volume/zero\n3\n',
    )
    assert.match(stderr, /Operation not permitted/)
  }),
)
