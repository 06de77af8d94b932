/** What a user-mode network stands on: sockets of the caller's network namespace, and the platform's loop that watches them. */
import type { Host } from '../../platform/host.ts'
import type { HostSockets } from '../../platform/host-sockets.ts'
import type { SocketBroker } from '../../platform/socket-broker.ts'

export interface Outside {
  readonly host: Pick<Host, 'watch' | 'unwatch' | 'close'>
  /** Of these only what an existing socket can be asked. */
  readonly sockets: Pick<HostSockets, 'message' | 'send' | 'receive' | 'shutdown' | 'accept' | 'setOption'>
  readonly broker: SocketBroker
}
