/** Volumes that the host changes while a sandbox uses them: what is inside sees it at once, and locks hold on both sides. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { PythonGuest, NO_PYTHON as SKIP } from './python-guest.ts'

const LIMIT_MS = 60_000
let volume = ''

before(() => {
  volume = fs.mkdtempSync(join(tmpdir(), 'caisson-volume-'))
})
after(() => fs.rmSync(volume, { recursive: true }))

async function guestHere(): Promise<PythonGuest> {
  const guest = new PythonGuest('--rw', volume)
  await guest.ask(`os.chdir(${JSON.stringify(volume)})`)
  return guest
}

test('volumes: names and attributes that the host changes are seen at once', {
  skip: SKIP,
  timeout: LIMIT_MS,
}, async () => {
  fs.mkdirSync(join(volume, 'd'))
  fs.writeFileSync(join(volume, 'd/f'), '1')
  const guest = await guestHere()
  const content = 'open("d/f").read()'
  // Often enough to be known by heart.
  for (let i = 0; i < 20; i++) {
    assert.equal(await guest.ask('os.path.exists("d/later")'), false)
    assert.equal(await guest.ask(content), '1')
    assert.equal(await guest.ask('os.stat("d/f").st_size'), 1)
  }
  for (let i = 0; i < 20; i++) {
    const text = 'x'.repeat(i + 2)
    fs.writeFileSync(join(volume, 'd/f'), text)
    assert.equal(await guest.ask('os.stat("d/f").st_size'), i + 2)
    fs.writeFileSync(join(volume, 'new'), `${text}!`)
    fs.renameSync(join(volume, 'new'), join(volume, 'd/f'))
    assert.equal(await guest.ask(content), `${text}!`)
    fs.writeFileSync(join(volume, 'd/later'), '')
    assert.equal(await guest.ask('os.path.exists("d/later")'), true)
    assert.deepEqual(await guest.ask('sorted(os.listdir("d"))'), ['f', 'later'])
    fs.unlinkSync(join(volume, 'd/later'))
    assert.equal(await guest.ask('os.path.exists("d/later")'), false)
    fs.chmodSync(join(volume, 'd/f'), 0o600 + i)
    assert.equal(await guest.ask('os.stat("d/f").st_mode & 0o777'), 0o600 + i)
  }
  await guest.end()
})

test('volumes: what a guest maps is what the host reads, and the other way', {
  skip: SKIP,
  timeout: LIMIT_MS,
}, async () => {
  fs.writeFileSync(join(volume, 'mapped'), Buffer.alloc(8192))
  const guest = await guestHere()
  await guest.ask('import mmap; file = open("mapped", "r+b"); memory = mmap.mmap(file.fileno(), 8192)')
  await guest.ask('memory[100:105] = b"guest"')
  assert.equal(fs.readFileSync(join(volume, 'mapped')).toString('latin1', 100, 105), 'guest')
  const fd = fs.openSync(join(volume, 'mapped'), 'r+')
  fs.writeSync(fd, 'host', 5000)
  fs.closeSync(fd)
  assert.equal(await guest.ask('memory[5000:5004].decode()'), 'host')
  await guest.end()
})

test('volumes: inotify inside hears of changes from outside, once each', {
  skip: SKIP,
  timeout: LIMIT_MS,
}, async () => {
  fs.mkdirSync(join(volume, 'watched'))
  const guest = await guestHere()
  await guest.ask('fd = libc.inotify_init1(os.O_NONBLOCK)')
  assert.equal(await guest.ask('libc.inotify_add_watch(fd, b"watched", 0x3ca) > 0'), true)
  await guest.ask(
    String.raw`exec("def events():\n  out = []\n  select.select([fd], [], [], 10)\n  data = os.read(fd, 65536)\n  at = 0\n  while at < len(data):\n    wd, mask, cookie, size = struct.unpack_from('iIII', data, at)\n    out.append('%x %s' % (mask, data[at + 16:at + 16 + size].rstrip(b'\\0').decode()))\n    at += 16 + size\n  return out")`,
  )
  fs.writeFileSync(join(volume, 'watched/a'), 'x')
  const heard: string[] = []
  while (!heard.includes('8 a')) heard.push(...((await guest.ask('events()')) as string[]))
  assert.deepEqual(heard, ['100 a', '2 a', '8 a'])
  // While the guest sleeps in the call.
  const answer = guest.ask('events()')
  fs.renameSync(join(volume, 'watched/a'), join(volume, 'watched/b'))
  const moved = (await answer) as string[]
  while (moved.length < 2) moved.push(...((await guest.ask('events()')) as string[]))
  assert.deepEqual(moved, ['40 a', '80 b'])
  await guest.ask('open("watched/own", "w").write("x")')
  await guest.ask('os.unlink("watched/own")')
  assert.deepEqual(await guest.ask('events()'), ['100 own', '2 own', '8 own', '200 own'])
  fs.unlinkSync(join(volume, 'watched/b'))
  assert.deepEqual(await guest.ask('events()'), ['200 b'])
  await guest.end()
})

test('volumes: locks hold between sandboxes, and with the host', {
  skip: SKIP,
  timeout: LIMIT_MS,
}, async () => {
  fs.writeFileSync(join(volume, 'lock'), 'x')
  const [a, b] = [await guestHere(), await guestHere()]
  for (const guest of [a, b]) await guest.ask('f = open("lock", "r+")')
  const take = (how: string) => `fcntl.lockf(f, fcntl.${how} | fcntl.LOCK_NB)`
  assert.equal(await a.ask(take('LOCK_EX')), null)
  assert.equal(await b.ask(take('LOCK_SH')), 'errno 11')
  const host = (code: string) =>
    spawnSync('python3', ['-c', `import fcntl\nf = open("lock", "r+")\n${code}`], { cwd: volume }).status
  assert.equal(host(take('LOCK_SH')), 1)
  const waits = b.ask('fcntl.lockf(f, fcntl.LOCK_EX)')
  await a.ask('fcntl.lockf(f, fcntl.LOCK_UN)')
  assert.equal(await waits, null)
  assert.equal(await a.ask(take('LOCK_SH')), 'errno 11')
  await b.ask('f.close()')
  assert.equal(host(take('LOCK_EX')), 0)

  assert.equal(await a.ask('fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)'), null)
  await b.ask('f = open("lock")')
  assert.equal(await b.ask('fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)'), 'errno 11')
  assert.equal(host('fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)'), 1)
  await a.end()
  assert.equal(await b.ask('fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)'), null)
  await b.end()
})

test('volumes: an SQLite database in WAL mode is written by two sandboxes and the host', {
  skip: SKIP,
  timeout: LIMIT_MS,
}, async () => {
  const guests = [await guestHere(), await guestHere()]
  const connect = 'db = sqlite3.connect("base.db", timeout=30, isolation_level=None)'
  await guests[0].ask(connect)
  assert.deepEqual(await guests[0].ask('db.execute("pragma journal_mode=wal").fetchall()'), [['wal']])
  await guests[0].ask('db.execute("create table t(who text, i integer)") and None')
  await guests[1].ask(connect)
  const loop = (who: string) =>
    `[db.execute("insert into t values(?, ?)", ("${who}", i)) and None for i in range(150)] and None`
  const host = spawn('python3', ['-c', `import sqlite3\n${connect}\n${loop('host')}`], { cwd: volume })
  const ended = new Promise(resolve => host.once('close', resolve))
  const answers = await Promise.all(guests.map((guest, i) => guest.ask(loop(`guest ${i}`))))
  assert.equal(await ended, 0)
  assert.deepEqual(answers, [null, null])
  const count = 'db.execute("select who, count(*), sum(i) from t group by who order by who").fetchall()'
  const expected = ['guest 0', 'guest 1', 'host'].map(who => [who, 150, 11175])
  for (const guest of guests) assert.deepEqual(await guest.ask(count), expected)
  assert.deepEqual(await guests[1].ask('db.execute("pragma integrity_check").fetchall()'), [['ok']])
  for (const guest of guests) await guest.end()
})
