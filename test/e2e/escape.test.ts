/**
 * What a hostile guest tries with what it was given: mounts and volumes, its own /proc, process numbers, devices. Each test
 * looks at the host afterwards: nothing has changed, and nothing has leaked. (Calls by number, from guest text and from
 * the stub's own, are test/guest/scan's.)
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { NO_PYTHON, PythonGuest } from './python-guest.ts'

const OPTIONS = { skip: NO_PYTHON, timeout: 60_000 }
const isRoot = process.getuid!() === 0
/** errno */
const [EPERM, ESRCH, EACCES, EXDEV, EROFS, ENXIO] = [1, 3, 13, 18, 30, 6].map(errno => `errno ${errno}`)

/** Holds `volume`, which the guest may write, `readonly`, which it may read, and `outside`, of which it was given nothing. */
let top = ''
const at = (name: string): string => join(top, name)
beforeEach(() => {
  top = fs.mkdtempSync(join(tmpdir(), 'caisson-escape-'))
  for (const name of ['volume', 'readonly', 'outside']) fs.mkdirSync(at(name))
  fs.writeFileSync(at('outside/victim'), 'untouched')
  fs.writeFileSync(at('readonly/file'), 'untouched')
})
afterEach(async () => {
  for (const guest of guests.splice(0)) await guest.end()
  assert.equal(fs.readFileSync(at('outside/victim'), 'latin1'), 'untouched')
  assert.deepEqual(fs.readdirSync(at('outside')), ['victim'])
  assert.equal(fs.readFileSync(at('readonly/file'), 'latin1'), 'untouched')
  assert.deepEqual(fs.readdirSync(at('readonly')), ['file'])
  fs.rmSync(top, { recursive: true })
})

const guests: PythonGuest[] = []

async function guestWith(...flags: string[]): Promise<PythonGuest> {
  const guest = new PythonGuest(
    '--rw',
    at('volume'),
    '--volume',
    `${at('readonly')}:${at('readonly')}:ro`,
    ...flags,
  )
  guests.push(guest)
  await guest.ask(`os.chdir(${JSON.stringify(at('volume'))})`)
  await guest.ask('import errno, signal, socket, stat, threading, time')
  // A call by its number: -errno where it fails.
  await guest.ask(
    'exec("def call(*args):\\n  ctypes.set_errno(0)\\n  result = ctypes.CDLL(None, use_errno=True).syscall(*args)\\n  return -ctypes.get_errno() if result < 0 else result")',
  )
  return guest
}
const digest = (path: string): string => createHash('sha256').update(fs.readFileSync(path)).digest('hex')

/** The host processes of a sandbox, without its launcher. */
function processesOf(launcher: number): number[] {
  const all = fs.readdirSync('/proc').filter(name => /^\d+$/.test(name))
  const namespaceOf = (pid: string): string => {
    try {
      return fs.readlinkSync(`/proc/${pid}/ns/pid`)
    } catch {
      return ''
    }
  }
  const children = fs.readFileSync(`/proc/${launcher}/task/${launcher}/children`, 'latin1').trim().split(' ')
  const own = namespaceOf('self')
  const inside = children.map(namespaceOf).filter(namespace => namespace !== '' && namespace !== own)
  return all.filter(pid => inside.includes(namespaceOf(pid))).map(Number)
}

test(
  'escape: a directory that the host swaps for a link while the guest writes below it',
  OPTIONS,
  async () => {
    const guest = await guestWith()
    fs.mkdirSync(at('volume/d'))
    fs.symlinkSync('../outside', at('volume/link'))
    fs.symlinkSync(at('outside'), at('volume/absolute'))
    await guest.ask(
      String.raw`exec("def write():\n  wrote = 0\n  try:\n    f = os.open('d/victim', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n    wrote = os.write(f, b'written')\n    os.close(f)\n    os.chmod('d/victim', 0o777)\n    os.rename('d/victim', 'd/victim2')\n    os.unlink('d/victim2')\n  except OSError:\n    pass\n  return wrote")`,
    )
    let running = true
    const rounds = guest.ask('sum(write() for i in range(3000))').finally(() => {
      running = false
    })
    while (running) {
      for (const link of ['link', 'absolute']) {
        fs.renameSync(at('volume/d'), at('volume/real'))
        fs.renameSync(at(`volume/${link}`), at('volume/d'))
        await new Promise(resolve => setImmediate(resolve))
        fs.renameSync(at('volume/d'), at(`volume/${link}`))
        fs.renameSync(at('volume/real'), at('volume/d'))
      }
    }
    assert.ok(((await rounds) as number) > 0, 'the guest wrote something in between')
    await guest.end()
  },
)

