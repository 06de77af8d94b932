/**
 * Netfilter: the packet filter of one network namespace: conntrack, NAT, the tables of nf_tables, and those of x_tables
 * (iptables-legacy). Made when somebody first asks for it (a netfilter socket, a socket option, a file of conntrack's); until
 * a rule or a user of conntrack registers hooks with the stack, packets pass without any of it.
 */
import type { IpStack } from '../ip-stack.ts'
import { Conntrack } from './conntrack/conntrack.ts'
import { HashLimits } from './hash-limit.ts'
import { IpSets } from './ipset/sets.ts'
import { PacketLog } from './log/packet-log.ts'
import { Nat } from './nat/nat.ts'
import { PacketQueues } from './packet-queues.ts'
import { RecentLists } from './recent.ts'
import { Ruleset } from './tables/ruleset.ts'
import type { RuleTracer } from './tables/tracer.ts'
import { XtTables } from './xtables/tables.ts'

export class Netfilter {
  readonly stack: IpStack
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly log = new PacketLog()
  readonly queues: PacketQueues
  readonly recent: RecentLists
  readonly hashLimits: HashLimits
  readonly ipSets: IpSets
  readonly ruleset: Ruleset
  /** Told of packets that rules have marked for it. */
  tracer: RuleTracer | undefined = undefined
  /** A copy is being sent: rules see it, too, and would copy it for ever. */
  duplicating = false
  readonly ipTables: XtTables
  readonly ip6Tables: XtTables

  constructor(stack: IpStack) {
    this.stack = stack
    const { filterRoom } = stack.runtime
    this.recent = new RecentLists(filterRoom)
    this.hashLimits = new HashLimits(filterRoom)
    this.ipSets = new IpSets(filterRoom)
    this.conntrack = new Conntrack(stack)
    this.nat = new Nat(stack, this.conntrack)
    this.ruleset = new Ruleset(this)
    this.ipTables = new XtTables(this, true)
    this.ip6Tables = new XtTables(this, false)
    this.queues = new PacketQueues(stack.random.u32())
    stack.hooks.queue = (held, verdict) => this.queues.enqueue(held, verdict)
    stack.hooks.deviceDown = device => {
      this.nat.deviceDown(device)
      this.queues.deviceDown(device)
    }
  }

  /** The namespace has ended. */
  close(): void {
    this.queues.close()
    this.conntrack.table.clear()
    this.recent.clear()
    this.hashLimits.clear()
    this.ipSets.clear()
  }
}
