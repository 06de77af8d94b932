/** What a relay of DNS queries needs to know of messages: RFC 1035 §4.1, RFC 6891. */

export const DNS_HEADER = 12
/** QR, in the third byte. */
const RESPONSE = 0x80
const SERVFAIL = 2
const OPT = 41
/** Root name, type, size, extended flags, no data. */
const OPT_LENGTH = 11
/** Counts of the header. */
const QUESTIONS = 4
const ANSWERS = 6
const AUTHORITIES = 8
const ADDITIONAL = 10

/** The answer to a query that nobody answers. */
export function failureOf(query: Uint8Array): Uint8Array {
  const answer = query.slice()
  answer[2] |= RESPONSE
  answer[3] = (answer[3] & 0xf0) | SERVFAIL
  return answer
}

/**
 * The query, whose answer may be as long as `size` over UDP: with an OPT record that says so. As it is, if it can't be
 * made sense of.
 */
export function withRoomFor(query: Uint8Array, size: number): Uint8Array {
  const view = new DataView(query.buffer, query.byteOffset, query.length)
  // A query has questions, and perhaps additional records.
  if (view.getUint16(ANSWERS) !== 0 || view.getUint16(AUTHORITIES) !== 0) return query
  let at = DNS_HEADER
  for (let left = view.getUint16(QUESTIONS); left > 0; left--) {
    at = endOfName(query, at) + 4
    if (at > query.length) return query
  }
  const additional = view.getUint16(ADDITIONAL)
  for (let left = additional; left > 0; left--) {
    const record = endOfName(query, at)
    if (record + 10 > query.length) return query
    if (view.getUint16(record) === OPT) {
      const changed = query.slice()
      new DataView(changed.buffer).setUint16(record + 2, size)
      return changed
    }
    at = record + 10 + view.getUint16(record + 8)
  }
  if (at !== query.length) return query
  const changed = new Uint8Array(query.length + OPT_LENGTH)
  changed.set(query)
  const added = new DataView(changed.buffer)
  added.setUint16(ADDITIONAL, additional + 1)
  added.setUint16(at + 1, OPT)
  added.setUint16(at + 3, size)
  return changed
}

/** Behind the name at `at`; beyond the message if it has no end. */
function endOfName(message: Uint8Array, at: number): number {
  while (at < message.length) {
    const length = message[at]
    if (length >= 0xc0) return at + 2
    at += 1 + length
    if (length === 0) return at
  }
  return message.length + 1
}
