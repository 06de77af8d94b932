/** What a sandbox tells of one of its containers as it happens, on a connection that lasts as long as the container. */
import { Socket } from 'node:net'
import type { ControlClient } from '../sandbox/control-client.ts'
import { EVENT_OOM } from '../sandbox/protocol.ts'

/** A sandbox that says much is not heard more often. */
const LEAST_INTERVAL_MS = 100

/** `outOfMemory` may stand for several times. The result ends it. */
export async function watchEvents(
  sentry: ControlClient,
  container: string,
  outOfMemory: () => void,
): Promise<() => void> {
  const { connection } = await sentry.open({ command: 'events', container })
  const socket = new Socket({ fd: connection, readable: true, writable: true })
  socket.unref()
  socket.on('error', () => {})
  socket.on('data', (events: Buffer) => {
    socket.pause()
    setTimeout(() => socket.resume(), LEAST_INTERVAL_MS).unref()
    if (events.includes(EVENT_OOM)) outOfMemory()
  })
  return () => socket.destroy()
}
