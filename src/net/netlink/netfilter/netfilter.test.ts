import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_SUBSYS_NFTABLES,
  NFT_CHAIN_BINDING,
  NFT_JUMP,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELTABLE,
  NFT_MSG_GETRULE,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWTABLE,
  NFT_REG_VERDICT,
  NFTA_CHAIN_FLAGS,
  NFTA_CHAIN_ID,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_DATA_VERDICT,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
  NFTA_RULE_EXPRESSIONS,
  NFTA_TABLE_NAME,
  NFTA_VERDICT_CHAIN_ID,
  NFTA_VERDICT_CODE,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_DONE,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, EMLINK, ENOENT, EOPNOTSUPP, EPERM, ERESTART } from '../../../abi/errno.ts'
import { NFGENMSG, NLMSGHDR } from '../../../abi/layout.ts'
import { BufferSrc } from '../../../base/io.ts'
import { sendRequest } from '../../socket.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import {
  batchOf,
  chain,
  errorsOf,
  expression,
  type Fill,
  FilterWorld,
  inState,
  jump,
  masquerade,
  message,
  rule,
  table,
  toPort,
  verdict,
} from './testing.ts'

function names(space: ReturnType<FilterWorld['namespace']>): string[] {
  return [...space.net.netfilter.ruleset.tables.values()].map(({ name }) => name)
}

/** A chain that is to be one rule's own; nameless where its number is all that it has. */
function own(tableName: string, name: string | undefined, id?: number): Uint8Array {
  return message(NFT_MSG_NEWCHAIN, writer => {
    writer.string(NFTA_CHAIN_TABLE, tableName)
    if (name !== undefined) writer.string(NFTA_CHAIN_NAME, name)
    if (id !== undefined) writer.be32(NFTA_CHAIN_ID, id)
    writer.be32(NFTA_CHAIN_FLAGS, NFT_CHAIN_BINDING)
  })
}
function jumpToNumber(id: number): Fill {
  return expression('immediate', writer => {
    writer.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
    const data = writer.nest(NFTA_IMMEDIATE_DATA)
    const nest = writer.nest(NFTA_DATA_VERDICT)
    writer.be32(NFTA_VERDICT_CODE, NFT_JUMP)
    writer.be32(NFTA_VERDICT_CHAIN_ID, id)
    writer.close(nest)
    writer.close(data)
  })
}

test("nf_tables: a rule's own chain is no other rule's, and takes no name that another chain has", () => {
  const space = new FilterWorld().namespace()
  space.apply(
    table('a'),
    chain('a', '__chain1', NF_INET_LOCAL_IN),
    own('a', 'b'),
    rule('a', '__chain1', jump('b')),
  )
  const { chains } = space.net.netfilter.ruleset.find(2, 'a')!
  assert.deepEqual(space.batch(rule('a', '__chain1', jump('b'))), [-EINVAL], 'it is taken')
  assert.deepEqual(space.batch(own('a', 'b')), [-EINVAL], 'nor is it changed')
  assert.deepEqual(space.batch(own('a', 'c')), [-EINVAL], 'no rule has it')
  const { base } = chains.get('__chain1')!
  space.apply(own('a', undefined, 5), rule('a', '__chain1', jumpToNumber(5)))
  assert.deepEqual([...chains.keys()], ['__chain1', 'b', '__chain2'])
  assert.equal(chains.get('__chain1')!.base, base)
  space.apply(message(NFT_MSG_DELTABLE, w => w.string(NFTA_TABLE_NAME, 'a')))
  assert.equal(space.net.ip.hooks.v4[NF_INET_LOCAL_IN].length, 0)
})

