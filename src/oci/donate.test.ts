import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MNT_DETACH } from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { type Addon, loadAddon } from '../platform/addon.ts'
import { openTrees } from './donate.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-donate-'))
after(() => rmSync(dir, { recursive: true }))
const skip = process.geteuid!() === 0 ? false : 'only root can clone mounts'

const treeOf = (source: string, recursive = true) => ({
  source,
  recursive,
  readOnly: true,
  field: 'mounts[0].source',
})

test('donate: a tree has the files of its source, and none of the host’s pseudo file systems', {
  skip,
}, () => {
  writeFileSync(join(dir, 'file'), '')
  const fds = openTrees(addon, [treeOf(dir), treeOf('/')])
  assert.deepEqual(readdirSync(`/proc/self/fd/${fds[0]}`), ['file'])
  assert.ok(existsSync(`/proc/self/fd/${fds[1]}/usr`))
  assert.equal(existsSync(`/proc/self/fd/${fds[1]}/proc/self`), false)
  for (const fd of fds) addon.close(fd)
})

test('donate: what was looked at may be a window into the kernel by now, and is refused then', {
  skip,
}, () => {
  const link = join(dir, 'link')
  symlinkSync('/proc', link)
  for (const source of [link, '/proc/self/fd', '/sys/kernel']) {
    for (const recursive of [true, false]) {
      assert.throws(
        () => openTrees(addon, [treeOf(source, recursive)]),
        /belongs to the (proc|sysfs) of the host/,
      )
    }
  }
})

test('donate: nothing is taken away from a tree as long as the host could lose it with that', {
  skip,
}, () => {
  const calls: number[] = []
  // As in a chroot, whose root is no mount.
  const chrooted: Addon = Object.create(addon, {
    syscall: {
      value(nr: number, ...args: (number | string | Uint8Array)[]) {
        calls.push(nr)
        return nr === NR.mount ? -EINVAL : addon.syscall(nr, ...args)
      },
    },
  })
  assert.throws(() => openTrees(chrooted, [treeOf('/')]), /making its mounts private: invalid argument/)
  assert.equal(calls.includes(NR.umount2), false)
  assert.ok(existsSync('/proc/self'))
})

test('donate: a link that is put in the way between two looks at the source leads nowhere', { skip }, () => {
  const volume = join(dir, 'volume')
  const source = join(volume, 'data')
  mkdirSync(source, { recursive: true })
  // That of a tree with pseudo file systems below, which is looked for twice.
  const proc = join(source, 'proc')
  mkdirSync(proc)
  const mounted = addon.syscall(NR.mount, 'proc', proc, 'proc', 0, 0)
  assert.equal(mounted, 0)
  try {
    const racing: Addon = Object.create(addon, {
      readlinkat: {
        value(dirfd: number, path: string) {
          const found = addon.readlinkat(dirfd, path)
          addon.syscall(NR.rename, source, join(volume, 'moved'))
          symlinkSync('/', source)
          return found
        },
      },
    })
    assert.throws(() => openTrees(racing, [treeOf(source)]), /too many symbolic links|no such file/)
  } finally {
    addon.syscall(NR.umount2, join(volume, 'moved/proc'), MNT_DETACH)
  }
})
