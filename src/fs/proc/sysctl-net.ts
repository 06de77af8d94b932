/** /proc/sys/net: the settings of the caller's network namespace (net-settings.ts), and where ports need a right. */
import { CAP_NET_ADMIN, S_IFDIR, S_IFMT } from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { toKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { type DirNode, dynamic, type FileNode, type Found } from '../pseudo/node.ts'
import { caller } from './access.ts'
import { type NetSettings, type NetSettingsSource, USUAL_NET_SETTINGS } from './net-settings.ts'

/** The kernel itself decides about ports, whatever the sockets are. */
const PORT_START = 'ipv4/ip_unprivileged_port_start'

export function netDirectory(): DirNode<Kernel> {
  const trees = new WeakMap<NetSettings, SettingsTree>()
  const treeOf = (kernel: Kernel): SettingsTree => {
    const stack = caller(kernel).ns.net.stack as Partial<NetSettingsSource> | undefined
    const settings = stack?.settings ?? USUAL_NET_SETTINGS
    let tree = trees.get(settings)
    if (tree === undefined) {
      tree = new SettingsTree(kernel, settings)
      trees.set(settings, tree)
    }
    return tree
  }
  return dynamic<Kernel>({
    find: (kernel, name) => treeOf(kernel).find(name),
    list: kernel => treeOf(kernel).list(''),
  })
}

/** A file or directory of one tree; the same object as long as it is there. */
interface Entry {
  readonly path: string
}

/** One NetSettings as nodes. */
class SettingsTree {
  readonly #kernel: Kernel
  readonly #settings: NetSettings
  readonly #entries = new Map<string, Entry>()
  readonly #files = new Map<number, FileNode<Entry>>()
  readonly #directory: DirNode<Entry>

  constructor(kernel: Kernel, settings: NetSettings) {
    this.#kernel = kernel
    this.#settings = settings
    this.#directory = dynamic<Entry>({
      find: (entry, name) => this.find(`${entry.path}/${name}`),
      list: entry => this.list(entry.path),
    })
  }

  find(path: string): Found | undefined {
    const mode = this.#settings.mode(path)
    if (mode === undefined) {
      this.#entries.delete(path)
      return undefined
    }
    let subject = this.#entries.get(path)
    if (subject === undefined) {
      subject = { path }
      this.#entries.set(path, subject)
    }
    return { subject, node: (mode & S_IFMT) === S_IFDIR ? this.#directory : this.#file(mode & 0o777) }
  }

  list(path: string): [number, string][] {
    return this.#settings.list(path).map((name, i) => [i, name])
  }

  #file(mode: number): FileNode<Entry> {
    let file = this.#files.get(mode)
    if (file === undefined) {
      const kernel = this.#kernel
      const settings = this.#settings
      file = {
        kind: 'file',
        mode,
        strict: true,
        managedBy: cred => mayManage(kernel, cred),
        read: ({ path }) =>
          path === PORT_START ? `${caller(kernel).ns.net.unprivilegedPortStart}\n` : settings.read(path),
        write: ({ path }, text) =>
          path === PORT_START ? setPortStart(kernel, text) : settings.write(path, text),
      }
      this.#files.set(mode, file)
    }
    return file
  }
}

/** net_ctl_permissions: the settings of a network namespace belong to the user namespace that it belongs to. */
function mayManage(kernel: Kernel, cred: Credentials): boolean {
  const { userNs } = caller(kernel).ns.net
  return cred.capable(CAP_NET_ADMIN, userNs) || cred.euid === toKernelId(userNs.uidMap, 0)
}

function setPortStart(kernel: Kernel, text: string): Status {
  const { cred, ns } = caller(kernel)
  if (!cred.capable(CAP_NET_ADMIN, ns.net.userNs)) return -EPERM
  const port = Number(text.trim())
  if (!/^\d+$/.test(text.trim()) || port > 65535) return -EINVAL
  ns.net.unprivilegedPortStart = port
  return 0
}
