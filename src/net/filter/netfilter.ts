/**
 * Netfilter: the packet filter of one network namespace: conntrack, NAT, and the tables of nf_tables. Made when somebody
 * first asks for it (a netfilter socket, a file of conntrack's); until a rule or a user of conntrack registers hooks with the
 * stack, packets pass without any of it.
 */
import type { IpStack } from '../ip-stack.ts'
import { Conntrack } from './conntrack/conntrack.ts'
import { Nat } from './nat/nat.ts'
import { Ruleset } from './tables/ruleset.ts'

export class Netfilter {
  readonly stack: IpStack
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly ruleset: Ruleset

  constructor(stack: IpStack) {
    this.stack = stack
    this.conntrack = new Conntrack(stack)
    this.nat = new Nat(stack, this.conntrack)
    this.ruleset = new Ruleset(this)
    stack.hooks.deviceDown = device => this.nat.deviceDown(device)
  }

  /** The namespace has ended. */
  close(): void {
    this.conntrack.table.clear()
  }
}