test('nf_tables: a batch takes effect whole, and not at all when one of its messages fails', () => {
  const space = new FilterWorld().namespace()
  const { ruleset } = space.net.netfilter
  space.apply(table('a'), chain('a', 'in', NF_INET_LOCAL_IN), rule('a', 'in', verdict(NF_DROP)))
  const { generation } = ruleset
  const errors = space.batch(
    message(NFT_MSG_DELTABLE, w => w.string(NFTA_TABLE_NAME, 'a')),
    table('b'),
    rule('b', 'nowhere', verdict(NF_DROP)),
    chain('nowhere', 'c'),
  )
  assert.deepEqual(errors, [-ENOENT, -ENOENT], 'each error is told')
  assert.deepEqual(names(space), ['a'])
  assert.equal(ruleset.find(2, 'a')!.chains.get('in')!.rules.length, 1)
  assert.equal(space.net.ip.hooks.v4[NF_INET_LOCAL_IN].length, 1, 'its chain still sees packets')
  assert.equal(ruleset.generation, generation)
})

test('nf_tables: a batch without an end changes nothing', () => {
  const space = new FilterWorld().namespace()
  assert.deepEqual(errorsOf(space.ask(batchOf([table('a')], false))), [])
  assert.deepEqual(names(space), [])
})

test('nf_tables: a batch for another generation of the rules is to be made anew', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('a'))
  const writer = new MessageWriter()
  writer.start(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 1, 0)
  writer.set16(writer.struct(NFGENMSG.size) + NFGENMSG.res_id, NFNL_SUBSYS_NFTABLES << 8)
  writer.be32(NFNL_BATCH_GENID, 1)
  writer.end()
  assert.deepEqual(errorsOf(space.ask(writer.take())), [-ERESTART])
})

test('nf_tables: what there is already, what is in use and what is not there are refused as on Linux', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('a'), chain('a', 'in', NF_INET_LOCAL_IN), chain('a', 'other'))
  space.apply(rule('a', 'in', jump('other')))
  assert.deepEqual(space.batch(table('a')), [], 'unless it must be new')
  assert.deepEqual(space.batch(table('a', NLM_F_CREATE | NLM_F_EXCL)), [-EEXIST])
  const remove = (name: string) =>
    message(NFT_MSG_DELCHAIN, w => {
      w.string(NFTA_CHAIN_TABLE, 'a')
      w.string(NFTA_CHAIN_NAME, name)
    })
  assert.deepEqual(space.batch(remove('other')), [-EBUSY])
  assert.deepEqual(space.batch(remove('none')), [-ENOENT])
  assert.deepEqual(space.batch(rule('a', 'in', jump('in'))), [-EOPNOTSUPP], 'no jumps to base chains')
  assert.deepEqual(
    space.batch(
      rule(
        'a',
        'in',
        expression('nonsense', () => {}),
      ),
    ),
    [-ENOENT],
  )
  assert.deepEqual(space.batch(chain('a', 'n', NF_INET_FORWARD, { type: 'nat' })), [-EOPNOTSUPP])
  assert.deepEqual(space.batch(chain('a', 'in', NF_INET_LOCAL_OUT)), [-EEXIST])
  assert.deepEqual(space.batch(remove('in'), remove('other')), [], 'together they go')
})

test('nf_tables: jumps in circles, and NAT where no NAT is done, are found out before they take effect', () => {
  const space = new FilterWorld().namespace()
  space.apply(table('a'), chain('a', 'in', NF_INET_LOCAL_IN), chain('a', 'x'), chain('a', 'y'))
  space.apply(rule('a', 'x', jump('y')), rule('a', 'y', jump('x')))
  assert.deepEqual(space.batch(rule('a', 'in', jump('x'))), [-EMLINK])
  space.apply(chain('a', 'z'), rule('a', 'z', masquerade))
  assert.deepEqual(space.batch(rule('a', 'in', jump('z'))), [-EOPNOTSUPP])
  const nat = { type: 'nat', priority: 100 }
  space.apply(chain('a', 'post', NF_INET_POST_ROUTING, nat), rule('a', 'post', jump('z')))
})

test('nf_tables: hooks and conntrack are there only while rules need them', () => {
  const space = new FilterWorld().namespace()
  const { hooks } = space.net.ip
  const { conntrack } = space.net.netfilter
  const count = () => [...hooks.v4, ...hooks.v6].flat().length
  assert.equal(count(), 0)
  space.apply(table('a'), chain('a', 'in', NF_INET_LOCAL_IN))
  assert.equal(count(), 1)
  space.apply(rule('a', 'in', inState(2), verdict(NF_DROP)))
  assert.ok(conntrack.used)
  assert.equal(count(), 5, 'conntrack of IPv4 alone')
  space.apply(message(NFT_MSG_DELTABLE, () => {}, 0, 0))
  assert.equal(count(), 0)
  assert.equal(conntrack.used, false)
})