test(
  'escape: a directory that the guest itself swaps for a link while it opens below it',
  OPTIONS,
  async () => {
    const guest = await guestWith()
    await guest.ask(
      'os.mkdir("d"); os.symlink("../outside", "link"); os.symlink("/proc/self/root/../..", "magic")',
    )
    // renameat2 with RENAME_EXCHANGE
    await guest.ask(
      String.raw`exec("def swap():\n  while not done:\n    for name in (b'link', b'magic'):\n      for i in range(2):\n        call(316, -100, b'd', -100, name, 2)")`,
    )
    await guest.ask('done = False; thread = threading.Thread(target=swap); thread.start()')
    await guest.ask(
      String.raw`exec("for i in range(2000):\n  for path in ('d/victim', 'd/../../outside/victim', 'd/../outside/victim'):\n    try:\n      f = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n      os.write(f, b'written')\n      os.close(f)\n    except OSError:\n      pass")`,
    )
    await guest.ask('done = True; thread.join()')
    await guest.end()
  },
)

test('escape: what is given read-only stays so by every way', OPTIONS, async () => {
  const guest = await guestWith()
  const file = JSON.stringify(at('readonly/file'))
  await guest.ask(`file = os.open(${file}, os.O_RDONLY); path = os.open(${file}, os.O_PATH)`)
  for (const attempt of [
    `os.open(${file}, os.O_WRONLY)`,
    `os.open(${file}, os.O_RDONLY | os.O_TRUNC)`,
    'os.open("/proc/self/fd/%d" % file, os.O_RDWR)',
    'os.open("/proc/self/fd/%d" % path, os.O_WRONLY)',
    'os.truncate("/proc/self/fd/%d" % file, 0)',
    'os.chmod("/proc/self/fd/%d" % path, 0o777)',
    'os.utime("/proc/self/fd/%d" % path, (0, 0))',
    'os.chown("/proc/self/fd/%d" % path, 0, 0)',
    `os.setxattr(${file}, "user.x", b"1")`,
    `os.unlink(${file})`,
    `os.mkdir(os.path.dirname(${file}) + "/made")`,
    `os.rename(${file}, ${file} + "2")`,
    `os.link(${file}, ${file} + "2")`,
  ])
    assert.equal(await guest.ask(attempt), EROFS, attempt)
  // AT_EMPTY_PATH: fchmodat2, fchownat, utimensat.
  for (const attempt of [
    '452, path, b"", 0o777, 0x1000',
    '260, path, b"", 0, 0, 0x1000',
    '280, path, b"", None, 0x1000',
  ])
    assert.equal(await guest.ask(`call(${attempt})`), -30, attempt)
  assert.equal(await guest.ask('import mmap'), null)
  assert.equal(await guest.ask('mmap.mmap(file, 9, mmap.MAP_SHARED) and None'), EACCES)
  assert.equal(fs.statSync(at('readonly/file')).mode & 0o777, 0o644)
  await guest.end()
})

test('escape: no name outside of a volume for what is in it, and the other way round', OPTIONS, async () => {
  const guest = await guestWith()
  const file = JSON.stringify(at('readonly/file'))
  await guest.ask('open("own", "w").write("x"); own = os.open("own", os.O_PATH)')
  for (const attempt of [
    `os.link(${file}, "here")`,
    'os.link("/etc/passwd", "here")',
    `os.rename("own", os.path.dirname(${file}) + "/own")`,
    'os.rename("own", "/tmp/own")',
    'os.link("own", "/tmp/own")',
  ])
    assert.equal(await guest.ask(attempt), EXDEV, attempt)
  // linkat with AT_EMPTY_PATH, and by the magic link.
  await guest.ask(`outside = os.open(${file}, os.O_PATH)`)
  assert.equal(await guest.ask('call(265, outside, b"", -100, b"here", 0x1000)'), -18)
  assert.equal(await guest.ask('call(265, -100, b"/proc/self/fd/%d" % outside, -100, b"here", 0x400)'), -18)
  // open_by_handle_at
  assert.equal(await guest.ask('call(304, own, b"\\x08\\0\\0\\0\\x01\\0\\0\\0" + bytes(8), 0) < 0'), true)
  assert.deepEqual(fs.readdirSync(at('volume')), ['own'])
  await guest.end()
})

