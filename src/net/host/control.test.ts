import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IP_TTL,
  SCM_RIGHTS,
  SO_MARK,
  SO_TIMESTAMPING,
  SOL_IP,
  SOL_SOCKET,
  SOL_UDP,
  UDP_SEGMENT,
} from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import { BufferDst } from '../../base/io.ts'
import { receiveRequest } from '../socket.ts'
import { decodeControl, encodeControl } from './control.ts'
import type { HostSocket } from './host-socket.ts'

const datagram = { isStream: false } as HostSocket
const stream = { isStream: true } as HostSocket

function control(level: number, type: number, ...data: number[]) {
  return { level, type, data: new Uint8Array(data) }
}

test('control messages: what goes out comes back in', () => {
  const sent = [control(SOL_IP, IP_TTL, 1, 2, 3, 4), control(SOL_UDP, UDP_SEGMENT, 5, 6)]
  const bytes = encodeControl(datagram, sent)
  assert.ok(bytes instanceof Uint8Array)
  const request = receiveRequest(new BufferDst(new Uint8Array(0)), 0)
  decodeControl(bytes, request)
  assert.deepEqual(request.control, sent)
})

test('control messages: descriptors and unknown levels are skipped, unknown types refused', () => {
  assert.equal(encodeControl(datagram, []), undefined)
  assert.equal(
    encodeControl(datagram, [control(SOL_SOCKET, SCM_RIGHTS, 1, 0, 0, 0), control(77, 1)]),
    undefined,
  )
  assert.equal(encodeControl(datagram, [control(SOL_IP, 999)]), -EINVAL)
  assert.equal(encodeControl(stream, [control(SOL_IP, 999)]), undefined)
  assert.equal(encodeControl(stream, [control(SOL_SOCKET, 999)]), -EINVAL)
  assert.ok(encodeControl(stream, [control(SOL_SOCKET, SO_TIMESTAMPING, 0, 0, 0, 0)]) instanceof Uint8Array)
  assert.equal(encodeControl(datagram, [control(SOL_SOCKET, SO_MARK, 1, 0, 0, 0)]), -EPERM)
})

test('control messages: a damaged list ends the reading', () => {
  const bytes = encodeControl(datagram, [control(SOL_IP, IP_TTL, 1, 2, 3, 4)]) as Uint8Array
  bytes[0] = 200
  const request = receiveRequest(new BufferDst(new Uint8Array(0)), 0)
  decodeControl(bytes, request)
  assert.deepEqual(request.control, [])
})
