/** /proc/net/unix. */
import { isAbstract } from './address.ts'
import { ESTABLISHED, LISTEN, type UnixSocket } from './socket.ts'
import type { UnixTable } from './table.ts'

/** __SO_ACCEPTCON. */
const ACCEPTING = 0x10000
/** SS_UNCONNECTED and SS_CONNECTED; SS_CONNECTING is never seen. */
const UNCONNECTED = 1
const CONNECTED = 3

/** The lines below the header. */
export function formatUnixSockets(table: UnixTable): string {
  let text = ''
  for (const socket of table.sockets) text += line(socket)
  return text
}

function line(socket: UnixSocket): string {
  const refs = 2 + (socket.peer === undefined ? 0 : 1)
  const flags = socket.state === LISTEN ? ACCEPTING : 0
  const state = socket.state === ESTABLISHED ? CONNECTED : UNCONNECTED
  const ino = socket.file?.inode.ino ?? 0
  const fields = [
    `${hex(0, 16)}:`,
    hex(refs, 8),
    hex(0, 8),
    hex(flags, 8),
    hex(socket.type, 4),
    hex(state, 2),
    String(ino).padStart(5),
  ]
  return `${fields.join(' ')}${shownName(socket.boundName)}\n`
}

/** The NULs of an abstract name are shown as '@'. */
function shownName(name: string | undefined): string {
  if (name === undefined) return ''
  return ` ${isAbstract(name) ? name.replaceAll('\0', '@') : name}`
}

function hex(value: number, width: number): string {
  return value.toString(16).toUpperCase().padStart(width, '0')
}
