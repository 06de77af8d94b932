/** u32: words of the packet, found by way of other words of it, and compared with ranges. */
import {
  NFPROTO_UNSPEC,
  XT_U32_AND,
  XT_U32_AT,
  XT_U32_LEFTSH,
  XT_U32_MAXSIZE,
  XT_U32_RIGHTSH,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_U32, XT_U32_LOCATION_ELEMENT, XT_U32_TEST, XT_U32_VALUE_ELEMENT } from '../../../../abi/layout.ts'
import type { Packet } from '../../../packet.ts'
import type { Extension, Match } from './extension.ts'

interface Step {
  readonly operation: number
  readonly number: number
}
interface Test {
  /** Where the first word stands. */
  readonly start: number
  readonly steps: readonly Step[]
  readonly ranges: readonly { readonly min: number; readonly max: number }[]
}

export const u32Match: Extension<Match> = {
  name: 'u32',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_U32.size,
  parse(info) {
    const count = info.getUint8(XT_U32.ntests)
    if (count > XT_U32_MAXSIZE + 1) return -EINVAL
    const tests: Test[] = []
    for (let i = 0; i < count; i++) {
      const test = readTest(info, XT_U32.tests + i * XT_U32_TEST.size)
      if (test === undefined) return -EINVAL
      tests.push(test)
    }
    const invert = info.getUint8(XT_U32.invert) !== 0
    return { matches: ({ packet }) => tests.every(test => passes(packet, test)) !== invert }
  },
}

function readTest(info: DataView, at: number): Test | undefined {
  const numbers = info.getUint8(at + XT_U32_TEST.nnums)
  const values = info.getUint8(at + XT_U32_TEST.nvalues)
  if (numbers === 0 || numbers > XT_U32_MAXSIZE + 1 || values > XT_U32_MAXSIZE + 1) return undefined
  const steps = Array.from({ length: numbers }, (_, i) => {
    const element = at + XT_U32_TEST.location + i * XT_U32_LOCATION_ELEMENT.size
    return {
      operation: info.getUint8(element + XT_U32_LOCATION_ELEMENT.nextop),
      number: info.getUint32(element + XT_U32_LOCATION_ELEMENT.number, true),
    }
  })
  const ranges = Array.from({ length: values }, (_, i) => {
    const element = at + XT_U32_TEST.value + i * XT_U32_VALUE_ELEMENT.size
    return {
      min: info.getUint32(element + XT_U32_VALUE_ELEMENT.min, true),
      max: info.getUint32(element + XT_U32_VALUE_ELEMENT.max, true),
    }
  })
  // The first tells where to begin, whatever its operation.
  const [{ number: start }, ...rest] = steps
  return { start, steps: rest, ranges }
}

/** What lies beyond the packet's end passes no test. */
function passes({ view, network, end }: Packet, { start, steps, ranges }: Test): boolean {
  let base = network
  const word = (offset: number) => (base + offset + 4 <= end ? view.getUint32(base + offset) : -1)
  let value = word(start)
  for (const { operation, number } of steps) {
    if (value < 0) return false
    if (operation === XT_U32_AND) value = (value & number) >>> 0
    else if (operation === XT_U32_LEFTSH) value = number > 31 ? 0 : (value << number) >>> 0
    else if (operation === XT_U32_RIGHTSH) value = number > 31 ? 0 : value >>> number
    else if (operation === XT_U32_AT) {
      base += value
      value = word(number)
    }
  }
  return value >= 0 && ranges.some(({ min, max }) => value >= min && value <= max)
}
