/** For tests of the packet filter: rules as nft sends them, into a stack of its own. */
import {
  AF_NETLINK,
  NETLINK_NETFILTER,
  NF_ACCEPT,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFPROTO_IPV4,
  NFT_CMP_EQ,
  NFT_CT_STATE,
  NFT_JUMP,
  NFT_META_L4PROTO,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWTABLE,
  NFT_PAYLOAD_TRANSPORT_HEADER,
  NFT_REG_1,
  NFT_REG_VERDICT,
  NFTA_BITWISE_DREG,
  NFTA_BITWISE_LEN,
  NFTA_BITWISE_MASK,
  NFTA_BITWISE_SREG,
  NFTA_BITWISE_XOR,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_CMP_DATA,
  NFTA_CMP_OP,
  NFTA_CMP_SREG,
  NFTA_CT_DREG,
  NFTA_CT_KEY,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
  NFTA_LIST_ELEM,
  NFTA_META_DREG,
  NFTA_META_KEY,
  NFTA_NAT_FAMILY,
  NFTA_NAT_REG_ADDR_MIN,
  NFTA_NAT_REG_PROTO_MIN,
  NFTA_NAT_TYPE,
  NFTA_PAYLOAD_BASE,
  NFTA_PAYLOAD_DREG,
  NFTA_PAYLOAD_LEN,
  NFTA_PAYLOAD_OFFSET,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
  NFTA_TABLE_NAME,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  SOCK_RAW,
} from '../../../abi/constants.ts'
import { NFGENMSG, NLMSGERR, NLMSGHDR } from '../../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../../base/io.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import type { Task } from '../../../kernel/task.ts'
import { IpAddress } from '../../address.ts'
import { InetNetwork, InetNetworks } from '../../inet/network.ts'
import { receiveRequest, sendRequest } from '../../socket.ts'
import { NetStack } from '../../stack.ts'
import { TestWorld } from '../../testing.ts'
import { MessageWriter, viewOf } from '../message.ts'
import type { NetlinkSocket } from '../socket.ts'
import { startMessage } from './header.ts'

export interface Message {
  readonly type: number
  readonly flags: number
  readonly body: Uint8Array
}
export type Fill = (writer: MessageWriter) => void

/** Network namespaces of one kernel, with virtual time. */
export class FilterWorld {
  readonly world = new TestWorld()
  readonly task: Task
  readonly networks: InetNetworks

  constructor() {
    let seed = 1
    const random = (into: Uint8Array) => {
      for (let i = 0; i < into.length; i++) {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
        into[i] = seed >>> 16
      }
    }
    const kernel = { ...this.world.kernel, host: { random } } as unknown as Kernel
    this.networks = new InetNetworks(kernel)
    this.task = Object.assign(this.world.task(), { comm: 'test' })
  }

  /** A namespace with its loopback device up. */
  namespace(): FilterNamespace {
    const net = new InetNetwork(this.networks, new NetStack(this.world.net))
    net.stack.own = net
    net.startLoopback()
    return new FilterNamespace(this, net)
  }

  /** Lets `seconds` go by. */
  run(seconds: number): void {
    const { world, networks } = this
    const end = world.time + seconds * 1e9
    for (;;) {
      networks.runtime.backlog.drain()
      const { next } = world.timers
      if (next > end) break
      world.time = Math.max(world.time, next)
      world.timers.expire(world.time)
    }
    world.time = end
  }
}

export class FilterNamespace {
  readonly net: InetNetwork
  readonly socket: NetlinkSocket
  readonly #made: FilterWorld

  constructor(made: FilterWorld, net: InetNetwork) {
    this.#made = made
    this.net = net
    this.socket = net.create(made.task, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) as NetlinkSocket
    this.socket.options.sndbuf = this.socket.options.rcvbuf = 1 << 20
  }

