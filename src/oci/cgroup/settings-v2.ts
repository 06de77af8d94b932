/** Resources as files of cgroup version 2 (Documentation/admin-guide/cgroup-v2.rst). */
import { UserError } from '../../sandbox/user-error.ts'
import type { BlockIoConfig, CpuConfig, MemoryConfig, ResourcesConfig, ThrottledDevice } from '../config.ts'
import { weightOfShares } from '../limits.ts'
import { UNIFIED } from './hierarchies.ts'
import { hostMemory, hostPids, type Setting } from './settings.ts'
import { rdmaLine } from './settings-v1.ts'

const RESOURCES = 'linux.resources'

type Put = (file: string, value: string | number | undefined, field: string) => void

export function settingsV2(resources: ResourcesConfig): Setting[] {
  const { memory = {}, cpu = {}, pids, blockIO = {}, hugepageLimits = [], rdma = {} } = resources
  refuse(resources)
  const list: Setting[] = []
  const put: Put = (file, value, field) => {
    if (value === undefined || value === '') return
    list.push({ controller: UNIFIED, file, value: String(value), field: `${RESOURCES}.${field}` })
  }
  putMemory(put, memory)
  putCpu(put, cpu)
  put('pids.max', orMax(hostPids(pids?.limit)), 'pids.limit')
  list.push(...weights(blockIO))
  putThrottles(put, blockIO)
  for (const { pageSize, limit } of hugepageLimits) put(`hugetlb.${pageSize}.max`, limit, 'hugepageLimits')
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(rdma)) {
    put('rdma.max', rdmaLine(device, hcaHandles, hcaObjects), 'rdma')
  }
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    const field = `unified.${file}`
    if (!/^[\w-]+(\.[\w-]+)+$/.test(file))
      throw new UserError(`${RESOURCES}.${field} is no name of a cgroup file`)
    // The guest's limits of the same names are kept by the guest's cgroup (limits.ts).
    if (file === 'memory.max') put(file, onHost(value, hostMemory), field)
    else if (file === 'pids.max') put(file, onHost(value, hostPids), field)
    else put(file, value, field)
  }
  return list
}

/** What version 2 doesn't have. */
function refuse({ memory = {}, cpu = {}, blockIO = {}, network = {} }: ResourcesConfig): void {
  const asked: readonly (readonly [string, unknown])[] = [
    ['memory.kernelTCP', memory.kernelTCP && memory.kernelTCP > 0],
    ['memory.swappiness', memory.swappiness !== undefined],
    ['memory.disableOOMKiller', memory.disableOOMKiller],
    ['cpu.realtimeRuntime', cpu.realtimeRuntime],
    ['cpu.realtimePeriod', cpu.realtimePeriod],
    ['blockIO.leafWeight', blockIO.leafWeight],
    ['blockIO.weightDevice[].leafWeight', blockIO.weightDevice?.some(each => each.leafWeight)],
    ['network.classID', network.classID],
    ['network.priorities', network.priorities?.length],
  ]
  for (const [field, value] of asked) {
    if (value) throw new UserError(`${RESOURCES}.${field} can't be obeyed: this host has cgroup version 2`)
  }
}

function putMemory(put: Put, { limit, reservation, swap }: MemoryConfig): void {
  put('memory.low', orMax(reservation || undefined), 'memory.reservation')
  put('memory.max', orMax(hostMemory(limit)), 'memory.limit')
  if (!swap) return
  if (swap < 0) {
    put('memory.swap.max', 'max', 'memory.swap')
    return
  }
  if (!limit || limit < 0)
    throw new UserError(`${RESOURCES}.memory.swap needs memory.limit, of which it is a part`)
  if (swap < limit)
    throw new UserError(`${RESOURCES}.memory.swap is below memory.limit, of which it is a part`)
  put('memory.swap.max', swap - limit, 'memory.swap')
}

function putCpu(put: Put, { shares, quota, period, burst, cpus, mems, idle }: CpuConfig): void {
  put('cpuset.cpus', cpus, 'cpu.cpus')
  put('cpuset.mems', mems, 'cpu.mems')
  if (shares) put('cpu.weight', weightOfShares(shares), 'cpu.shares')
  if (quota || period) {
    const most = quota && quota > 0 ? quota : 'max'
    put('cpu.max', period ? `${most} ${period}` : most, quota ? 'cpu.quota' : 'cpu.period')
  }
  put('cpu.max.burst', burst || undefined, 'cpu.burst')
  put('cpu.idle', idle || undefined, 'cpu.idle')
}

/** BFQ's, where it serves the disks, else those of the controller that Linux has since 5.4, in its own range. */
function weights({ weight, weightDevice = [] }: BlockIoConfig): Setting[] {
  const list: Setting[] = []
  const put = (prefix: string, weight: number, field: string) => {
    const otherwise = { file: 'io.weight', value: `${prefix}${ioWeight(weight)}` }
    const setting = { controller: UNIFIED, file: 'io.bfq.weight', value: `${prefix}${weight}`, otherwise }
    list.push({ ...setting, field: `${RESOURCES}.blockIO.${field}` })
  }
  if (weight) put('default ', weight, 'weight')
  for (const device of weightDevice) {
    if (device.weight) put(`${device.major}:${device.minor} `, device.weight, 'weightDevice')
  }
  return list
}

/** 10 to 1000 → 1 to 10000 */
function ioWeight(weight: number): number {
  return 1 + Math.floor(((weight - 10) * 9999) / 990)
}

function putThrottles(put: Put, io: BlockIoConfig): void {
  const throttle = (key: string, devices: readonly ThrottledDevice[] | undefined, field: string) => {
    for (const { major, minor, rate } of devices ?? []) {
      put('io.max', `${major}:${minor} ${key}=${rate || 'max'}`, `blockIO.${field}`)
    }
  }
  throttle('rbps', io.throttleReadBpsDevice, 'throttleReadBpsDevice')
  throttle('wbps', io.throttleWriteBpsDevice, 'throttleWriteBpsDevice')
  throttle('riops', io.throttleReadIOPSDevice, 'throttleReadIOPSDevice')
  throttle('wiops', io.throttleWriteIOPSDevice, 'throttleWriteIOPSDevice')
}

function orMax(value: number | undefined): number | string | undefined {
  return value !== undefined && value < 0 ? 'max' : value
}

function onHost(value: string, limit: (limit: number) => number | undefined): string {
  return /^\d+$/.test(value) ? String(limit(Number(value)) ?? value) : value
}
