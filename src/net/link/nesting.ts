/**
 * How devices stand over each other: an upper device over its lower one, a bridge over its ports. What is sent by the topmost
 * passes through all of them at once, so there is an end to it, and no circle: MAX_NEST_DEV.
 */
import { ELOOP, EMLINK } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { NetDevice } from './device.ts'

const MAX_NESTING = 8

/** Whether `upper`, or what is to be above nothing yet (undefined), may stand over `lower`. -ELOOP, -EMLINK. */
export function checkNesting(upper: NetDevice | undefined, lower: NetDevice): Status {
  if (upper !== undefined && isBelow(upper, lower)) return -ELOOP
  const above = upper === undefined ? 0 : height(upper, devicesAbove)
  return above + 1 + height(lower, device => device.below) > MAX_NESTING ? -EMLINK : 0
}

function devicesAbove({ uppers, master }: NetDevice): readonly NetDevice[] {
  return master === undefined ? uppers : [...uppers, master]
}

/** Whether `device` is `other`, or somewhere below it. */
function isBelow(device: NetDevice, other: NetDevice, seen = new Set<NetDevice>()): boolean {
  if (device === other) return true
  if (seen.has(other)) return false
  seen.add(other)
  return other.below.some(lower => isBelow(device, lower, seen))
}

/** Each device is looked at once: there may be a thousand ports, and as many devices over each bridge below them. */
function height(
  device: NetDevice,
  next: (device: NetDevice) => readonly NetDevice[],
  known = new Map<NetDevice, number>(),
): number {
  const before = known.get(device)
  if (before !== undefined) return before
  let most = 0
  for (const other of next(device)) most = Math.max(most, 1 + height(other, next, known))
  known.set(device, most)
  return most
}
