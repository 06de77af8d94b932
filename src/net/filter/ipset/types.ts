/** SetType: what the elements of a set are made of. IpMember: one element. */
import { NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC } from '../../../abi/constants.ts'
import type { IpAddress } from '../../address.ts'

/** `net`: an address and how many of its bits count. `port`: with its protocol. */
export type Field = 'address' | 'net' | 'port' | 'device'

export interface SetType {
  readonly name: string
  /** The newest; older ones had fewer options. */
  readonly revision: number
  readonly fields: readonly Field[]
  /** Elements are numbers within a range that is given when the set is made. */
  readonly bitmap?: boolean
}

const hash = (name: string, revision: number, ...fields: Field[]): SetType => ({ name, revision, fields })

const TYPES: readonly SetType[] = [
  hash('hash:ip', 6, 'address'),
  hash('hash:net', 7, 'net'),
  hash('hash:ip,port', 7, 'address', 'port'),
  hash('hash:ip,port,ip', 6, 'address', 'port', 'address'),
  hash('hash:ip,port,net', 8, 'address', 'port', 'net'),
  hash('hash:net,port', 8, 'net', 'port'),
  hash('hash:net,iface', 8, 'net', 'device'),
  { name: 'bitmap:ip', revision: 3, fields: ['address'], bitmap: true },
  { name: 'bitmap:port', revision: 3, fields: ['port'], bitmap: true },
]

export function findType(name: string): SetType | undefined {
  return TYPES.find(type => type.name === name)
}

/** Sets of ports are of no family. */
export function familyOf({ fields }: SetType, isV4: boolean): number {
  if (!fields.some(field => field === 'address' || field === 'net')) return NFPROTO_UNSPEC
  return isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6
}

/** What tells one element from another. What the type has no field for is left as in NO_KEY. */
export interface MemberKey {
  readonly address: IpAddress | undefined
  /** How many bits of the address count: all of them but in a `net`. */
  readonly length: number
  readonly protocol: number
  readonly port: number
  readonly address2: IpAddress | undefined
  readonly length2: number
  readonly device: string
}
export const NO_KEY: MemberKey = {
  ...{ address: undefined, length: 0, protocol: 0, port: 0 },
  ...{ address2: undefined, length2: 0, device: '' },
}

export interface IpMember {
  readonly key: MemberKey
  /** Exempt from the larger networks around it. */
  noMatch: boolean
  /** Monotonic ns. */
  expires: number
  packets: number
  bytes: number
  comment: string
}

/** Equal for equal keys of one set. */
export function keyText({ address, length, protocol, port, address2, length2, device }: MemberKey): string {
  const numbers = String.fromCharCode(length, protocol, port, length2)
  return `${numbers}${address?.key ?? ''}${address2?.key ?? ''}${device}`
}
