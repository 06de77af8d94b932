import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPPROTO_UDP,
  NF_ACCEPT,
  NF_INET_LOCAL_OUT,
  NF_LOG_PREFIXLEN,
  NFT_DATA_VERDICT,
  NFT_DYNSET_OP_UPDATE,
  NFT_JUMP,
  NFT_LIMIT_F_INV,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELOBJ,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWOBJ,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_OBJECT_COUNTER,
  NFT_OBJECT_QUOTA,
  NFT_REG_VERDICT,
  NFT_REG32_00,
  NFT_SET_EVAL,
  NFT_SET_MAP,
  NFT_SET_TIMEOUT,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_DYNSET_OP,
  NFTA_DYNSET_SET_NAME,
  NFTA_DYNSET_SREG_KEY,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_LIMIT_BURST,
  NFTA_LIMIT_FLAGS,
  NFTA_LIMIT_RATE,
  NFTA_LIMIT_UNIT,
  NFTA_LIST_ELEM,
  NFTA_LOG_PREFIX,
  NFTA_LOOKUP_DREG,
  NFTA_LOOKUP_SET,
  NFTA_LOOKUP_SREG,
  NFTA_OBJ_DATA,
  NFTA_OBJ_HANDLE,
  NFTA_OBJ_NAME,
  NFTA_OBJ_TABLE,
  NFTA_OBJ_TYPE,
  NFTA_SET_DATA_TYPE,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_EXPR,
  NFTA_SET_ELEM_EXPRESSIONS,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ELEM_TIMEOUT,
  NFTA_SET_EXPR,
  NFTA_SET_FLAGS,
  NFTA_SET_ID,
  NFTA_SET_KEY_LEN,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
} from '../../../abi/constants.ts'
import { E2BIG, ENOENT, EOPNOTSUPP, EPERM, ERANGE } from '../../../abi/errno.ts'
import { V4_LOOPBACK } from '../../address.ts'
import { plainFlow } from '../../ip/ipv4-output.ts'
import type { MessageWriter } from '../message.ts'
import { chain, expression, FilterWorld, message, rule, table, verdict } from './testing.ts'

type Fill = (writer: MessageWriter) => void
const NF_DROP = 0

function nested(writer: MessageWriter, type: number, fill: Fill): void {
  const nest = writer.nest(type)
  fill(writer)
  writer.close(nest)
}

const within = (type: number, name: string, fill: Fill) => (writer: MessageWriter) =>
  nested(writer, type, () => {
    writer.string(NFTA_EXPR_NAME, name)
    nested(writer, NFTA_EXPR_DATA, fill)
  })

/** The set `s` of the table `t`, with keys of four bytes. */
function set(flags: number, more: Fill = () => {}): Uint8Array {
  return message(NFT_MSG_NEWSET, writer => {
    writer.string(NFTA_SET_TABLE, 't')
    writer.string(NFTA_SET_NAME, 's')
    writer.be32(NFTA_SET_ID, 1)
    writer.be32(NFTA_SET_KEY_LEN, 4)
    writer.be32(NFTA_SET_FLAGS, flags)
    more(writer)
  })
}

/** Its element with the key 0. */
function element(fill: Fill): Uint8Array {
  return message(NFT_MSG_NEWSETELEM, writer => {
    writer.string(NFTA_SET_ELEM_LIST_TABLE, 't')
    writer.string(NFTA_SET_ELEM_LIST_SET, 's')
    nested(writer, NFTA_SET_ELEM_LIST_ELEMENTS, () =>
      nested(writer, NFTA_LIST_ELEM, () => {
        nested(writer, NFTA_SET_ELEM_KEY, () => writer.bytes(NFTA_DATA_VALUE, new Uint8Array(4)))
        fill(writer)
      }),
    )
  })
}

const leadsTo =
  (code: number, target?: string): Fill =>
  writer =>
    nested(writer, NFTA_SET_ELEM_DATA, () =>
      nested(writer, NFTA_DATA_VERDICT, () => {
        writer.be32(NFTA_VERDICT_CODE, code)
        if (target !== undefined) writer.string(NFTA_VERDICT_CHAIN, target)
      }),
    )

const addsToItself: Fill = writer => {
  writer.string(NFTA_DYNSET_SET_NAME, 's')
  writer.be32(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE)
  writer.be32(NFTA_DYNSET_SREG_KEY, NFT_REG32_00)
}

/** One packet, and then none for a long time; inverted, none and then all. */
const limitOf =
  (flags: number): Fill =>
  writer => {
    writer.be64(NFTA_LIMIT_RATE, 1)
    writer.be64(NFTA_LIMIT_UNIT, 3600)
    writer.be32(NFTA_LIMIT_BURST, 1)
    writer.be32(NFTA_LIMIT_FLAGS, flags)
  }

/** What becomes of a datagram to the loopback address. */
function send({ net }: ReturnType<FilterWorld['namespace']>): number {
  const packet = net.ip.packets.allocate(8)
  const at = packet.append(8)
  packet.bytes.fill(0, at, at + 8)
  return net.ip.ip.send(packet, plainFlow(IPPROTO_UDP, V4_LOOPBACK, V4_LOOPBACK))
}

