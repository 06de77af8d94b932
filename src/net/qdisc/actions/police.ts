/** police: packets beyond a rate are dropped, or what else is said: tc-police(8), act_police.c. */
import {
  TC_ACT_OK,
  TC_ACT_SHOT,
  TCA_POLICE_AVRATE,
  TCA_POLICE_PEAKRATE64,
  TCA_POLICE_PKTRATE64,
  TCA_POLICE_RATE64,
  TCA_POLICE_RESULT,
  TCA_POLICE_TBF,
  TCA_POLICE_TM,
} from '../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import { TC_POLICE, TC_RATESPEC } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { type Attributes, type MessageWriter, viewOf } from '../../netlink/message.ts'
import { GSO_NONE } from '../../packet.ts'
import type { Frame } from '../filter.ts'
import { wireLength } from '../qdisc.ts'
import { nsToTicks, Rate, readRate64, ticksToNs } from '../rate.ts'
import { Action, type ActionKind } from './action.ts'

class Police extends Action {
  override readonly kind = 'police'
  readonly #stack: IpStack
  #rate: Rate | undefined = undefined
  #peak: Rate | undefined = undefined
  /** ns */
  #burst = 0
  #mtu = 0
  #mtuTime = 0
  /** Of packets within the rate. */
  #conform = TC_ACT_OK
  #tokens = 0
  #peakTokens = 0
  #checked: number

  constructor(stack: IpStack) {
    super(stack.runtime.now())
    this.#stack = stack
    this.#checked = stack.runtime.now()
  }

  override configure(options: Attributes): Status {
    const parameters = options.get(TCA_POLICE_TBF)
    if (parameters === undefined || parameters.length < TC_POLICE.size) return -EINVAL
    if (options.has(TCA_POLICE_AVRATE) || options.has(TCA_POLICE_PKTRATE64)) return -EOPNOTSUPP
    const view = viewOf(parameters)
    const rate = new Rate(view, TC_POLICE.rate, readRate64(options, TCA_POLICE_RATE64))
    const peak = new Rate(view, TC_POLICE.peakrate, readRate64(options, TCA_POLICE_PEAKRATE64))
    const result = options.u32(TCA_POLICE_RESULT)
    this.#rate = rate.bytesPerSecond === 0 ? undefined : rate
    this.#peak = peak.bytesPerSecond === 0 ? undefined : peak
    this.#burst = this.#tokens = ticksToNs(view.getUint32(TC_POLICE.burst, true))
    const mtu = view.getUint32(TC_POLICE.mtu, true)
    if (mtu !== 0) this.#mtu = mtu
    else
      this.#mtu =
        this.#rate === undefined ? 0xffffffff : 255 << view.getUint8(TC_POLICE.rate + TC_RATESPEC.cell_log)
    if (this.#peak !== undefined) this.#mtuTime = this.#peakTokens = this.#peak.time(this.#mtu)
    this.#conform = result === undefined ? TC_ACT_OK : result | 0
    this.control = view.getInt32(TC_POLICE.action, true)
    return 0
  }

  protected override act(frame: Frame): number {
    const bytes = wireLength(frame.packet)
    const { gsoType, gsoSize, length } = frame.packet
    const longest = gsoType === GSO_NONE ? length : gsoSize
    if (longest <= this.#mtu && this.#conforms(bytes, frame.now)) return this.#conform
    this.statistics.overlimits++
    if (this.control === TC_ACT_SHOT) this.statistics.drops++
    return this.control
  }

  #conforms(bytes: number, now: number): boolean {
    if (this.#rate === undefined) return true
    const since = Math.min(now - this.#checked, this.#burst)
    let peakTokens = 0
    if (this.#peak !== undefined)
      peakTokens = Math.min(since + this.#peakTokens, this.#mtuTime) - this.#peak.time(bytes)
    const tokens = Math.min(since + this.#tokens, this.#burst) - this.#rate.time(bytes)
    if (tokens < 0 || peakTokens < 0) return false
    this.#checked = now
    this.#tokens = tokens
    this.#peakTokens = peakTokens
    return true
  }

  override write(writer: MessageWriter): void {
    const at = writer.attribute(TCA_POLICE_TBF, TC_POLICE.size)
    writer.set32(at + TC_POLICE.index, this.index)
    writer.set32(at + TC_POLICE.action, this.control)
    writer.set32(at + TC_POLICE.burst, nsToTicks(this.#burst))
    writer.set32(at + TC_POLICE.mtu, this.#mtu)
    this.#rate?.write(writer, at + TC_POLICE.rate)
    this.#peak?.write(writer, at + TC_POLICE.peakrate)
    writer.set32(at + TC_POLICE.refcnt, this.references)
    writer.set32(at + TC_POLICE.bindcnt, this.bound)
    if (this.#rate?.is64) writer.u64(TCA_POLICE_RATE64, this.#rate.bytesPerSecond)
    if (this.#peak?.is64) writer.u64(TCA_POLICE_PEAKRATE64, this.#peak.bytesPerSecond)
    if (this.#conform !== TC_ACT_OK) writer.u32(TCA_POLICE_RESULT, this.#conform)
    this.writeTimes(writer, TCA_POLICE_TM, this.#stack.runtime.now())
  }
}

export const policeKind: ActionKind = {
  parameters: TCA_POLICE_TBF,
  indexAt: TC_POLICE.index,
  make: stack => new Police(stack),
}
