/** The end of an IPC namespace: what nobody can reach any more is given back. */
import type { Kernel } from '../kernel.ts'
import type { IpcNamespace } from '../namespaces.ts'

/** A task or a descriptor has let go of the namespace, maybe as the last one. */
export function releaseIpc(kernel: Kernel, ns: IpcNamespace): void {
  if (ns.shm.size === 0 || isHeld(kernel, ns)) return
  for (const segment of ns.shm.objects()) ns.shm.destroy(segment)
}

/** By a task, or by a descriptor or a mount of its file. */
function isHeld(kernel: Kernel, ns: IpcNamespace): boolean {
  if (ns === kernel.ipc || ns.holders > 0) return true
  for (const task of kernel.tasks()) if (task.ns.ipc === ns) return true
  return false
}
