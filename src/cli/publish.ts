/** `-p`: ports of the caller's machine that lead to the guest's. */
import { parseAddress } from '../net/address.ts'
import type { PublishedPort } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'

/** [ADDRESS:]PORT:GUEST_PORT[/tcp|/udp]; an IPv6 address in brackets. */
const FORM = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d+):(\d+)(?:\/(tcp|udp))?$/

export function parsePublished(text: string): PublishedPort {
  const match = FORM.exec(text)
  if (match === null) {
    throw new UserError(
      `-p ${text}: expected [ADDRESS:]PORT:PORT-OF-THE-COMMAND, with /udp behind it for UDP`,
    )
  }
  const [, bracketed = '', port, guestPort, protocol = 'tcp'] = match
  const address = bracketed.replace(/^\[|\]$/g, '')
  if (address !== '' && parseAddress(address) === undefined) {
    throw new UserError(`-p ${text}: ${address} is no IP address`)
  }
  for (const each of [port, guestPort]) {
    if (Number(each) < 1 || Number(each) > 65535) throw new UserError(`-p ${text}: ports are 1 to 65535`)
  }
  return {
    protocol: protocol as 'tcp' | 'udp',
    address,
    port: Number(port),
    guestPort: Number(guestPort),
    text: `-p ${text}`,
  }
}
