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
