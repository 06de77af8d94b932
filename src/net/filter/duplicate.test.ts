import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  NF_INET_PRE_ROUTING,
  NFT_REG_1,
  NFTA_DATA_VALUE,
  NFTA_DUP_SREG_ADDR,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
} from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import { plainFlow } from '../ip/ipv4-output.ts'
import { chain, expression, FilterWorld, rule, table } from '../netlink/netfilter/testing.ts'

test('dup: what copies to itself comes to an end', () => {
  const made = new FilterWorld()
  const space = made.namespace()
  const { ip: stack } = space.net
  const here = IpAddress.of('127.0.0.1')
  space.apply(
    table('t'),
    chain('t', 'c', NF_INET_PRE_ROUTING),
    rule(
      't',
      'c',
      expression('immediate', writer => {
        writer.be32(NFTA_IMMEDIATE_DREG, NFT_REG_1)
        const nest = writer.nest(NFTA_IMMEDIATE_DATA)
        writer.bytes(NFTA_DATA_VALUE, here.bytes())
        writer.close(nest)
      }),
      expression('dup', writer => writer.be32(NFTA_DUP_SREG_ADDR, NFT_REG_1)),
    ),
  )
  const packet = stack.packets.allocate(8)
  packet.append(8)
  // Of no protocol that answers.
  const flow = plainFlow(1, here, here)
  flow.ttl = 5
  stack.ip.send(packet, flow)
  stack.runtime.backlog.drain()
  assert.equal(stack.counters.ip.InReceives, 6)
})
