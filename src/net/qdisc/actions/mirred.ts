/** mirred: to another device, the packet itself or a copy of it: tc-mirred(8), act_mirred.c. */
import {
  ETH_HLEN,
  TC_ACT_PIPE,
  TC_ACT_SHOT,
  TC_ACT_STOLEN,
  TCA_EGRESS_REDIR,
  TCA_INGRESS_MIRROR,
  TCA_INGRESS_REDIR,
  TCA_MIRRED_PARMS,
  TCA_MIRRED_TM,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV } from '../../../abi/errno.ts'
import { TC_MIRRED } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../netlink/message.ts'
import { GSO_NONE, PACKET_HOST } from '../../packet.ts'
import type { Frame } from '../filter.ts'
import { trafficOf } from '../traffic-control.ts'
import { Action, type ActionKind } from './action.ts'

/** MIRRED_NEST_LIMIT: redirections within redirections. */
const MAX_DEPTH = 4
/** All that one packet causes. */
const MAX_REDIRECTIONS = 64

class Mirred extends Action {
  override readonly kind = 'mirred'
  readonly #stack: IpStack
  #what = TCA_EGRESS_REDIR
  #target: NetDevice | undefined = undefined

  constructor(stack: IpStack) {
    super(stack.runtime.now())
    this.#stack = stack
  }

  override configure(options: Attributes): Status {
    const parameters = options.get(TCA_MIRRED_PARMS)
    if (parameters === undefined || parameters.length < TC_MIRRED.size) return -EINVAL
    const view = viewOf(parameters)
    const what = view.getInt32(TC_MIRRED.eaction, true)
    if (what < TCA_EGRESS_REDIR || what > TCA_INGRESS_MIRROR) return -EINVAL
    const index = view.getUint32(TC_MIRRED.ifindex, true)
    if (index === 0) return -EINVAL
    const target = this.#stack.devices.byIndex(index)
    if (target === undefined) return -ENODEV
    this.#what = what
    this.#target = target
    this.control = view.getInt32(TC_MIRRED.action, true)
    return 0
  }

  get #redirects(): boolean {
    return this.#what === TCA_EGRESS_REDIR || this.#what === TCA_INGRESS_REDIR
  }

  protected override act(frame: Frame): number {
    const { traffic } = this.#stack
    const target = this.#target
    const redirects = this.#redirects
    if (traffic.redirections === 0) traffic.redirectionsLeft = MAX_REDIRECTIONS
    const ends = traffic.redirections >= MAX_DEPTH || traffic.redirectionsLeft-- <= 0
    if (target?.stack !== this.#stack || !target.up || ends) {
      this.statistics.overlimits++
      this.statistics.drops++
      return redirects ? TC_ACT_SHOT : this.control
    }
    const taken = redirects && (this.control === TC_ACT_STOLEN || this.control === TC_ACT_PIPE)
    const saved = { ...frame }
    traffic.redirections++
    try {
      this.#send(frame, target, taken)
    } finally {
      traffic.redirections--
      Object.assign(frame, saved)
    }
    return taken ? TC_ACT_STOLEN : this.control
  }

  /** A whole frame where the target's links have headers, else what is in it. */
  #send(
    { packet: original, link, network, device, ingress }: Frame,
    target: NetDevice,
    taken: boolean,
  ): void {
    const hadHeader = link >= 0
    const from = hadHeader && target.headerLength > 0 ? link : network
    const { start } = original
    const packet = taken ? original.withHeadroom(ETH_HLEN) : original.clone()
    const shift = packet.start - start
    if (hadHeader || target.headerLength === 0) packet.start = from + shift
    else {
      const at = packet.push(ETH_HLEN)
      packet.bytes.fill(0, at, at + ETH_HLEN)
    }
    packet.network = network + shift
    if (packet.gsoType !== GSO_NONE && packet.transport < packet.network)
      packet.transport = packet.checksumStart
    const toIngress = this.#what === TCA_INGRESS_REDIR || this.#what === TCA_INGRESS_MIRROR
    if (toIngress) {
      packet.type = PACKET_HOST
      packet.network = packet.transport = -1
      this.#stack.receive(target, packet)
      return
    }
    if (taken) {
      const here = trafficOf(device)
      packet.redirected = ingress ? here.toHere : here.fromHere
    }
    this.#stack.transmit(target, packet)
  }

  override write(writer: MessageWriter): void {
    const at = writer.attribute(TCA_MIRRED_PARMS, TC_MIRRED.size)
    this.writeGeneral(writer, at)
    writer.set32(at + TC_MIRRED.eaction, this.#what)
    writer.set32(at + TC_MIRRED.ifindex, this.#target?.index ?? 0)
    this.writeTimes(writer, TCA_MIRRED_TM, this.#stack.runtime.now())
  }
}

export const mirredKind: ActionKind = {
  parameters: TCA_MIRRED_PARMS,
  indexAt: TC_MIRRED.index,
  make: stack => new Mirred(stack),
}
