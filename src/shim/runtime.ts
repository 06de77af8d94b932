/** What the shim needs of the runtime, in its own process: no command is started per call. Tests have another one. */
import type { Runtime } from '../oci/runtime.ts'

export type ShimRuntime = Pick<
  Runtime,
  | 'cgroup'
  | 'create'
  | 'delete'
  | 'exec'
  | 'guestStats'
  | 'kill'
  | 'killExec'
  | 'pause'
  | 'processConfig'
  | 'ps'
  | 'resume'
  | 'start'
  | 'state'
  | 'update'
  | 'watchGuestOom'
>
