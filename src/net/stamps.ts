/** Stamps of what was received, as control messages: SO_TIMESTAMP and its kin, socket(7). */
import {
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPING,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
  SOL_SOCKET,
} from '../abi/constants.ts'
import { put64 } from '../base/words.ts'
import { STAMPS } from './common-options.ts'
import type { ReceiveRequest, Socket } from './socket.ts'

/** Whether what arrives has to be stamped. */
export function wantsStamps({ options }: Socket): boolean {
  return options.describes && (options.flag(SO_TIMESTAMPING) || STAMPS.some(name => options.flag(name)))
}

/** `stamp`: wall-clock time in ns. */
export function pushStamps({ options }: Socket, stamp: number, request: ReceiveRequest): void {
  const seconds = Math.floor(stamp / 1e9)
  const rest = Math.floor(stamp % 1e9)
  for (const type of [SO_TIMESTAMP, SO_TIMESTAMP_NEW]) {
    if (options.flag(type)) {
      request.control.push({ level: SOL_SOCKET, type, data: pairBytes(seconds, Math.floor(rest / 1000)) })
    }
  }
  for (const type of [SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW]) {
    if (options.flag(type)) request.control.push({ level: SOL_SOCKET, type, data: pairBytes(seconds, rest) })
  }
  // SOF_TIMESTAMPING_RX_SOFTWARE with SOF_TIMESTAMPING_SOFTWARE: the first of three stamps.
  const wanted = options.values.get(SO_TIMESTAMPING) ?? 0
  if ((wanted & 0x18) !== 0x18) return
  const data = new Uint8Array(48)
  data.set(pairBytes(seconds, rest))
  request.control.push({ level: SOL_SOCKET, type: SO_TIMESTAMPING, data })
}

function pairBytes(first: number, second: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16))
  put64(view, 0, first)
  view.setUint32(8, second, true)
  return new Uint8Array(view.buffer)
}
