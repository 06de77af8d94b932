/** NFQUEUE: a program decides on the packet. */
import {
  NFPROTO_UNSPEC,
  NFQ_FLAG_BYPASS,
  NFQ_FLAG_CPU_FANOUT,
  NFQ_FLAG_MASK,
} from '../../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../../abi/errno.ts'
import { XT_NFQ_INFO_V3 as INFO } from '../../../../abi/layout.ts'
import { queueVerdict } from '../../queue-choice.ts'
import type { Extension, Target } from './extension.ts'

/** The first has one queue; later ones several, then the flag to bypass, then flags. */
const SIZES = [INFO.queues_total, INFO.flags, INFO.size, INFO.size]

export const nfqueueTargets: readonly Extension<Target>[] = SIZES.map((size, revision) => ({
  name: 'NFQUEUE',
  revision,
  family: NFPROTO_UNSPEC,
  size,
  parse(info) {
    const first = info.getUint16(INFO.queuenum, true)
    const count = revision < 1 ? 1 : info.getUint16(INFO.queues_total, true)
    const flags = revision < 2 ? 0 : info.getUint16(INFO.flags, true)
    if (count === 0) return -EINVAL
    if (first + count - 1 > 0xffff) return -ERANGE
    if ((flags & ~(revision === 2 ? NFQ_FLAG_BYPASS : NFQ_FLAG_MASK)) !== 0) return -EINVAL
    const bypass = (flags & NFQ_FLAG_BYPASS) !== 0
    const choice = { first, count, bypass, byCpu: (flags & NFQ_FLAG_CPU_FANOUT) !== 0 }
    return { apply: ({ packet }, { queues }) => queueVerdict(choice, packet, queues.seed) }
  },
}))
