/** cpu, devgroup, physdev, policy, realm, quota, time: what is around the packet. */
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFPROTO_UNSPEC,
  XT_DEVGROUP_INVERT_DST,
  XT_DEVGROUP_INVERT_SRC,
  XT_DEVGROUP_MATCH_DST,
  XT_DEVGROUP_MATCH_SRC,
  XT_PHYSDEV_OP_MASK,
  XT_POLICY_MATCH_IN,
  XT_POLICY_MATCH_NONE,
  XT_POLICY_MATCH_OUT,
  XT_POLICY_MAX_ELEM,
  XT_QUOTA_INVERT,
  XT_QUOTA_MASK,
  XT_TIME_ALL_FLAGS,
  XT_TIME_ALL_MONTHDAYS,
  XT_TIME_CONTIGUOUS,
  XT_TIME_MAX_DAYTIME,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import {
  XT_CPU_INFO,
  XT_DEVGROUP_INFO,
  XT_PHYSDEV_INFO,
  XT_POLICY_INFO,
  XT_QUOTA_INFO,
  XT_REALM_INFO,
  XT_TIME_INFO,
} from '../../../../abi/layout.ts'
import { take64 } from '../../../../base/words.ts'
import type { NetDevice } from '../../../link/device.ts'
import { monthDayOf, weekdayOf } from '../../calendar.ts'
import type { Extension, Match } from './extension.ts'

/** All packets are looked at on the first one. */
const cpuMatch: Extension<Match> = {
  name: 'cpu',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_CPU_INFO.size,
  parse(info) {
    const isFirst = info.getUint32(XT_CPU_INFO.cpu, true) === 0
    const invert = info.getUint32(XT_CPU_INFO.invert, true)
    return invert > 1 ? -EINVAL : { matches: () => isFirst !== (invert !== 0) }
  },
}

const DEVGROUP_FLAGS =
  XT_DEVGROUP_MATCH_SRC | XT_DEVGROUP_INVERT_SRC | XT_DEVGROUP_MATCH_DST | XT_DEVGROUP_INVERT_DST

const devgroupMatch: Extension<Match> = {
  name: 'devgroup',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_DEVGROUP_INFO.size,
  parse(info) {
    const flags = info.getUint32(XT_DEVGROUP_INFO.flags, true)
    if ((flags & ~DEVGROUP_FLAGS) !== 0) return -EINVAL
    const fits = (match: number, invert: number, device: NetDevice | undefined, at: number) => {
      if ((flags & match) === 0) return true
      const found =
        (((device?.group ?? 0) ^ info.getUint32(at, true)) & info.getUint32(at + MASK_AFTER, true)) === 0
      return found !== ((flags & invert) !== 0)
    }
    return {
      matches: ({ input, output }) =>
        fits(XT_DEVGROUP_MATCH_SRC, XT_DEVGROUP_INVERT_SRC, input, XT_DEVGROUP_INFO.src_group) &&
        fits(XT_DEVGROUP_MATCH_DST, XT_DEVGROUP_INVERT_DST, output, XT_DEVGROUP_INFO.dst_group),
    }
  },
}
const MASK_AFTER = XT_DEVGROUP_INFO.src_mask - XT_DEVGROUP_INFO.src_group

/** What crosses a bridge is not seen by IP's rules, so no packet has come over a port of one: only inversions match. */
const physdevMatch: Extension<Match> = {
  name: 'physdev',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_PHYSDEV_INFO.size,
  parse(info) {
    const asked = info.getUint8(XT_PHYSDEV_INFO.bitmask)
    const inverted = info.getUint8(XT_PHYSDEV_INFO.invert)
    if ((asked & XT_PHYSDEV_OP_MASK) === 0 || (asked & ~XT_PHYSDEV_OP_MASK) !== 0) return -EINVAL
    return { matches: () => (asked & ~inverted) === 0 }
  },
}

/** There is no IPsec: all packets come and go without a policy. */
const policyMatch: Extension<Match> = {
  name: 'policy',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_POLICY_INFO.size,
  parse(info) {
    const flags = info.getUint16(XT_POLICY_INFO.flags, true)
    const length = info.getUint16(XT_POLICY_INFO.len, true)
    if ((flags & (XT_POLICY_MATCH_IN | XT_POLICY_MATCH_OUT)) === 0 || length > XT_POLICY_MAX_ELEM)
      return -EINVAL
    return { matches: () => (flags & XT_POLICY_MATCH_NONE) !== 0 }
  },
}

/** Routes have none. */
const realmMatch: Extension<Match> = {
  name: 'realm',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_REALM_INFO.size,
  points: [NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING],
  parse(info) {
    const isNone = info.getUint32(XT_REALM_INFO.id, true) === 0
    const invert = info.getUint8(XT_REALM_INFO.invert) !== 0
    return { matches: () => isNone !== invert }
  },
}

const quotaMatch: Extension<Match> = {
  name: 'quota',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_QUOTA_INFO.size,
  userSize: XT_QUOTA_INFO.master,
  parse(info) {
    const flags = info.getUint32(XT_QUOTA_INFO.flags, true)
    if ((flags & ~XT_QUOTA_MASK) !== 0) return -EINVAL
    const invert = (flags & XT_QUOTA_INVERT) !== 0
    let left = take64(info, XT_QUOTA_INFO.quota)
    return {
      matches({ packet }) {
        const length = packet.end - packet.network
        const within = left >= length
        left = within ? left - length : 0
        return within !== invert
      },
    }
  },
}

const DAY = 24 * 3600

const timeMatch: Extension<Match> = {
  name: 'time',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_TIME_INFO.size,
  parse(info) {
    const from = info.getUint32(XT_TIME_INFO.date_start, true)
    const to = info.getUint32(XT_TIME_INFO.date_stop, true)
    const begin = info.getUint32(XT_TIME_INFO.daytime_start, true)
    const end = info.getUint32(XT_TIME_INFO.daytime_stop, true)
    const monthdays = info.getUint32(XT_TIME_INFO.monthdays_match, true)
    const weekdays = info.getUint8(XT_TIME_INFO.weekdays_match)
    const flags = info.getUint8(XT_TIME_INFO.flags)
    if (begin > XT_TIME_MAX_DAYTIME || end > XT_TIME_MAX_DAYTIME) return -EINVAL
    if ((flags & ~XT_TIME_ALL_FLAGS) !== 0) return -EINVAL
    const contiguous = (flags & XT_TIME_CONTIGUOUS) !== 0
    if (contiguous && begin < end) return -EINVAL
    return {
      matches({ stack }) {
        // The kernel's time zone is UTC.
        let { sec } = stack.runtime.clock.realtime()
        if (sec < from || sec > to) return false
        const time = sec % DAY
        if (begin < end ? time < begin || time > end : time < begin && time > end) return false
        // What lasts beyond midnight belongs to the day on which it began.
        if (contiguous && time <= end) sec -= DAY
        // From Monday, 1, to Sunday, 7.
        if ((weekdays & (1 << (weekdayOf(sec) || 7))) === 0) return false
        return monthdays === XT_TIME_ALL_MONTHDAYS || (monthdays & (1 << monthDayOf(sec))) !== 0
      },
    }
  },
}

export const surroundingsMatches = [
  ...[cpuMatch, devgroupMatch, physdevMatch, policyMatch, realmMatch],
  ...[quotaMatch, timeMatch],
]
