/** Sizes and header fields of IP that no header of Linux's has a name for. */
export const IPV4_HEADER = 20
export const IPV6_HEADER = 40
/** Flags and offset field of the IPv4 header. */
export const IP_DF = 0x4000
export const IP_MF = 0x2000
export const IP_OFFSET = 0x1fff
/** RFC 791 §3.2: what every link lets through. */
export const IPV4_MIN_MTU = 68

export const NSEC_PER_MSEC = 1e6

export {
  ETH_HLEN,
  ETH_P_IP,
  IFA_F_PERMANENT,
  IFF_ALLMULTI,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_PROMISC,
  IFF_UP,
  NUD_FAILED,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_SITE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_LINKDOWN,
  RTNH_F_ONLINK,
} from '../../abi/constants.ts'
