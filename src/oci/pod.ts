/** Whether a container is a pod's sandbox or joins one: engines say it in annotations, each in its own. */

export interface PodRole {
  readonly kind: 'sandbox' | 'container'
  readonly sandboxId: string
}

/** containerd, CRI-O, cri-dockerd: the container's kind, what a sandbox is called there, and the sandbox's id. */
const ENGINES = [
  ['io.kubernetes.cri.container-type', 'sandbox', 'io.kubernetes.cri.sandbox-id'],
  ['io.kubernetes.cri-o.ContainerType', 'sandbox', 'io.kubernetes.cri-o.SandboxID'],
  ['io.kubernetes.docker.type', 'podsandbox', 'io.kubernetes.sandbox.id'],
] as const

export function podRole(id: string, annotations: Readonly<Record<string, string>>): PodRole | undefined {
  for (const [typeKey, sandbox, idKey] of ENGINES) {
    const type = annotations[typeKey]
    if (type === sandbox) return { kind: 'sandbox', sandboxId: annotations[idKey] ?? id }
    const sandboxId = annotations[idKey]
    if (type === 'container' && sandboxId !== undefined) return { kind: 'container', sandboxId }
  }
  return undefined
}
