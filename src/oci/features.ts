/** What `caisson features` prints: what the runtime can do, as runtime-spec's features.md has it. */
import { CAPABILITIES } from './capabilities.ts'
import { MOUNT_OPTIONS } from './mount-options.ts'
import { SECCOMP_ACTIONS, SECCOMP_FLAGS } from './seccomp/actions.ts'
import { OPERATORS } from './seccomp/conditions.ts'
import { OCI_VERSION, OCI_VERSION_MIN } from './version.ts'

/** `version`: caisson's own. */
export function features(version: string): object {
  return {
    ociVersionMin: OCI_VERSION_MIN,
    ociVersionMax: OCI_VERSION,
    hooks: ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'],
    mountOptions: MOUNT_OPTIONS,
    linux: {
      namespaces: ['cgroup', 'ipc', 'mount', 'network', 'pid', 'time', 'user', 'uts'],
      capabilities: CAPABILITIES,
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: false, rdma: true },
      seccomp: {
        enabled: true,
        actions: SECCOMP_ACTIONS,
        operators: OPERATORS,
        archs: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X32'],
        knownFlags: [...SECCOMP_FLAGS, 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'],
        supportedFlags: SECCOMP_FLAGS,
      },
      apparmor: { enabled: false },
      selinux: { enabled: false },
      intelRdt: { enabled: false },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: false },
    },
    annotations: { 'org.caisson.version': version },
  }
}