  /** Sends a datagram; what comes back. */
  ask(bytes: Uint8Array): Message[] {
    const { task } = this.#made
    const sent = this.socket.send(task, sendRequest(new BufferSrc(bytes), 0))
    if (sent !== bytes.length) throw new Error(`sent ${sent} of ${bytes.length} bytes`)
    const messages: Message[] = []
    for (;;) {
      const buffer = new Uint8Array(65536)
      const n = this.socket.receive(task, receiveRequest(new BufferDst(buffer), 0))
      if (n < 0) return messages
      for (let at = 0; at < n; ) {
        const view = viewOf(buffer.subarray(at))
        const length = view.getUint32(NLMSGHDR.nlmsg_len, true)
        const type = view.getUint16(NLMSGHDR.nlmsg_type, true)
        const flags = view.getUint16(NLMSGHDR.nlmsg_flags, true)
        messages.push({ type, flags, body: buffer.slice(at + NLMSGHDR.size, at + length) })
        at += (length + 3) & ~3
      }
    }
  }

  /** A batch of these messages: the errors that come back. */
  batch(...messages: Uint8Array[]): number[] {
    return errorsOf(this.ask(batchOf(messages)))
  }
  /** The same, which must go well. */
  apply(...messages: Uint8Array[]): void {
    const errors = this.batch(...messages)
    if (errors.length > 0) throw new Error(`the batch was refused: ${errors}`)
  }
}

export function errorsOf(messages: readonly Message[]): number[] {
  return messages
    .filter(({ type }) => type === NLMSG_ERROR)
    .map(({ body }) => viewOf(body).getInt32(NLMSGERR.error, true))
}

export function batchOf(messages: readonly Uint8Array[], end = true): Uint8Array {
  const frame = (type: number) => {
    const writer = new MessageWriter()
    writer.start(type, NLM_F_REQUEST, 1, 0)
    writer.set16(writer.struct(NFGENMSG.size) + NFGENMSG.res_id, NFNL_SUBSYS_NFTABLES << 8)
    writer.end()
    return writer.take()
  }
  const parts = [frame(NFNL_MSG_BATCH_BEGIN), ...messages, ...(end ? [frame(NFNL_MSG_BATCH_END)] : [])]
  return Uint8Array.from(parts.flatMap(part => [...part]))
}

/** One message of nf_tables. */
export function message(type: number, fill: Fill, flags = NLM_F_CREATE, family = NFPROTO_IPV4): Uint8Array {
  const writer = new MessageWriter()
  const nobody = { sequence: 7, port: 0 }
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, NLM_F_REQUEST | flags, nobody, family, 0)
  fill(writer)
  writer.end()
  return writer.take()
}

export function table(name: string, flags = NLM_F_CREATE): Uint8Array {
  return message(NFT_MSG_NEWTABLE, writer => writer.string(NFTA_TABLE_NAME, name), flags)
}

/** A base chain where `point` is given. */
export function chain(
  tableName: string,
  name: string,
  point?: number,
  { type = 'filter', priority = 0, policy = NF_ACCEPT } = {},
): Uint8Array {
  return message(NFT_MSG_NEWCHAIN, writer => {
    writer.string(NFTA_CHAIN_TABLE, tableName)
    writer.string(NFTA_CHAIN_NAME, name)
    if (point === undefined) return
    const hook = writer.nest(NFTA_CHAIN_HOOK)
    writer.be32(NFTA_HOOK_HOOKNUM, point)
    writer.be32(NFTA_HOOK_PRIORITY, priority)
    writer.close(hook)
    writer.be32(NFTA_CHAIN_POLICY, policy)
    writer.string(NFTA_CHAIN_TYPE, type)
  })
}

export function rule(tableName: string, chainName: string, ...expressions: Fill[]): Uint8Array {
  return message(
    NFT_MSG_NEWRULE,
    writer => {
      writer.string(NFTA_RULE_TABLE, tableName)
      writer.string(NFTA_RULE_CHAIN, chainName)
      const list = writer.nest(NFTA_RULE_EXPRESSIONS)
      for (const expression of expressions) expression(writer)
      writer.close(list)
    },
    NLM_F_CREATE | NLM_F_APPEND,
  )
}

