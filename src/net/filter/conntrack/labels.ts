/** Labels of a connection: 128 bits that rules set and ask for: `ct label`, connlabel, `conntrack --label-add`. */
import type { Connection } from './connection.ts'

/** How many bytes they are: bit n is in byte n / 8. */
export const LABELS_SIZE = 16

export function hasLabel({ labels }: Connection, bit: number): boolean {
  return labels !== undefined && (labels[bit >> 3] & (1 << (bit & 7))) !== 0
}

export function setLabel(connection: Connection, bit: number): void {
  connection.labels ??= new Uint8Array(LABELS_SIZE)
  connection.labels[bit >> 3] |= 1 << (bit & 7)
}

/** nf_connlabels_replace: what the mask has becomes what the value has; where that has more, that is turned round. */
export function replaceLabels(connection: Connection, value: Uint8Array, mask: Uint8Array): void {
  connection.labels ??= new Uint8Array(LABELS_SIZE)
  const { labels } = connection
  const length = Math.min(LABELS_SIZE, value.length, mask.length)
  for (let i = 0; i < length; i++) labels[i] = (labels[i] & ~mask[i]) ^ value[i]
}
