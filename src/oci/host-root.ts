/** Whether this process is root of the host, and not of a user namespace, as rootless engines have it. */
import { readFileSync } from 'node:fs'

export function isHostRoot(): boolean {
  return (
    process.geteuid!() === 0 && /^ *0 +0 +4294967295$/m.test(readFileSync('/proc/self/uid_map', 'latin1'))
  )
}

/** Who the user of a user namespace is on the host: the first of its own ids. */
export function hostUid(): number {
  const [, uid] = /^ *0 +(\d+) /m.exec(readFileSync('/proc/self/uid_map', 'latin1')) ?? []
  return uid === undefined ? process.getuid!() : Number(uid)
}
