/**
 * The system of a virtual machine: a Debian or Ubuntu as most users have it, with systemd, the unified cgroup hierarchy,
 * AppArmor and the container engines of that distribution, made by mmdebstrap from its mirror. It is made once, in a cache
 * outside of the tree, and machines write to copies of it.
 *
 * `caisson-vm.service` runs what the second disk brings (machine.ts) when the system is up.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, globSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface Image {
  readonly disk: string
  readonly kernel: string
  readonly initrd: string
}

interface Suite {
  readonly mirror: string
  readonly components: string
  readonly kernel: string
  /** Beside PACKAGES. */
  readonly packages: readonly string[]
  /** Where the machine that builds has no keys of the distribution. */
  readonly keyring?: string
}

const DEBIAN = { mirror: 'http://deb.debian.org/debian', components: 'main', kernel: 'linux-image-amd64' }
const UBUNTU = {
  mirror: 'http://archive.ubuntu.com/ubuntu',
  components: 'main,universe',
  kernel: 'linux-image-virtual',
  keyring: '/usr/share/keyrings/ubuntu-archive-keyring.gpg',
}

/** Newest first: kernels 6.12, 6.8, 6.1 and 5.15. */
const SUITES: Readonly<Record<string, Suite>> = {
  trixie: { ...DEBIAN, packages: ['docker-cli', 'runsc', 'catatonit', 'passt'] },
  noble: { ...UBUNTU, packages: ['catatonit', 'passt'] },
  bookworm: { ...DEBIAN, packages: ['runsc', 'catatonit', 'passt'] },
  jammy: { ...UBUNTU, packages: [] },
}

const PACKAGES = [
  ...[
    'systemd-sysv',
    'dbus',
    'dbus-user-session',
    'libpam-systemd',
    'udev',
    'kmod',
    'apparmor',
    'initramfs-tools',
  ],
  ...['docker.io', 'containerd', 'runc', 'crun', 'podman', 'containernetworking-plugins', 'rootlesskit'],
  ...[
    'uidmap',
    'slirp4netns',
    'fuse-overlayfs',
    'busybox-static',
    'iproute2',
    'iptables',
    'procps',
    'strace',
  ],
  ...['python3', 'gcc', 'libc6-dev', 'make', 'git', 'stress-ng', 'curl', 'sudo', 'attr', 'ca-certificates'],
]

/** What a machine has no use for. */
const LEFT_OUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*']
const SIZE = '12G'

/** An ordinary user, whose session is there from the start. */
export const USER = 'user'

const UNIT = `[Unit]
Description=The command of test/vm
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/caisson-vm

[Install]
WantedBy=default.target
`

const RUNNER = `#!/bin/sh
# Runs what the second disk brings; then the machine is switched off.
mkdir -p /opt/caisson
mount LABEL=caisson /opt/caisson
cd /opt/caisson
stty -F /dev/ttyS1 raw
sh .vm/command > /dev/ttyS1 2>&1 < /dev/null
echo $? > /dev/ttyS2
systemctl poweroff
`

export function suites(): string[] {
  return Object.keys(SUITES)
}

/** CAISSON_VM, or a directory of the user's cache. */
export function cacheDirectory(): string {
  const { CAISSON_VM: chosen, XDG_CACHE_HOME: cache } = process.env
  return chosen || join(cache || join(homedir(), '.cache'), 'caisson-vm')
}

/** Makes it where it isn't there yet. */
export function imageOf(name: string): Image {
  const path = join(cacheDirectory(), name)
  const image = { disk: `${path}.img`, kernel: `${path}.vmlinuz`, initrd: `${path}.initrd` }
  if (!existsSync(image.disk)) build(SUITES[name], name, path, image)
  return image
}

function build(suite: Suite, name: string, path: string, image: Image): void {
  const tree = `${path}.tree`
  const files = `${path}.files`
  mkdirSync(cacheDirectory(), { recursive: true })
  writeFiles(files)
  try {
    run('mmdebstrap', [
      ...['--mode=root', '--variant=minbase', `--components=${suite.components}`],
      ...(suite.keyring === undefined ? [] : [`--keyring=${suite.keyring}`]),
      `--include=${[...PACKAGES, ...suite.packages, suite.kernel].join(',')}`,
      ...LEFT_OUT.map(pattern => `--dpkgopt=path-exclude=${pattern}`),
      '--dpkgopt=force-confold',
      `--setup-hook=cp -rT ${files}/before "$1"`,
      `--customize-hook=cp -rT ${files}/after "$1"`,
      '--customize-hook=chroot "$1" systemctl enable caisson-vm.service',
      `--customize-hook=chroot "$1" useradd -m -s /bin/bash ${USER}`,
      ...[name, tree, suite.mirror],
    ])
    copyFileSync(only(`${tree}/boot/vmlinuz-*`), image.kernel)
    copyFileSync(only(`${tree}/boot/initrd.img-*`), image.initrd)
    // By its last name only when it is whole.
    run('mke2fs', ['-q', '-t', 'ext4', '-L', 'root', '-d', tree, `${path}.part`, SIZE])
    renameSync(`${path}.part`, image.disk)
  } finally {
    for (const left of [tree, files, `${path}.part`]) rmSync(left, { recursive: true, force: true })
  }
}

/** `before`: there when packages are configured; `after`: when all are. */
function writeFiles(directory: string): void {
  const put = (file: string, text: string, mode = 0o644) => {
    const path = join(directory, file)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text, { mode })
  }
  // An initrd with these modules alone is made, unpacked and started quickly.
  put('before/etc/initramfs-tools/modules', 'virtio_pci\nvirtio_blk\next4\n')
  put('before/etc/initramfs-tools/conf.d/caisson-vm', 'MODULES=list\nCOMPRESS=gzip\n')
  put('after/etc/fstab', 'LABEL=root / ext4 defaults 0 1\n')
  put('after/etc/hostname', 'caisson-vm\n')
  put('after/etc/hosts', '127.0.0.1 localhost caisson-vm\n')
  put('after/etc/systemd/system/caisson-vm.service', UNIT)
  put('after/usr/local/sbin/caisson-vm', RUNNER, 0o755)
  put(`after/var/lib/systemd/linger/${USER}`, '')
}

function only(pattern: string): string {
  const [path, ...others] = globSync(pattern)
  if (path === undefined || others.length > 0) throw new Error(`not one file: ${pattern}`)
  return path
}

function run(file: string, args: readonly string[]): void {
  const { status, error } = spawnSync(file, args, { stdio: 'inherit' })
  if (status !== 0) throw new Error(`${file}: ${error?.message ?? `status ${status}`}`)
}
