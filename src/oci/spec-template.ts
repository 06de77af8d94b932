/** The config.json that `caisson spec` writes: a shell in `rootfs`, restricted as engines restrict their containers. */
import type { Config } from './config.ts'
import { OCI_VERSION } from './version.ts'

const CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']

export interface SpecOptions {
  /** For an ordinary user: the container's root is him. */
  readonly rootless?: { readonly uid: number; readonly gid: number }
}

export function specTemplate({ rootless }: SpecOptions = {}): Config {
  const own = ['pid', 'ipc', 'uts', 'mount', 'cgroup'] as const
  return {
    ociVersion: OCI_VERSION,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ['sh'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'caisson',
    mounts: [
      mount('/proc', 'proc', []),
      mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
      // An ordinary user has one group, which isn't that of terminals.
      mount('/dev/pts', 'devpts', [
        ...['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
        ...(rootless === undefined ? ['gid=5'] : []),
      ]),
      mount('/dev/shm', 'tmpfs', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']),
      mount('/dev/mqueue', 'mqueue', ['nosuid', 'noexec', 'nodev']),
      mount('/sys', 'sysfs', ['nosuid', 'noexec', 'nodev', 'ro']),
      mount('/sys/fs/cgroup', 'cgroup', ['nosuid', 'noexec', 'nodev', 'relatime', 'ro']),
    ],
    linux: {
      // He may not make a network namespace that anybody could reach from.
      namespaces: [...own, rootless === undefined ? ('network' as const) : ('user' as const)].map(type => ({
        type,
      })),
      ...(rootless !== undefined && {
        uidMappings: [{ containerID: 0, hostID: rootless.uid, size: 1 }],
        gidMappings: [{ containerID: 0, hostID: rootless.gid, size: 1 }],
      }),
      maskedPaths: [
        '/proc/acpi',
        '/proc/asound',
        '/proc/kcore',
        '/proc/keys',
        '/proc/latency_stats',
        '/proc/sched_debug',
        '/proc/scsi',
        '/proc/timer_list',
        '/proc/timer_stats',
        '/sys/firmware',
      ],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  }
}

function mount(destination: string, type: string, options: readonly string[]) {
  return { destination, type, source: type, options }
}
