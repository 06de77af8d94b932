import assert from 'node:assert/strict'
import test from 'node:test'
import { O_RDONLY, O_RDWR, S_IFDIR, S_IFLNK, SEEK_END } from '../../abi/constants.ts'
import { EACCES, EINVAL, EIO, ENOENT, EPERM, ESRCH } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import { type Clock, Timespec } from '../../base/clock.ts'
import { Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { File } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import { Mount } from '../../vfs/mount.ts'
import type { Path } from '../../vfs/path.ts'
import { Vfs } from '../../vfs/vfs.ts'
import { lookupChild } from '../../vfs/walk.ts'
import { PseudoInode } from './inode.ts'
import { dir, dynamic, fixed, link, type PseudoDir, ro, rw, strict, wo } from './node.ts'
import { PseudoSuper } from './super.ts'

class Thing {
  value = 'one\n'
  reads = 0
  gone = false
  children = new Map<string, Thing>()
}

const clock: Clock = { monotonic: () => 0, boottime: () => 0, realtime: () => new Timespec(100, 0) }

class ThingFs extends PseudoSuper {
  override readonly fsType = 'things'
  override readonly magic = 1
  override readonly root: PseudoInode

  constructor(thing: Thing) {
    super(7, clock)
    this.root = new PseudoInode(this, dir(files), thing)
  }
  override alive(subject: object): boolean {
    return !(subject as Thing).gone
  }
}

const childDirectory = dir<Thing>({ value: ro(thing => thing.value) })
const files: PseudoDir<Thing> = {
  value: rw(
    thing => {
      thing.reads++
      return thing.value
    },
    (thing, text) => {
      if (text === 'bad') return -EINVAL
      thing.value = text
      return 0
    },
  ),
  constant: fixed('always'),
  denied: ro(() => -EPERM),
  sink: wo(() => 0),
  where: link(() => 'value'),
  ...strict<Thing>({ setting: fixed('1') }),
  children: dynamic<Thing>({
    find: (thing, name) => {
      const child = thing.children.get(name)
      return child === undefined ? undefined : { subject: child, node: childDirectory }
    },
    list: thing =>
      [...thing.children.keys()]
        .map(name => [Number(name), name] as [number, string])
        .sort((a, b) => a[0] - b[0]),
  }),
}

const cred = new Credentials(new UserNamespace(undefined, 0, 0, 1))

function setUp() {
  const thing = new Thing()
  const fs = new ThingFs(thing)
  const mount = new Mount(new Vfs(clock), fs)
  const walk = (...names: string[]): Path => {
    let dentry = mount.root
    for (const name of names) dentry = lookupChild(dentry, name) as typeof dentry
    return { mount, dentry }
  }
  const open = (...names: string[]): File => {
    const path = walk(...names)
    return path.dentry.inode!.open(path, O_RDWR, cred) as File
  }
  return { thing, fs, walk, open }
}

function read(file: File, size = 100): string | number {
  const dst = new BufferDst(new Uint8Array(size))
  const n = file.read(dst)
  return n < 0 ? n : fromBytes(dst.bytes, 0, n)
}
function write(file: File, text: string): number {
  return file.write(new BufferSrc(toBytes(text)))
}
function names(inode: Inode, cursor = 0): string[] {
  const found: string[] = []
  inode.readdir(cursor, name => found.push(name) > 0)
  return found
}

test('pseudo file: the text is made once and read in pieces', () => {
  const { thing, open } = setUp()
  const file = open('value')
  assert.equal(read(file, 2), 'on')
  thing.value = 'two\n'
  assert.equal(read(file), 'e\n')
  assert.equal(read(file), '')
  assert.equal(thing.reads, 1)
})

test('pseudo file: reading from the start again makes it anew', () => {
  const { thing, open } = setUp()
  const file = open('value')
  read(file)
  thing.value = 'two\n'
  assert.equal(file.seek(0, 0), 0)
  assert.equal(read(file), 'two\n')
  const dst = new BufferDst(new Uint8Array(3))
  assert.equal(file.readAt(dst, 1), 3)
  assert.equal(fromBytes(dst.bytes), 'wo\n')
  assert.equal(file.seek(0, SEEK_END), -EINVAL)
})

test('pseudo file: a write is one call, and may be refused', () => {
  const { thing, open } = setUp()
  assert.equal(write(open('value'), 'new'), 3)
  assert.equal(thing.value, 'new')
  assert.equal(write(open('value'), 'bad'), -EINVAL)
  assert.equal(write(open('constant'), 'x'), -EIO)
  assert.equal(read(open('sink')), -EIO)
  assert.equal(read(open('denied')), -EPERM)
})

test('pseudo file: when its subject is gone it reads as ESRCH', () => {
  const { thing, open } = setUp()
  const file = open('value')
  thing.gone = true
  assert.equal(read(file), -ESRCH)
})

test('pseudo tree: inode numbers stay while the subject lives', () => {
  const { thing, walk } = setUp()
  thing.children.set('5', new Thing())
  const ino = walk('children', '5').dentry.inode!.ino
  assert.equal(walk('children', '5').dentry.inode!.ino, ino)
  thing.children.set('5', new Thing())
  assert.notEqual(walk('children', '5').dentry.inode!.ino, ino)
})

test('pseudo tree: entries that appear after a failed lookup are found', () => {
  const { thing, walk } = setUp()
  assert.equal(walk('children', '5').dentry.inode, undefined)
  thing.children.set('5', new Thing())
  assert.notEqual(walk('children', '5').dentry.inode, undefined)
  thing.children.delete('5')
  assert.equal(walk('children', '5').dentry.inode, undefined)
})

test('pseudo tree: a directory read in parts reports what stays exactly once', () => {
  const { thing, walk } = setUp()
  for (const name of ['3', '10', '20', '30']) thing.children.set(name, new Thing())
  const inode = walk('children').dentry.inode!
  let cursor = 0
  const first: string[] = []
  inode.readdir(0, (name, _ino, _type, next) => {
    if (first.length === 2) return false
    first.push(name)
    cursor = next
    return true
  })
  thing.children.delete('3')
  thing.children.delete('10')
  assert.deepEqual([...first, ...names(inode, cursor)], ['3', '10', '20', '30'])
})

test('pseudo tree: types, modes and link counts', () => {
  const { fs, walk } = setUp()
  assert.equal(fs.root.nlink, 3)
  assert.equal(walk('children').dentry.inode!.mode, S_IFDIR | 0o555)
  assert.equal(walk('where').dentry.inode!.mode, S_IFLNK | 0o777)
  assert.equal(walk('where').dentry.inode!.readlink(), 'value')
  assert.deepEqual(names(fs.root), Object.keys(files))
})

test('pseudo tree: nothing can be made, and strict modes bind root', () => {
  const { fs, walk } = setUp()
  assert.equal(fs.root.create(), -EACCES)
  assert.equal(fs.root.mkdir('new', 0o755, cred), -EPERM)
  assert.equal(fs.root.lookup('nothing'), -ENOENT)
  const setting = walk('setting').dentry.inode!
  assert.equal(setting.permission(cred, 2), -EACCES)
  assert.equal(setting.permission(cred, 4), 0)
  assert.equal(walk('constant').dentry.inode!.permission(cred, 2), undefined)
  assert.equal(typeof walk('constant').dentry.inode!.open(walk('constant'), O_RDONLY, cred), 'object')
})