test('nf_tables: a dump tells expressions as they were given', () => {
  const space = new FilterWorld().namespace()
  const given = rule('a', 'in', toPort(6, 80), verdict(NF_DROP))
  space.apply(table('a'), chain('a', 'in', NF_INET_LOCAL_IN), given)
  const answers = space.ask(message(NFT_MSG_GETRULE, () => {}, NLM_F_DUMP, 0))
  assert.equal(answers.at(-1)?.type, NLMSG_DONE)
  const told = new Attributes(answers[0].body, NFGENMSG.size).nested(NFTA_RULE_EXPRESSIONS)
  const wanted = new Attributes(given, NLMSGHDR.size + NFGENMSG.size).nested(NFTA_RULE_EXPRESSIONS)
  assert.equal(told?.list.length, 5)
  assert.deepEqual(told?.list, wanted?.list)
})

test('nf_tables: nobody without CAP_NET_ADMIN sees or changes rules', () => {
  const made = new FilterWorld()
  const space = made.namespace()
  const user = made.world.task(1000)
  for (const bytes of [batchOf([table('a')]), message(NFT_MSG_GETTABLE, () => {}, NLM_F_DUMP)]) {
    space.socket.send(user, sendRequest(new BufferSrc(bytes), 0))
    assert.deepEqual(errorsOf(space.ask(new Uint8Array(0))), [-EPERM])
  }
  assert.deepEqual(names(space), [])
})

test('nf_tables: changes outside of a batch are refused', () => {
  const space = new FilterWorld().namespace()
  assert.deepEqual(errorsOf(space.ask(table('a'))), [-EINVAL])
  const [answer] = space.ask(message(NFT_MSG_GETTABLE, w => w.string(NFTA_TABLE_NAME, 'a'), 0))
  assert.deepEqual(errorsOf([answer]), [-ENOENT])
})

test('nfnetlink: hostile batches and messages are answered or dropped, and leave the rules whole', () => {
  const made = new FilterWorld()
  const space = made.namespace()
  let seed = 4711
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % limit
  }
  const good = [
    table('a'),
    chain('a', 'in', NF_INET_LOCAL_IN),
    chain('a', 'other'),
    rule('a', 'in', toPort(6, 80), inState(2), verdict(NF_DROP)),
    rule('a', 'in', jump('other')),
    message(NFT_MSG_DELTABLE, w => w.string(NFTA_TABLE_NAME, 'a')),
    message(NFT_MSG_NEWTABLE, () => {}),
    message(NFT_MSG_NEWRULE, () => {}),
  ]
  for (let round = 0; round < 3000; round++) {
    const messages: Uint8Array[] = []
    for (let i = random(5); i >= 0; i--) {
      const bytes = good[random(good.length)].slice()
      // Behind the header: a length or a type of an attribute, a value, the family.
      for (let n = random(4); n > 0; n--) bytes[NLMSGHDR.size + random(bytes.length - 16)] = random(256)
      if (random(8) === 0) viewOf(bytes).setUint16(4, (10 << 8) | random(30), true)
      messages.push(bytes)
    }
    space.ask(random(6) === 0 ? messages[0] : batchOf(messages, random(10) !== 0))
    if (random(50) === 0) viewOf(messages[0]).setUint16(4, (random(13) << 8) | random(30), true)
    space.ask(messages[0])
  }
  // Whatever is left can be dumped, and goes as one.
  for (const type of [NFT_MSG_GETTABLE, NFT_MSG_GETRULE])
    assert.equal(space.ask(message(type, () => {}, NLM_F_DUMP, 0)).at(-1)?.type, NLMSG_DONE)
  space.apply(message(NFT_MSG_DELTABLE, () => {}, 0, 0))
  assert.equal([...space.net.ip.hooks.v4, ...space.net.ip.hooks.v6].flat().length, 0)
  assert.equal(space.net.netfilter.conntrack.used, false)
})
