/** bpf: a program of classic BPF looks at the packet, from its network header on. */
import {
  BPF_MAXINSNS,
  NFPROTO_UNSPEC,
  XT_BPF_MAX_NUM_INSTR,
  XT_BPF_MODE_BYTECODE,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import { SOCK_FILTER, XT_BPF_INFO, XT_BPF_INFO_V1 } from '../../../../abi/layout.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { failed } from '../../../../base/result.ts'
import { SocketFilter } from '../../../inet/filter.ts'
import type { Extension, Match } from './extension.ts'

/** `at`: where the program stands, `count`: how many instructions it has. */
function program(info: DataView, at: number, count: number): OrErrno<Match> {
  if (count === 0 || count > Math.min(XT_BPF_MAX_NUM_INSTR, BPF_MAXINSNS)) return -EINVAL
  const filter = SocketFilter.of(new Uint8Array(info.buffer, info.byteOffset + at, count * SOCK_FILTER.size))
  if (failed(filter)) return filter
  return { matches: ({ packet }) => filter.run(packet, packet.network) !== 0 }
}

/** The second takes programs of eBPF, too, which there are none of. */
export const bpfMatches: readonly Extension<Match>[] = [
  {
    ...{ name: 'bpf', revision: 0, family: NFPROTO_UNSPEC },
    size: XT_BPF_INFO.size,
    userSize: XT_BPF_INFO.filter,
    parse: info =>
      program(info, XT_BPF_INFO.bpf_program, info.getUint16(XT_BPF_INFO.bpf_program_num_elem, true)),
  },
  {
    ...{ name: 'bpf', revision: 1, family: NFPROTO_UNSPEC },
    size: XT_BPF_INFO_V1.size,
    userSize: XT_BPF_INFO_V1.filter,
    parse(info) {
      const mode = info.getUint16(XT_BPF_INFO_V1.mode, true)
      if (mode > 2) return -EINVAL
      if (mode !== XT_BPF_MODE_BYTECODE) return -EOPNOTSUPP
      return program(
        info,
        XT_BPF_INFO_V1.bpf_program,
        info.getUint16(XT_BPF_INFO_V1.bpf_program_num_elem, true),
      )
    },
  },
]
