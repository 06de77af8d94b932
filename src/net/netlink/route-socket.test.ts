import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_NOOP,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
} from '../../abi/constants.ts'
import { NLMSGHDR } from '../../abi/layout.ts'
import { findChange } from './route-socket.ts'

/** A message with a body of 16 bytes. */
function message(type: number, flags = NLM_F_REQUEST, length = 32): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  view.setUint32(NLMSGHDR.nlmsg_len, length, true)
  view.setUint16(NLMSGHDR.nlmsg_type, type, true)
  view.setUint16(NLMSGHDR.nlmsg_flags, flags, true)
  return bytes
}
function join(...messages: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(messages))
}

test('routing sockets: questions pass', () => {
  assert.equal(findChange(message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP)), undefined)
  assert.equal(findChange(join(message(NLMSG_NOOP), message(RTM_GETADDR))), undefined)
  assert.equal(findChange(new Uint8Array(0)), undefined)
})

test('routing sockets: what would change something is found, wherever it stands', () => {
  for (const type of [RTM_NEWLINK, RTM_SETLINK, RTM_DELADDR]) {
    const change = message(type, NLM_F_REQUEST | NLM_F_ACK)
    assert.deepEqual(findChange(change), change)
    assert.deepEqual(findChange(join(message(RTM_GETLINK), change, message(RTM_GETLINK))), change)
  }
})

test('routing sockets: the search ends where the kernel would stop', () => {
  const change = message(RTM_NEWLINK)
  assert.equal(findChange(message(RTM_NEWLINK, NLM_F_ACK)), undefined, 'no request')
  assert.equal(findChange(join(message(RTM_GETLINK, NLM_F_REQUEST, 8), change)), undefined, 'too short')
  assert.equal(findChange(join(message(RTM_GETLINK, NLM_F_REQUEST, 500), change)), undefined, 'too long')
  assert.equal(findChange(change.subarray(0, 15)), undefined, 'half a header')
})
