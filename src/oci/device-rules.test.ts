import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planDeviceRules } from './device-rules.ts'

test('device rules: those of config.json stand before the ones that no container can do without', () => {
  const rules = planDeviceRules([
    { allow: false, access: 'rwm' },
    { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' },
    { allow: true, type: 'b', major: 8, minor: -1, access: 'm' },
  ])
  assert.deepEqual(rules.slice(0, 3), [
    { allow: false, access: 7 },
    { allow: true, type: 'c', major: 10, minor: 229, access: 6 },
    { allow: true, type: 'b', major: 8, minor: undefined, access: 1 },
  ])
  assert.ok(rules.some(({ allow, major, minor }) => allow && major === 1 && minor === 3))
})

test('device rules: one that does not say what it is about is refused by name', () => {
  assert.throws(
    () => planDeviceRules([{ allow: true, type: 'c', major: 1, minor: 11 }]),
    /linux\.resources\.devices\[0\]\.access is missing/,
  )
  assert.throws(
    () => planDeviceRules([{ allow: true, type: 'c', access: 'rx' }]),
    /'x' is none of r, w and m/,
  )
  assert.throws(() => planDeviceRules([{ allow: true, type: 'p', access: 'r' }]), /'p' is none of a, b and c/)
})