test('escape: links of the volume lead inside the guest, also those of /proc', OPTIONS, async () => {
  fs.symlinkSync('/proc/self/root/etc', at('volume/root'))
  fs.symlinkSync('/proc/1/root', at('volume/init'))
  fs.symlinkSync('/fd', at('volume/fds'))
  fs.symlinkSync('/mount0', at('volume/mounts'))
  fs.symlinkSync(`${'../'.repeat(40)}mount0`, at('volume/up'))
  const guest = await guestWith()
  assert.equal(await guest.ask('os.listdir("root") == os.listdir("/etc")'), true)
  assert.equal(await guest.ask('os.stat("init").st_ino == os.stat("/").st_ino'), true)
  // What the host's kernel would find from the sentry.
  for (const name of ['fds', 'mounts', 'up'])
    assert.equal(await guest.ask(`os.listdir("${name}")`), 'errno 2', name)
  const programs =
    'any("node" in os.readlink("/proc/%s/exe" % p) for p in os.listdir("/proc") if p.isdigit())'
  assert.equal(await guest.ask(programs), false)
  await guest.end()
})

test('escape: programs of the host and of caisson can be changed by no name of theirs', OPTIONS, async () => {
  const package_ = join(import.meta.dirname, '../..')
  const programs = [
    '/bin/sh',
    process.execPath,
    join(package_, 'native/build/caisson'),
    join(package_, 'native/build/zygote'),
  ]
  const before = programs.map(digest)
  const guest = await guestWith()
  // In use, or not this user's to write.
  const refused = process.getuid!() === 0 ? 'errno 26' : 'errno 13'
  assert.equal(await guest.ask('os.open("/proc/self/exe", os.O_WRONLY)'), refused)
  await guest.ask('copy = os.open("/proc/self/exe", os.O_RDONLY)')
  assert.equal(await guest.ask('os.open("/proc/self/fd/%d" % copy, os.O_RDWR)'), refused)
  for (const program of programs) {
    const name = JSON.stringify(program)
    await guest.ask(
      `exec("try:\\n  f = os.open('${program}', os.O_WRONLY | os.O_TRUNC)\\n  os.write(f, b'#!/bin/false')\\n  os.close(f)\\nexcept OSError: pass")`,
    )
    await guest.ask(`os.chmod(${name}, 0o6777)`)
    await guest.ask(`os.replace(${name}, ${name} + ".gone")`)
  }
  await guest.end()
  assert.deepEqual(programs.map(digest), before)
  for (const program of programs) assert.equal(fs.statSync(program).mode & 0o6022, 0)
})

test(
  'escape: a guest process holds no descriptor of the host but its socket and the doorbell',
  OPTIONS,
  async () => {
    fs.writeFileSync(at('volume/open'), 'x'.repeat(300_000))
    const guest = await guestWith()
    // Large reads and writes, mappings, a fork, a thread, a program.
    await guest.ask('f = open("open", "r+b"); f.read(); f.write(b"y" * 300000); f.flush()')
    await guest.ask('import mmap; m = mmap.mmap(f.fileno(), 300000); m[0] = 1')
    await guest.ask('t = threading.Thread(target=time.sleep, args=(20,), daemon=True); t.start()')
    await guest.ask(
      'import subprocess; p = subprocess.Popen(["sleep", "20"]); c = os.fork() or time.sleep(20)',
    )
    const stubs = processesOf(guest.pid).filter(pid => {
      const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
      // Neither the sentry nor the zygote, which are the first two.
      return Number(/^NSpid:.*\t(\d+)$/m.exec(status)?.[1]) > 2
    })
    assert.ok(stubs.length >= 3, `${stubs.length} guest processes`)
    for (const pid of stubs) {
      const open = fs.readdirSync(`/proc/${pid}/fd`).map(fd => fs.readlinkSync(`/proc/${pid}/fd/${fd}`))
      for (const target of open) assert.match(target, /^(socket:\[\d+\]|anon_inode:\[eventfd\])$/)
    }
    await guest.ask('p.kill(); os.kill(c, 9)')
    await guest.end()
  },
)

