/** How a family's entries lie in a table's blob: `struct ipt_entry` and `struct ip6t_entry`. */
import {
  IP6T_F_GOTO,
  IP6T_F_MASK,
  IP6T_INV_MASK,
  IPT_F_GOTO,
  IPT_F_MASK,
  IPT_INV_MASK,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from '../../../abi/constants.ts'
import { IP6T_ENTRY, IP6T_IP6, IPT_ENTRY, IPT_IP } from '../../../abi/layout.ts'

/** What the two structs have in common. */
interface EntryLayout {
  readonly size: number
  readonly target_offset: number
  readonly next_offset: number
  readonly comefrom: number
  readonly counters: number
}
interface HeaderLayout {
  readonly size: number
  readonly src: number
  readonly dst: number
  readonly smsk: number
  readonly dmsk: number
  readonly iniface: number
  readonly outiface: number
  readonly iniface_mask: number
  readonly outiface_mask: number
  readonly proto: number
  readonly flags: number
  readonly invflags: number
}

export interface FamilyLayout {
  readonly family: number
  readonly isV4: boolean
  readonly entry: EntryLayout
  /** What a packet's IP header is compared with, at the beginning of the entry. */
  readonly header: HeaderLayout
  readonly flags: number
  readonly inversions: number
  readonly goto: number
}

export const LAYOUT_V4: FamilyLayout = {
  family: NFPROTO_IPV4,
  isV4: true,
  entry: IPT_ENTRY,
  header: IPT_IP,
  flags: IPT_F_MASK,
  inversions: IPT_INV_MASK,
  goto: IPT_F_GOTO,
}

export const LAYOUT_V6: FamilyLayout = {
  family: NFPROTO_IPV6,
  isV4: false,
  entry: IP6T_ENTRY,
  header: IP6T_IP6,
  flags: IP6T_F_MASK,
  inversions: IP6T_INV_MASK,
  goto: IP6T_F_GOTO,
}
