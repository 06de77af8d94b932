import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPSET_ATTR_ADT,
  IPSET_ATTR_CADT_FLAGS,
  IPSET_ATTR_CIDR,
  IPSET_ATTR_COMMENT,
  IPSET_ATTR_DATA,
  IPSET_ATTR_FAMILY,
  IPSET_ATTR_IFACE,
  IPSET_ATTR_IP,
  IPSET_ATTR_IPADDR_IPV4,
  IPSET_ATTR_PROTOCOL,
  IPSET_ATTR_REVISION,
  IPSET_ATTR_SETNAME,
  IPSET_ATTR_TYPENAME,
  IPSET_CMD_ADD,
  IPSET_CMD_CREATE,
  IPSET_CMD_DEL,
  IPSET_CMD_LIST,
  IPSET_ERR_PROTOCOL,
  IPSET_FLAG_WITH_COMMENT,
  IPSET_MAX_COMMENT_SIZE,
  IPSET_PROTOCOL,
  NFNL_SUBSYS_IPSET,
  NFPROTO_IPV4,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_DONE,
} from '../../../abi/constants.ts'
import { ERANGE } from '../../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../../base/io.ts'
import { IpAddress } from '../../address.ts'
import { receiveRequest, sendRequest } from '../../socket.ts'
import { MessageWriter, NESTED } from '../message.ts'
import { startMessage } from './header.ts'
import { errorsOf, type Fill, FilterWorld } from './testing.ts'

const NOBODY = { sequence: 1, port: 0 }

function command(type: number, fill: Fill, flags = NLM_F_ACK | NLM_F_EXCL): Uint8Array {
  const writer = new MessageWriter()
  startMessage(writer, NFNL_SUBSYS_IPSET, type, NLM_F_REQUEST | flags, NOBODY, NFPROTO_IPV4, 0)
  writer.u8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL)
  writer.string(IPSET_ATTR_SETNAME, 's')
  fill(writer)
  writer.end()
  return writer.take()
}

function data(writer: MessageWriter, fill: Fill): void {
  const nest = writer.nest(IPSET_ATTR_DATA, NESTED)
  fill(writer)
  writer.close(nest)
}

function space(type: string) {
  const world = new FilterWorld()
  const made = world.namespace()
  const create = command(IPSET_CMD_CREATE, writer => {
    writer.string(IPSET_ATTR_TYPENAME, type)
    writer.u8(IPSET_ATTR_REVISION, 0)
    writer.u8(IPSET_ATTR_FAMILY, NFPROTO_IPV4)
    data(writer, w => w.be32(IPSET_ATTR_CADT_FLAGS, IPSET_FLAG_WITH_COMMENT))
  })
  assert.deepEqual(errorsOf(made.ask(create)), [0])
  const add = (ip: string, fill: Fill = () => {}) =>
    errorsOf(
      made.ask(
        command(IPSET_CMD_ADD, writer =>
          data(writer, w => {
            const nest = w.nest(IPSET_ATTR_IP, NESTED)
            w.bytes(IPSET_ATTR_IPADDR_IPV4, IpAddress.of(ip).bytes())
            w.close(nest)
            fill(w)
          }),
        ),
      ),
    )
  return { world, made, add }
}

test('ipset: comments and names of devices that are longer than they can be are refused', () => {
  const addresses = space('hash:ip')
  const comment = (length: number) => (w: MessageWriter) => w.string(IPSET_ATTR_COMMENT, 'c'.repeat(length))
  assert.deepEqual(addresses.add('1.0.0.1', comment(IPSET_MAX_COMMENT_SIZE)), [0])
  assert.deepEqual(addresses.add('1.0.0.2', comment(IPSET_MAX_COMMENT_SIZE + 1)), [-IPSET_ERR_PROTOCOL])
  const networks = space('hash:net,iface')
  const device = (length: number) => (w: MessageWriter) => {
    w.u8(IPSET_ATTR_CIDR, 24)
    w.string(IPSET_ATTR_IFACE, 'd'.repeat(length))
  }
  assert.deepEqual(networks.add('1.0.0.0', device(15)), [0])
  assert.deepEqual(networks.add('1.0.0.0', device(16)), [-IPSET_ERR_PROTOCOL])
})

test('ipset: a list holds nothing of a set for one who does not read it', () => {
  const { world, made, add } = space('hash:ip')
  for (let i = 1; i <= 4000; i++) assert.deepEqual(add(`1.0.${i >> 8}.${i & 0xff}`), [0])
  const { task } = world
  const list = command(IPSET_CMD_LIST, () => {}, NLM_F_DUMP)
  assert.equal(made.socket.send(task, sendRequest(new BufferSrc(list), 0)), list.length)
  made.net.netfilter.ipSets.find('s')!.clear()
  let length = 0
  let type = 0
  while (type !== NLMSG_DONE) {
    const buffer = new Uint8Array(65536)
    const n = made.socket.receive(task, receiveRequest(new BufferDst(buffer), 0))
    assert.ok(n > 0)
    length += n
    type = new DataView(buffer.buffer).getUint16(4, true)
  }
  // Some messages were ready with the question.
  assert.ok(length < 4000 * 12, `${length} bytes of what is gone`)
})

test('ipset: one message gives so many elements in all, whatever their ranges', () => {
  const { made } = space('hash:ip')
  const ranges = (count: number) =>
    command(
      IPSET_CMD_DEL,
      writer => {
        const list = writer.nest(IPSET_ATTR_ADT, NESTED)
        for (let i = 0; i < count; i++) {
          data(writer, w => {
            const nest = w.nest(IPSET_ATTR_IP, NESTED)
            w.bytes(IPSET_ATTR_IPADDR_IPV4, IpAddress.of('10.0.0.0').bytes())
            w.close(nest)
            w.u8(IPSET_ATTR_CIDR, 16)
          })
        }
        writer.close(list)
      },
      NLM_F_ACK,
    )
  assert.deepEqual(errorsOf(made.ask(ranges(2))), [0])
  assert.deepEqual(errorsOf(made.ask(ranges(3))), [-ERANGE])
})
