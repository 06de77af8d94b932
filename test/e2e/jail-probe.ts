/** A sentry that only looks around in its jail; run in place of caisson's program by jail.test.ts. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, RESOLVE_BENEATH } from '../../src/abi/constants.ts'
import { NR } from '../../src/abi/syscall-numbers.ts'
import { loadAddon } from '../../src/platform/addon.ts'
import { LinuxHost } from '../../src/platform/linux-host.ts'
import { Jail } from '../../src/sandbox/jail.ts'

/** process.argv: node, program, 'do', what, writable directory */
const [, , , what, directory] = process.argv
const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const host = new LinuxHost(addon)
const donations = [
  { source: '/', target: '/', readOnly: true },
  { source: directory, target: directory, readOnly: false },
]
const jail = Jail.enterRoot(addon, host, donations, true, false)
jail.dropCapabilities()
const report = { root: readdirSync('/').sort(), ...look(), threads: [] as string[] }
jail.seal(jail.assembleFilter([]))
report.threads = threadStates()

switch (what) {
  case 'look':
    finish(JSON.stringify(report), 0)
    break
  case 'exit':
    finish('', 42)
    break
  case 'socket':
    addon.syscall(NR.socket, 1, 1, 0)
    finish('the call returned', 0)
    break
  case 'wait': {
    host.pwrite(1, Buffer.from('waiting\n'), -1)
    const byte = new Uint8Array(1)
    setInterval(() => {
      if (host.receive(3, byte) === 1) finish(`signal ${byte[0]}`, 0)
    }, 10)
    break
  }
}

function look() {
  const [root, writable] = jail.mounts
  return {
    readsRoot: readAt(root, 'etc/passwd').length > 0,
    pseudo: ['dev', 'proc', 'sys'].map(name => namesIn(root, name)),
    writeToRoot: host.openat2(root, 'tmp/caisson-probe', O_CREAT | O_RDWR, 0o600, RESOLVE_BENEATH),
    writeToWritable: host.openat2(writable, 'made', O_CREAT | O_RDWR, 0o600, RESOLVE_BENEATH) >= 0,
    mount: addon.syscall(NR.mount, 'none', '/', 'tmpfs', 0, 0),
  }
}

/** Capabilities, no_new_privs and seccomp mode of each thread. */
function threadStates(): string[] {
  const tasks = host.openat2(jail.proc, 'self/task', O_RDONLY | O_DIRECTORY, 0, 0)
  const states: string[] = []
  for (let tid = 1; tid < 64; tid++) {
    const status = readAt(tasks, `${tid}/status`)
    if (status === '') continue
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1]
    states.push(['CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'NoNewPrivs', 'Seccomp'].map(field).join(' '))
  }
  return states
}

function readAt(dirfd: number, path: string): string {
  const fd = host.openat2(dirfd, path, O_RDONLY, 0, 0)
  if (fd < 0) return ''
  const bytes = new Uint8Array(4096)
  const length = host.pread(fd, bytes, 0)
  host.close(fd)
  return Buffer.from(bytes.subarray(0, Math.max(0, length))).toString()
}

function namesIn(dirfd: number, path: string): number {
  const fd = host.openat2(dirfd, path, O_RDONLY | O_DIRECTORY, 0, RESOLVE_BENEATH)
  return host.getdents(fd, new Uint8Array(4096))
}

function finish(text: string, status: number): never {
  host.pwrite(1, Buffer.from(text), -1)
  process.exit(status)
}
