import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ETH_P_IP,
  ETH_P_IPV6,
  ICMP_TIME_EXCEEDED,
  IPPROTO_ICMP,
  IPPROTO_UDP,
  NF_ACCEPT,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
  NFNL_SUBSYS_QUEUE,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFQA_CFG_CMD,
  NFQA_CFG_PARAMS,
  NFQA_PACKET_HDR,
  NFQA_PAYLOAD,
  NFQA_VERDICT_HDR,
  NFQNL_CFG_CMD_BIND,
  NFQNL_COPY_PACKET,
  NFQNL_MSG_CONFIG,
  NFQNL_MSG_PACKET,
  NFQNL_MSG_VERDICT,
  NFQNL_MSG_VERDICT_BATCH,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWTABLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_QUEUE_NUM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
  NFTA_TABLE_NAME,
  NLM_F_CREATE,
  NLM_F_REQUEST,
} from '../../../abi/constants.ts'
import { NFGENMSG } from '../../../abi/layout.ts'
import { IpAddress } from '../../address.ts'
import { ethernet, ipv4, routerPort, udp } from '../../ip/testing.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { startMessage } from './header.ts'
import { expression, type Fill, FilterWorld, type Message, message } from './testing.ts'

const NOBODY = { sequence: 7, port: 0 }

/** A router between `a` (10.1.0.0/24) and `b` (10.2.0.0/24), which puts what comes by a point into queue 0, which is bound. */
function router(family: number, point: number) {
  const made = new FilterWorld()
  const space = made.namespace()
  const { ip: stack } = space.net
  const a = routerPort(stack, 'a', '10.1.0.1/24', '10.1.0.2')
  const b = routerPort(stack, 'b', '10.2.0.1/24', '10.2.0.2')
  made.run(10)
  const change = (type: number, fill: Fill) => message(type, fill, NLM_F_CREATE, family)
  space.apply(
    change(NFT_MSG_NEWTABLE, w => w.string(NFTA_TABLE_NAME, 't')),
    change(NFT_MSG_NEWCHAIN, w => {
      w.string(NFTA_CHAIN_TABLE, 't')
      w.string(NFTA_CHAIN_NAME, 'c')
      const hook = w.nest(NFTA_CHAIN_HOOK)
      w.be32(NFTA_HOOK_HOOKNUM, point)
      w.be32(NFTA_HOOK_PRIORITY, 0)
      w.close(hook)
    }),
    change(NFT_MSG_NEWRULE, w => {
      w.string(NFTA_RULE_TABLE, 't')
      w.string(NFTA_RULE_CHAIN, 'c')
      const list = w.nest(NFTA_RULE_EXPRESSIONS)
      expression('queue', w => w.be16(NFTA_QUEUE_NUM, 0))(w)
      w.close(list)
    }),
  )
  const ask = (type: number, fill: Fill): Held[] => {
    const writer = new MessageWriter()
    startMessage(writer, NFNL_SUBSYS_QUEUE, type, NLM_F_REQUEST, NOBODY, 0, 0)
    fill(writer)
    writer.end()
    return space.ask(writer.take()).filter(isPacket).map(read)
  }
  ask(NFQNL_MSG_CONFIG, w => {
    w.bytes(NFQA_CFG_CMD, Uint8Array.of(NFQNL_CFG_CMD_BIND, 0, 0, family))
    w.bytes(NFQA_CFG_PARAMS, Uint8Array.of(0, 0, 0xff, 0xff, NFQNL_COPY_PACKET))
  })
  a.take()
  b.take()
  /** What has come into the queue since. */
  const held = () => ask(NFQNL_MSG_CONFIG, () => {})
  const decide = (type: number, verdict: number, id: number, payload?: Uint8Array) =>
    ask(type, w => {
      const header = viewOf(new Uint8Array(8))
      header.setUint32(0, verdict)
      header.setUint32(4, id)
      w.bytes(NFQA_VERDICT_HDR, new Uint8Array(header.buffer))
      if (payload !== undefined) w.bytes(NFQA_PAYLOAD, payload)
    })
  const send = () => {
    const data = udp('10.1.0.2', '10.2.0.2', 1, 2, Uint8Array.of(1, 2, 3))
    a.inject(ethernet(a.address, ETH_P_IP, ipv4('10.1.0.2', '10.2.0.2', IPPROTO_UDP, data)))
  }
  return { made, stack, a, b, held, decide, send }
}

interface Held {
  readonly id: number
  readonly packet: Uint8Array
}
function isPacket({ type }: Message): boolean {
  return type === ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET)
}
function read({ body }: Message): Held {
  const attributes = new Attributes(body, NFGENMSG.size)
  const id = viewOf(attributes.get(NFQA_PACKET_HDR)!).getUint32(0)
  return { id, packet: attributes.get(NFQA_PAYLOAD)! }
}

test('packet queues: a packet goes on by the verdict alone, whatever else stands in it', () => {
  const { b, send, held, decide } = router(NFPROTO_IPV4, NF_INET_FORWARD)
  send()
  const [{ id }] = held()
  assert.deepEqual(b.take(), [])
  decide(NFQNL_MSG_VERDICT, 0x70000 | NF_ACCEPT, id)
  assert.equal(b.takeIp(ETH_P_IP).length, 1)
})

test('packet queues: the packet that it has become is believed in all, its hops too', () => {
  const { a, b, send, held, decide } = router(NFPROTO_IPV4, NF_INET_PRE_ROUTING)
  send()
  const [{ id, packet }] = held()
  const other = packet.slice()
  other[8] = 1
  decide(NFQNL_MSG_VERDICT, NF_ACCEPT, id, other)
  assert.deepEqual(b.take(), [])
  const [answer] = a.takeIp(ETH_P_IP)
  assert.deepEqual([answer[9], answer[20]], [IPPROTO_ICMP, ICMP_TIME_EXCEEDED])
})

test('packet queues: many are decided on as they are', () => {
  const { b, send, held, decide } = router(NFPROTO_IPV4, NF_INET_FORWARD)
  send()
  send()
  const [, { id }] = held()
  decide(NFQNL_MSG_VERDICT_BATCH, NF_ACCEPT, id, Uint8Array.of(1))
  assert.equal(b.takeIp(ETH_P_IP).length, 2)
})

test('packet queues: what is asked of the neighbours of a link goes out by it, and does not come back', () => {
  const { made, stack, a, b, held, decide } = router(NFPROTO_IPV6, NF_INET_LOCAL_OUT)
  for (const device of [a, b]) {
    const address = IpAddress.of(device === a ? 'fd00::1' : 'fd00::2')
    stack.ndp.send(stack.packets.allocate(0, 200), device, address, IpAddress.of('ff02::1'))
    for (const { id } of held()) decide(NFQNL_MSG_VERDICT, NF_ACCEPT, id)
    made.run(0)
    assert.equal(device.takeIp(ETH_P_IPV6).length, 1)
    assert.deepEqual((device === a ? b : a).takeIp(ETH_P_IPV6), [])
  }
})