test('sets: an element may have a counter or a limit of its own, and nothing that leads elsewhere', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('t'), chain('t', 'out', NF_INET_LOCAL_OUT))
  const ofSet = set(
    NFT_SET_EVAL,
    within(NFTA_SET_EXPR, 'notrack', () => {}),
  )
  assert.deepEqual(space.batch(ofSet).at(-1), -EOPNOTSUPP)
  space.apply(set(NFT_SET_EVAL))
  assert.deepEqual(space.batch(element(within(NFTA_SET_ELEM_EXPR, 'dynset', addsToItself))), [-EOPNOTSUPP])
  space.apply(element(within(NFTA_SET_ELEM_EXPR, 'counter', () => {})))
  space.apply(rule('t', 'out', expression('dynset', addsToItself)))
  assert.equal(send(space), 0)
})

test('sets: an element has two counters or limits at most', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('t'), set(0))
  const withCounters = (count: number): Uint8Array =>
    element(writer =>
      nested(writer, NFTA_SET_ELEM_EXPRESSIONS, () => {
        for (let i = 0; i < count; i++) within(NFTA_LIST_ELEM, 'counter', () => {})(writer)
      }),
    )
  assert.deepEqual(space.batch(withCounters(3)), [-E2BIG])
  space.apply(withCounters(2))
})

test('objects: a handle finds an object only with its type', () => {
  const space = new FilterWorld().namespace()
  const object = (type: number, messageType: number, more: Fill): Uint8Array =>
    message(messageType, writer => {
      writer.string(NFTA_OBJ_TABLE, 't')
      writer.be32(NFTA_OBJ_TYPE, type)
      more(writer)
    })
  const byHandle: Fill = writer => writer.be64(NFTA_OBJ_HANDLE, 1)
  space.apply(
    table('t'),
    object(NFT_OBJECT_COUNTER, NFT_MSG_NEWOBJ, writer => {
      writer.string(NFTA_OBJ_NAME, 'c')
      nested(writer, NFTA_OBJ_DATA, () => {})
    }),
  )
  assert.deepEqual(space.batch(object(NFT_OBJECT_QUOTA, NFT_MSG_DELOBJ, byHandle)), [-ENOENT])
  space.apply(object(NFT_OBJECT_COUNTER, NFT_MSG_DELOBJ, byHandle))
})

test('log: a prefix is no longer than Linux has room for', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('t'), chain('t', 'out', NF_INET_LOCAL_OUT))
  const logs = (length: number): Uint8Array =>
    rule(
      't',
      'out',
      expression('log', writer => writer.string(NFTA_LOG_PREFIX, 'x'.repeat(length))),
    )
  assert.deepEqual(space.batch(logs(NF_LOG_PREFIXLEN)), [-ERANGE])
  space.apply(logs(NF_LOG_PREFIXLEN - 1))
})

test('sets: each element that a packet adds has a limit of its own, which begins full', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('t'), chain('t', 'out', NF_INET_LOCAL_OUT))
  space.apply(set(NFT_SET_EVAL, within(NFTA_SET_EXPR, 'limit', limitOf(NFT_LIMIT_F_INV))))
  space.apply(rule('t', 'out', expression('dynset', addsToItself), verdict(NF_DROP)))
  assert.equal(send(space), 0)
  assert.equal(send(space), -EPERM)
  const flush = message(NFT_MSG_DELSETELEM, writer => {
    writer.string(NFTA_SET_ELEM_LIST_TABLE, 't')
    writer.string(NFTA_SET_ELEM_LIST_SET, 's')
  })
  space.apply(flush)
  assert.equal(send(space), 0)
})

test('sets: a limit of an element breaks off what the map says', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('t'), chain('t', 'out', NF_INET_LOCAL_OUT))
  space.apply(set(NFT_SET_MAP, writer => writer.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT)))
  space.apply(
    element(writer => {
      leadsTo(NF_ACCEPT)(writer)
      within(NFTA_SET_ELEM_EXPR, 'limit', limitOf(0))(writer)
    }),
  )
  const look = expression('lookup', writer => {
    writer.string(NFTA_LOOKUP_SET, 's')
    writer.be32(NFTA_LOOKUP_SREG, NFT_REG32_00)
    writer.be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT)
  })
  space.apply(rule('t', 'out', look), rule('t', 'out', verdict(NF_DROP)))
  assert.equal(send(space), 0)
  assert.equal(send(space), -EPERM)
})

test('sets: a chain that only elements lead to whose time is over can be deleted', () => {
  const world = new FilterWorld()
  const space = world.namespace()
  const deleteChain = message(NFT_MSG_DELCHAIN, writer => {
    writer.string(NFTA_CHAIN_TABLE, 't')
    writer.string(NFTA_CHAIN_NAME, 'x')
  })
  const deleteSet = message(NFT_MSG_DELSET, writer => {
    writer.string(NFTA_SET_TABLE, 't')
    writer.string(NFTA_SET_NAME, 's')
  })
  const map = set(NFT_SET_MAP | NFT_SET_TIMEOUT, writer => writer.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT))
  const forASecond = element(writer => {
    leadsTo(NFT_JUMP, 'x')(writer)
    writer.be64(NFTA_SET_ELEM_TIMEOUT, 1000)
  })
  for (const before of [[], [deleteSet]]) {
    space.apply(table('t'), chain('t', 'x'), map, forASecond)
    world.run(5)
    space.apply(...before, deleteChain)
  }
})
