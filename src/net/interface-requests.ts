/** ioctl(2) requests about interfaces that any socket takes, whatever network is behind it: netdevice(7). */
import {
  SIOCADDMULTI,
  SIOCADDRT,
  SIOCDARP,
  SIOCDELMULTI,
  SIOCDELRT,
  SIOCGIFADDR,
  SIOCGIFBRDADDR,
  SIOCGIFDSTADDR,
  SIOCGIFFLAGS,
  SIOCGIFHWADDR,
  SIOCGIFINDEX,
  SIOCGIFMAP,
  SIOCGIFMETRIC,
  SIOCGIFMTU,
  SIOCGIFNAME,
  SIOCGIFNETMASK,
  SIOCGIFTXQLEN,
  SIOCSARP,
  SIOCSIFADDR,
  SIOCSIFBRDADDR,
  SIOCSIFDSTADDR,
  SIOCSIFFLAGS,
  SIOCSIFHWADDR,
  SIOCSIFMETRIC,
  SIOCSIFMTU,
  SIOCSIFNAME,
  SIOCSIFNETMASK,
  SIOCSIFTXQLEN,
} from '../abi/constants.ts'
import { fromBytes } from '../base/bytes.ts'

export const IFNAMSIZ = 16

/** Those that look something up in a struct ifreq. */
export const INTERFACE_REQUESTS: readonly number[] = [
  SIOCGIFNAME,
  SIOCGIFINDEX,
  SIOCGIFFLAGS,
  SIOCGIFADDR,
  SIOCGIFDSTADDR,
  SIOCGIFBRDADDR,
  SIOCGIFNETMASK,
  SIOCGIFMETRIC,
  SIOCGIFMTU,
  SIOCGIFHWADDR,
  SIOCGIFMAP,
  SIOCGIFTXQLEN,
]

/** An interface's name in what a program gives, at `at`: its last byte is taken for its end. */
export function interfaceName(bytes: Uint8Array, at = 0): string {
  return fromBytes(bytes, at, at + IFNAMSIZ - 1).split('\0', 1)[0]
}

/** Those that change something. */
export const INTERFACE_CHANGES: ReadonlySet<number> = new Set([
  SIOCADDRT,
  SIOCDELRT,
  SIOCSARP,
  SIOCDARP,
  SIOCADDMULTI,
  SIOCDELMULTI,
  SIOCSIFADDR,
  SIOCSIFBRDADDR,
  SIOCSIFDSTADDR,
  SIOCSIFFLAGS,
  SIOCSIFHWADDR,
  SIOCSIFMETRIC,
  SIOCSIFMTU,
  SIOCSIFNAME,
  SIOCSIFNETMASK,
  SIOCSIFTXQLEN,
])
