/** The processes of a sandbox as the host numbers them: the sentry knows them only by its own pid namespace. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** By the numbers that the sentry has for them. `launcher`: the sentry's parent. */
export function hostPids(launcher: number): ReadonlyMap<number, number> {
  const pids = new Map<number, number>()
  const namespace = sentryNamespace(launcher)
  if (namespace === undefined) return pids
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || namespaceOf(name) !== namespace) continue
    const inside = /^NSpid:.*\t(\d+)$/m.exec(read(`/proc/${name}/status`))
    if (inside !== null) pids.set(Number(inside[1]), Number(name))
  }
  return pids
}

function sentryNamespace(launcher: number): string | undefined {
  const own = namespaceOf('self')
  const children = read(`/proc/${launcher}/task/${launcher}/children`).split(' ').filter(Boolean)
  return children.map(namespaceOf).find(namespace => namespace !== undefined && namespace !== own)
}

function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    // It ended, or is none of ours.
    return undefined
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
