import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  NF_INET_LOCAL_OUT,
  NFNL_SUBSYS_ULOG,
  NFPROTO_UNSPEC,
  NFULA_CFG_CMD,
  NFULA_CFG_NLBUFSIZ,
  NFULA_CFG_QTHRESH,
  NFULNL_CFG_CMD_BIND,
  NFULNL_MSG_CONFIG,
  NLM_F_REQUEST,
} from '../../../abi/constants.ts'
import type { LoggedPacket } from '../../filter/log/packet-log.ts'
import { MessageWriter } from '../message.ts'
import { startMessage } from './header.ts'
import { errorsOf, FilterWorld } from './testing.ts'

const NEVER = 0xffffffff

function bind(group: number): Uint8Array {
  const writer = new MessageWriter()
  const asker = { sequence: 1, port: 0 }
  startMessage(writer, NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG, NLM_F_REQUEST, asker, NFPROTO_UNSPEC, group)
  writer.u8(NFULA_CFG_CMD, NFULNL_CFG_CMD_BIND)
  writer.be32(NFULA_CFG_NLBUFSIZ, NEVER)
  writer.be32(NFULA_CFG_QTHRESH, NEVER)
  writer.end()
  return writer.take()
}

test('nflog: packets are collected for a group, of many groups less', () => {
  const space = new FilterWorld().namespace()
  const { net, socket } = space
  const packet = net.ip.packets.allocate(16_000)
  packet.network = packet.append(16_000)
  packet.bytes.fill(0, packet.network, packet.end)
  const logged: LoggedPacket = {
    ...{ isV4: true, point: NF_INET_LOCAL_OUT, packet },
    ...{ input: undefined, output: undefined },
  }
  const log = (group: number): void =>
    net.netfilter.log.toGroup(logged, '', { group, snapshot: undefined, threshold: 0 })
  assert.deepEqual(errorsOf(space.ask(bind(0))), [])
  log(0)
  assert.equal(socket.poll() & 1, 0, 'it waits for more')
  for (let group = 1; group < 1024; group++) assert.deepEqual(errorsOf(space.ask(bind(group))), [])
  log(1)
  assert.equal(socket.poll() & 1, 1, 'there is no room for so much of each')
})
