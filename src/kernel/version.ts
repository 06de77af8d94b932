/** Which Linux the kernel says it is: the host's release, so that programs choose what they choose on the host. */
import type { Host } from '../platform/host.ts'

const FALLBACK_RELEASE = '6.12.0'

/** uname -r. */
export function kernelRelease(host: Host): string {
  return host.fact('proc/sys/kernel/osrelease').trim() || FALLBACK_RELEASE
}

/** uname -v. */
export const KERNEL_VERSION = '#1 SMP PREEMPT_DYNAMIC caisson'