export function expression(name: string, fill: Fill): Fill {
  return writer => {
    const nest = writer.nest(NFTA_LIST_ELEM)
    writer.string(NFTA_EXPR_NAME, name)
    const data = writer.nest(NFTA_EXPR_DATA)
    fill(writer)
    writer.close(data)
    writer.close(nest)
  }
}

function value(writer: MessageWriter, type: number, bytes: Uint8Array): void {
  const nest = writer.nest(type)
  writer.bytes(NFTA_DATA_VALUE, bytes)
  writer.close(nest)
}
function compare(writer: MessageWriter, register: number, bytes: Uint8Array, operator = NFT_CMP_EQ): void {
  expression('cmp', w => {
    w.be32(NFTA_CMP_SREG, register)
    w.be32(NFTA_CMP_OP, operator)
    value(w, NFTA_CMP_DATA, bytes)
  })(writer)
}

/** The packet is of this protocol, and goes to this port. */
export function toPort(protocol: number, port: number): Fill {
  return writer => {
    expression('meta', w => {
      w.be32(NFTA_META_KEY, NFT_META_L4PROTO)
      w.be32(NFTA_META_DREG, NFT_REG_1)
    })(writer)
    compare(writer, NFT_REG_1, Uint8Array.of(protocol))
    expression('payload', w => {
      w.be32(NFTA_PAYLOAD_DREG, NFT_REG_1)
      w.be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER)
      w.be32(NFTA_PAYLOAD_OFFSET, 2)
      w.be32(NFTA_PAYLOAD_LEN, 2)
    })(writer)
    compare(writer, NFT_REG_1, Uint8Array.of(port >> 8, port & 255))
  }
}

/** `ct state`: one of the bits. */
export function inState(bits: number): Fill {
  return writer => {
    expression('ct', w => {
      w.be32(NFTA_CT_KEY, NFT_CT_STATE)
      w.be32(NFTA_CT_DREG, NFT_REG_1)
    })(writer)
    expression('bitwise', w => {
      w.be32(NFTA_BITWISE_SREG, NFT_REG_1)
      w.be32(NFTA_BITWISE_DREG, NFT_REG_1)
      w.be32(NFTA_BITWISE_LEN, 4)
      value(w, NFTA_BITWISE_MASK, Uint8Array.of(bits, 0, 0, 0))
      value(w, NFTA_BITWISE_XOR, new Uint8Array(4))
    })(writer)
    compare(writer, NFT_REG_1, new Uint8Array(4), NFT_CMP_EQ + 1)
  }
}

export function verdict(code: number, target?: string): Fill {
  return expression('immediate', writer => {
    writer.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
    const data = writer.nest(NFTA_IMMEDIATE_DATA)
    const nest = writer.nest(NFTA_DATA_VERDICT)
    writer.be32(NFTA_VERDICT_CODE, code)
    if (target !== undefined) writer.string(NFTA_VERDICT_CHAIN, target)
    writer.close(nest)
    writer.close(data)
  })
}
export function jump(target: string): Fill {
  return verdict(NFT_JUMP, target)
}

/** NFT_NAT_SNAT or NFT_NAT_DNAT, to an address and perhaps a port. */
export function translate(type: number, address: string, port?: number): Fill {
  return writer => {
    load(writer, NFT_REG_1, IpAddress.of(address).bytes())
    if (port !== undefined) load(writer, NFT_REG_1 + 1, Uint8Array.of(port >> 8, port & 255))
    expression('nat', w => {
      w.be32(NFTA_NAT_TYPE, type)
      w.be32(NFTA_NAT_FAMILY, NFPROTO_IPV4)
      w.be32(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1)
      if (port !== undefined) w.be32(NFTA_NAT_REG_PROTO_MIN, NFT_REG_1 + 1)
    })(writer)
  }
}
function load(writer: MessageWriter, register: number, bytes: Uint8Array): void {
  expression('immediate', w => {
    w.be32(NFTA_IMMEDIATE_DREG, register)
    value(w, NFTA_IMMEDIATE_DATA, bytes)
  })(writer)
}
export const masquerade: Fill = expression('masq', () => {})