test('escape: process numbers of the host mean nothing inside', OPTIONS, async context => {
  const bystander = spawn('sleep', ['1000'])
  context.after(() => bystander.kill())
  const guest = await guestWith()
  const targets = [bystander.pid!, process.pid, guest.pid, ...processesOf(guest.pid)]
  for (const pid of targets) {
    assert.equal(await guest.ask(`os.kill(${pid}, 9)`), ESRCH)
    assert.equal(await guest.ask(`call(101, 16, ${pid}, 0, 0)`), -3, 'PTRACE_ATTACH')
    assert.equal(await guest.ask(`call(434, ${pid}, 0)`), -3, 'pidfd_open')
    assert.equal(await guest.ask(`os.path.exists("/proc/${pid}")`), false)
    assert.equal(
      ((await guest.ask(`call(311, ${pid}, None, 0, None, 0, 0)`)) as number) < 1,
      true,
      'process_vm_writev',
    )
  }
  // Everybody: that is the guest's own processes, which has none but this one.
  await guest.ask('os.kill(-1, 9)')
  assert.equal(bystander.exitCode, null)
  assert.equal(bystander.signalCode, null)
  await guest.end()
})

test('escape: a device node is the guest’s own, wherever it lies', {
  ...OPTIONS,
  skip: OPTIONS.skip || (!isRoot && 'not root'),
}, async () => {
  // Nodes that were there: /dev/kmsg, the first disk, memory.
  for (const [name, type, major, minor] of [
    ['kmsg', 'c', 1, 11],
    ['mem', 'c', 1, 1],
    ['disk', 'b', 8, 0],
    ['null', 'c', 1, 3],
  ] as const)
    assert.equal(
      spawnSync('mknod', ['-m', '666', at(`volume/${name}`), type, String(major), String(minor)]).status,
      0,
    )
  const guest = await guestWith()
  // What is written to the kernel's log stands in the sandbox's own.
  const word = `escape-${process.pid}`
  assert.equal(await guest.ask(`os.write(os.open("kmsg", os.O_WRONLY), b"${word}")`), word.length)
  assert.ok(!spawnSync('dmesg', { encoding: 'utf8', maxBuffer: 1 << 24 }).stdout.includes(word))
  for (const name of ['mem', 'disk']) {
    const answer = await guest.ask(`os.open("${name}", os.O_RDWR)`)
    assert.ok([ENXIO, EACCES, EPERM].includes(answer as string), `${name}: ${answer}`)
  }
  // And those that it makes.
  for (const device of ['os.makedev(1, 1)', 'os.makedev(8, 0)']) {
    await guest.ask(
      `os.path.lexists("made") and os.unlink("made"); os.mknod("made", 0o600 | stat.S_IFBLK, ${device})`,
    )
    assert.equal(typeof (await guest.ask('os.open("made", os.O_RDWR)')), 'string')
  }
  for (const name of fs.readdirSync(at('volume'))) {
    const { mode } = fs.lstatSync(at(`volume/${name}`))
    if (name === 'made') assert.ok((mode & 0o170000) !== 0o060000, 'no block device on the host')
  }
  await guest.end()
})

