/** Numbers of protocols and headers that the stack speaks, by Linux's names, as far as abi/constants.ts has them not. */
export const ETH_P_IP = 0x0800
export const ETH_P_ARP = 0x0806
export const ETH_P_IPV6 = 0x86dd
export const ETH_HLEN = 14
export const ETH_ALEN = 6
export const ETH_ZLEN = 60

export const ARPHRD_ETHER = 1
export const ARPHRD_PPP = 512
export const ARPHRD_LOOPBACK = 772
export const ARPHRD_NONE = 0xfffe

export const IFF_UP = 0x1
export const IFF_BROADCAST = 0x2
export const IFF_LOOPBACK = 0x8
export const IFF_POINTOPOINT = 0x10
export const IFF_RUNNING = 0x40
export const IFF_NOARP = 0x80
export const IFF_PROMISC = 0x100
export const IFF_ALLMULTI = 0x200
export const IFF_MULTICAST = 0x1000
export const IFF_LOWER_UP = 0x10000

export const PROTO_HOPOPTS = 0
export const PROTO_ICMP = 1
export const PROTO_IGMP = 2
export const PROTO_TCP = 6
export const PROTO_UDP = 17
export const PROTO_ROUTING = 43
export const PROTO_FRAGMENT = 44
export const PROTO_AH = 51
export const PROTO_ICMPV6 = 58
export const PROTO_NONE = 59
export const PROTO_DSTOPTS = 60
export const PROTO_RAW = 255

export const IPV4_HEADER = 20
export const IPV6_HEADER = 40
/** Flags and offset field of the IPv4 header. */
export const IP_DF = 0x4000
export const IP_MF = 0x2000
export const IP_OFFSET = 0x1fff
export const IPV6_MIN_MTU = 1280
export const IPV4_MIN_MTU = 68

/** rtnetlink(7): rtm_type. */
export const RTN_UNSPEC = 0
export const RTN_UNICAST = 1
export const RTN_LOCAL = 2
export const RTN_BROADCAST = 3
export const RTN_ANYCAST = 4
export const RTN_MULTICAST = 5
export const RTN_BLACKHOLE = 6
export const RTN_UNREACHABLE = 7
export const RTN_PROHIBIT = 8
export const RTN_THROW = 9

export const RT_TABLE_UNSPEC = 0
export const RT_TABLE_DEFAULT = 253
export const RT_TABLE_MAIN = 254
export const RT_TABLE_LOCAL = 255

export const RT_SCOPE_UNIVERSE = 0
export const RT_SCOPE_SITE = 200
export const RT_SCOPE_LINK = 253
export const RT_SCOPE_HOST = 254
export const RT_SCOPE_NOWHERE = 255

export const RTPROT_REDIRECT = 1
export const RTPROT_KERNEL = 2
export const RTPROT_BOOT = 3
export const RTPROT_STATIC = 4
export const RTPROT_RA = 9

export const RTNH_F_DEAD = 1
export const RTNH_F_ONLINK = 4
export const RTNH_F_LINKDOWN = 16

/** rtnetlink(7): ifa_flags. */
export const IFA_F_SECONDARY = 0x01
export const IFA_F_NODAD = 0x02
export const IFA_F_OPTIMISTIC = 0x04
export const IFA_F_DADFAILED = 0x08
export const IFA_F_HOMEADDRESS = 0x10
export const IFA_F_DEPRECATED = 0x20
export const IFA_F_TENTATIVE = 0x40
export const IFA_F_PERMANENT = 0x80
export const IFA_F_MANAGETEMPADDR = 0x100
export const IFA_F_NOPREFIXROUTE = 0x200
export const IFA_F_STABLE_PRIVACY = 0x800

/** Neighbour states: rtnetlink(7). */
export const NUD_NONE = 0x00
export const NUD_INCOMPLETE = 0x01
export const NUD_REACHABLE = 0x02
export const NUD_STALE = 0x04
export const NUD_DELAY = 0x08
export const NUD_PROBE = 0x10
export const NUD_FAILED = 0x20
export const NUD_NOARP = 0x40
export const NUD_PERMANENT = 0x80

export const NSEC_PER_MSEC = 1e6
