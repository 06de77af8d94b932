/** /proc/self/mountinfo, proc_pid_mountinfo(5), for the one question that the jail has. */

export interface HostMount {
  readonly path: string
  readonly type: string
}

/** File systems that show or steer the host's kernel. None of them is ever donated as part of a tree. */
const PSEUDO_TYPES = new Set([
  'autofs',
  'binfmt_misc',
  'bpf',
  'cgroup',
  'cgroup2',
  'configfs',
  'debugfs',
  'devpts',
  'devtmpfs',
  'efivarfs',
  'fusectl',
  'mqueue',
  'nfsd',
  'nsfs',
  'proc',
  'pstore',
  'resctrl',
  'rpc_pipefs',
  'securityfs',
  'selinuxfs',
  'smackfs',
  'sysfs',
  'tracefs',
])

/** What a root always has covered: in a container /dev is a plain tmpfs. */
const ALWAYS = ['/dev', '/proc', '/sys']

/** Parses the file, read as latin1 so that paths stay byte strings. */
export function parseMountInfo(text: string): HostMount[] {
  const mounts: HostMount[] = []
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ')
    if (right === undefined) continue
    mounts.push({ path: unescapePath(left.split(' ')[4]), type: right.split(' ')[0] })
  }
  return mounts
}

/** The topmost pseudo file systems below the directory `source`, relative to it. */
export function pseudoMountsBelow(mounts: readonly HostMount[], source: string): string[] {
  const prefix = source === '/' ? '/' : `${source}/`
  const candidates = mounts.filter(mount => PSEUDO_TYPES.has(mount.type)).map(mount => mount.path)
  if (source === '/') candidates.push(...ALWAYS)
  const topmost: string[] = []
  for (const path of candidates.sort()) {
    if (!path.startsWith(prefix)) continue
    if (topmost.some(above => path === above || path.startsWith(`${above}/`))) continue
    topmost.push(path)
  }
  return topmost.map(path => path.slice(prefix.length))
}

/** As the kernel writes paths in it. */
export function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
