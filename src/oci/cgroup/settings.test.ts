import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ResourcesConfig } from '../config.ts'
import type { Setting } from './settings.ts'
import { settingsV1 } from './settings-v1.ts'
import { settingsV2 } from './settings-v2.ts'
import { systemdProperties } from './systemd-properties.ts'

const MB = 1 << 20
const lines = (settings: readonly Setting[]) => settings.map(({ file, value }) => `${file} ${value}`)

test("settings: version 1 has memory and swap together, written again when the other's limit allows it", () => {
  const memory = { limit: 64 * MB, swap: 96 * MB, reservation: MB, swappiness: 0, disableOOMKiller: true }
  assert.deepEqual(lines(settingsV1({ memory })), [
    `memory.memsw.limit_in_bytes ${96 * MB}`,
    `memory.limit_in_bytes ${64 * MB}`,
    `memory.memsw.limit_in_bytes ${96 * MB}`,
    `memory.soft_limit_in_bytes ${MB}`,
    'memory.swappiness 0',
    'memory.oom_control 1',
  ])
})

test('settings: what is 0 is not asked for, what is -1 is without a limit', () => {
  const nothing = {
    memory: { limit: 0, disableOOMKiller: false },
    cpu: { shares: 0, quota: 0 },
    pids: { limit: 0 },
  }
  assert.deepEqual(settingsV1(nothing), [])
  assert.deepEqual(settingsV2(nothing), [])
  const none = { memory: { limit: -1, swap: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } }
  assert.deepEqual(lines(settingsV2(none)), [
    'memory.max max',
    'memory.swap.max max',
    'cpu.max max',
    'pids.max max',
  ])
  assert.deepEqual(lines(settingsV1(none)).slice(1), [
    'memory.limit_in_bytes -1',
    'memory.memsw.limit_in_bytes -1',
    'cpu.cfs_quota_us -1',
    'pids.max max',
  ])
})

test('settings: version 1 gets the rest as its controllers have it', () => {
  const settings = settingsV1({
    cpu: { cpus: '0', shares: 512, quota: 5000, period: 10_000 },
    blockIO: { weight: 500, throttleWriteIOPSDevice: [{ major: 8, minor: 16, rate: 7 }] },
    hugepageLimits: [{ pageSize: '2MB', limit: 4 * MB }],
    network: { classID: 1, priorities: [{ name: 'eth0', priority: 2 }] },
    rdma: { mlx5_0: { hcaHandles: 3 } },
  })
  assert.deepEqual(lines(settings), [
    'cpuset.cpus 0',
    'cpu.shares 512',
    'cpu.cfs_period_us 10000',
    'cpu.cfs_quota_us 5000',
    'cpu.cfs_period_us 10000',
    'blkio.weight 500',
    'blkio.throttle.write_iops_device 8:16 7',
    `hugetlb.2MB.limit_in_bytes ${4 * MB}`,
    'net_cls.classid 1',
    'net_prio.ifpriomap eth0 2',
    'rdma.max mlx5_0 hca_handle=3 hca_object=max',
  ])
})

const REFUSED: readonly (readonly [ResourcesConfig, RegExp])[] = [
  [{ cpu: { realtimeRuntime: 1 } }, /^linux\.resources\.cpu\.realtimeRuntime can't be obeyed: .* version 2$/],
  [{ network: { classID: 1 } }, /^linux\.resources\.network\.classID/],
  [{ memory: { swap: 5 } }, /^linux\.resources\.memory\.swap needs memory\.limit/],
  [{ memory: { limit: 5, swap: 4 } }, /^linux\.resources\.memory\.swap is below memory\.limit/],
  [{ unified: { '../x': '1' } }, /^linux\.resources\.unified\.\.\.\/x is no name of a cgroup file$/],
]

for (const [resources, sentence] of REFUSED) {
  test(`settings: version 2 refuses ${JSON.stringify(resources)}`, () => {
    assert.throws(() => settingsV2(resources), { message: sentence })
  })
}

test('settings: version 1 refuses files of version 2', () => {
  assert.throws(
    () => settingsV1({ unified: { 'memory.high': '1' } }),
    /unified can't be obeyed: .* version 1$/,
  )
})

test('settings: systemd gets limits in its own words, quotas rounded up', () => {
  const resources = {
    memory: { limit: MB },
    cpu: { shares: 1024, quota: 12_345, period: 100_000, cpus: '0-1,9' },
  }
  assert.deepEqual(systemdProperties(2, resources), [
    ['MemoryMax', 't', String(64 * MB)],
    ['CPUWeight', 't', '39'],
    ['CPUQuotaPerSecUSec', 't', '130000'],
    ['CPUQuotaPeriodUSec', 't', '100000'],
    ['AllowedCPUs', 'ay', '2', '3', '2'],
  ])
})
