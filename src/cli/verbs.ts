/**
 * caisson is three programs, so that each start loads only what it needs: the sentry, which has the kernel in it
 * (sentry.ts), the host side (main.ts), and containerd's shim (shim.ts). These verbs are the sentry's; the launcher's
 * main.c and scripts/bundle-entry.cjs know them too.
 */
export const SENTRY_VERBS = {
  do: 'runs a command in a sandbox that sees the files of the host, and keeps its writes in memory',
  syscalls: 'lists the system calls that guests can make, and what of each is missing',
} as const
