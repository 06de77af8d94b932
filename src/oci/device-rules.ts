/**
 * runtime-spec's `linux.resources.devices`: what the container may do with device nodes, in the order in which they are to be
 * looked at from the end. As with runc everything is denied that no rule allows, a rule of type 'a' does away with all before
 * it, and behind those of config.json come the ones that no container can do without.
 */
import { BPF_DEVCG_ACC_MKNOD, BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE } from '../abi/constants.ts'
import type { DeviceRuleSpec } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { DeviceRule } from './config.ts'

const ACCESS: Readonly<Record<string, number>> = {
  r: BPF_DEVCG_ACC_READ,
  w: BPF_DEVCG_ACC_WRITE,
  m: BPF_DEVCG_ACC_MKNOD,
}
const EVERY_ACCESS = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD

function allowed(type: 'c' | 'b', major?: number, minor?: number, access = EVERY_ACCESS): DeviceRuleSpec {
  return { allow: true, type, major, minor, access }
}

/** As runc's AllowedDevices. */
const ALWAYS: readonly DeviceRuleSpec[] = [
  // Nodes can be made of all; what counts is their use.
  allowed('c', undefined, undefined, BPF_DEVCG_ACC_MKNOD),
  allowed('b', undefined, undefined, BPF_DEVCG_ACC_MKNOD),
  allowed('c', 1, 3), // null
  allowed('c', 1, 5), // zero
  allowed('c', 1, 7), // full
  allowed('c', 1, 8), // random
  allowed('c', 1, 9), // urandom
  allowed('c', 5, 0), // tty
  allowed('c', 5, 1), // console
  allowed('c', 5, 2), // ptmx
  allowed('c', 136), // pts
  allowed('c', 10, 200), // net/tun
]

export function planDeviceRules(rules: readonly DeviceRule[]): DeviceRuleSpec[] {
  return [...rules.map(planRule), ...ALWAYS]
}

function planRule({ allow, type = 'a', major, minor, access }: DeviceRule, i: number): DeviceRuleSpec {
  if (type === 'a' || type === '') return { allow, access: EVERY_ACCESS }
  const field = `linux.resources.devices[${i}]`
  if (type !== 'c' && type !== 'b') {
    throw new UserError(`${field}.type: '${type}' is none of a, b and c`)
  }
  return { allow, type, major: numberOf(major), minor: numberOf(minor), access: accessOf(access, field) }
}

/** As engines write "any": a negative number. */
function numberOf(value: number | undefined): number | undefined {
  return value === undefined || value < 0 ? undefined : value
}

function accessOf(access: string | undefined, field: string): number {
  if (access === undefined || access === '') {
    throw new UserError(`${field}.access is missing: say which of r, w and m`)
  }
  let bits = 0
  for (const letter of access) {
    const bit = ACCESS[letter]
    if (bit === undefined) throw new UserError(`${field}.access: '${letter}' is none of r, w and m`)
    bits |= bit
  }
  return bits
}