test(
  'escape: pipes and sockets that the host has in a volume lead to nobody on the host',
  OPTIONS,
  async () => {
    assert.equal(spawnSync('mkfifo', [at('volume/pipe')]).status, 0)
    const reader = fs.openSync(at('volume/pipe'), fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
    let connections = 0
    const server = createServer(socket => {
      connections++
      socket.destroy()
    })
    await new Promise<void>(resolve => server.listen(at('volume/socket'), resolve))
    const guest = await guestWith()
    assert.equal(await guest.ask('os.open("pipe", os.O_WRONLY | os.O_NONBLOCK)'), ENXIO)
    await guest.ask('f = os.open("pipe", os.O_RDWR | os.O_NONBLOCK); os.write(f, b"data")')
    assert.throws(() => fs.readSync(reader, Buffer.alloc(10)), { code: 'EAGAIN' })
    assert.equal(await guest.ask('socket.socket(socket.AF_UNIX).connect("socket")'), 'errno 111')
    // One that the guest makes has its name on the host, and nobody behind it there.
    await guest.ask('s = socket.socket(socket.AF_UNIX); s.bind("own"); s.listen()')
    assert.ok(fs.lstatSync(at('volume/own')).isSocket())
    assert.equal(
      spawnSync('python3', [
        '-c',
        `import socket; socket.socket(socket.AF_UNIX).connect(${JSON.stringify(at('volume/own'))})`,
      ]).status,
      1,
    )
    assert.equal(connections, 0)
    await guest.end()
    server.close()
    fs.closeSync(reader)
  },
)

test('escape: an ordinary user gains nothing by set-user-ID files of a volume', {
  ...OPTIONS,
  skip: OPTIONS.skip || (!isRoot && 'not root'),
}, async () => {
  fs.chmodSync(top, 0o755)
  fs.chmodSync(at('volume'), 0o777)
  fs.copyFileSync('/usr/bin/id', at('volume/id'))
  fs.chmodSync(at('volume/id'), 0o4755)
  fs.writeFileSync(at('volume/writable'), 'x')
  fs.chmodSync(at('volume/writable'), 0o6777)
  const guest = await guestWith('--user', '65534:65534')
  await guest.ask('import subprocess')
  assert.equal(await guest.ask('os.getuid()'), 65534)
  // Inside it may be root; to the host it stays what it is.
  await guest.ask('subprocess.run(["./id", "-u"], capture_output=True).stdout.decode()')
  await guest.ask('f = open("writable", "w"); f.write("y"); f.close()')
  assert.equal(
    fs.statSync(at('volume/writable')).mode & 0o6000,
    0,
    'a write by an ordinary user clears the bits',
  )
  await guest.ask('f = open("suid", "w"); f.close(); os.chmod("suid", 0o4755)')
  assert.equal(fs.statSync(at('volume/suid')).uid, 65534, 'a set-user-ID file of his own is not root’s')
  assert.equal(await guest.ask('os.chown("suid", 0, 0)'), EPERM)
  await guest.end()
})

test('escape: cgroups and settings of the kernel are the guest’s own', OPTIONS, async () => {
  const setting = '/proc/sys/kernel/core_pattern'
  const [before, hostname] = [
    fs.readFileSync(setting, 'latin1'),
    fs.readFileSync('/proc/sys/kernel/hostname', 'latin1'),
  ]
  const guest = await guestWith()
  await guest.ask(`open("${setting}", "w").write("|/bin/false")`)
  await guest.ask('open("/proc/sys/kernel/hostname", "w").write("escaped")')
  await guest.ask('open("/proc/sysrq-trigger", "w").write("h")')
  await guest.ask('os.mkdir("/sys/fs/cgroup/escape-test")')
  await guest.ask('open("/sys/fs/cgroup/cgroup.procs", "w").write("1")')
  await guest.ask('socket.sethostname("escaped")')
  await guest.end()
  assert.equal(fs.readFileSync(setting, 'latin1'), before)
  assert.equal(fs.readFileSync('/proc/sys/kernel/hostname', 'latin1'), hostname)
  assert.equal(fs.existsSync('/sys/fs/cgroup/escape-test'), false)
})

test('escape: names of every length and kind are names', OPTIONS, async () => {
  const guest = await guestWith()
  assert.equal(await guest.ask('os.open("a" * 256, os.O_CREAT)'), 'errno 36')
  assert.equal(await guest.ask('os.open("a/" * 2047 + "b", os.O_RDONLY)'), 'errno 2')
  assert.equal(await guest.ask('os.open("a/" * 3000 + "b", os.O_RDONLY)'), 'errno 36')
  assert.equal(await guest.ask('os.open("a" * 5000, os.O_RDONLY)'), 'errno 36')
  assert.equal(await guest.ask('os.symlink("x" * 4096, "long")'), 'errno 36')
  await guest.ask('os.close(os.open(b"\\xff\\xfe \\n", os.O_CREAT | os.O_WRONLY))')
  await guest.ask('os.close(os.open("b" * 255, os.O_CREAT | os.O_WRONLY))')
  // A tree deeper than any path.
  await guest.ask("exec(\"for i in range(3000):\\n  os.mkdir('deep')\\n  os.chdir('deep')\")")
  assert.equal(await guest.ask('os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY))'), null)
  assert.equal(await guest.ask(`os.chdir(${JSON.stringify(at('volume'))})`), null)
  assert.deepEqual(
    fs
      .readdirSync(at('volume'), 'buffer')
      .map(name => name.toString('latin1'))
      .sort(),
    ['b'.repeat(255), 'deep', '\xff\xfe \n'].sort(),
  )
  await guest.end()
  spawnSync('rm', ['-rf', at('volume/deep')])
})
