/** Resources as files of cgroup version 1 (Documentation/admin-guide/cgroup-v1). */
import { UserError } from '../../sandbox/user-error.ts'
import type { BlockIoConfig, CpuConfig, MemoryConfig, ResourcesConfig, ThrottledDevice } from '../config.ts'
import { hostMemory, hostPids, type Setting } from './settings.ts'

const RESOURCES = 'linux.resources'

export function settingsV1(resources: ResourcesConfig): Setting[] {
  const {
    memory = {},
    cpu = {},
    pids,
    blockIO = {},
    hugepageLimits = [],
    network = {},
    rdma = {},
  } = resources
  if (Object.keys(resources.unified ?? {}).length > 0) {
    throw new UserError(`${RESOURCES}.unified can't be obeyed: this host has cgroup version 1`)
  }
  const list = [...memorySettings(memory), ...cpuSettings(cpu), ...blockIoSettings(blockIO)]
  const put = (controller: string, file: string, value: string | number | undefined, field: string) => {
    if (value !== undefined)
      list.push({ controller, file, value: String(value), field: `${RESOURCES}.${field}` })
  }
  const most = hostPids(pids?.limit)
  put('pids', 'pids.max', most === -1 ? 'max' : most, 'pids.limit')
  for (const { pageSize, limit } of hugepageLimits) {
    put('hugetlb', `hugetlb.${pageSize}.limit_in_bytes`, limit, 'hugepageLimits')
  }
  put('net_cls', 'net_cls.classid', network.classID || undefined, 'network.classID')
  for (const { name, priority } of network.priorities ?? []) {
    put('net_prio', 'net_prio.ifpriomap', `${name} ${priority}`, 'network.priorities')
  }
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(rdma)) {
    put('rdma', 'rdma.max', rdmaLine(device, hcaHandles, hcaObjects), 'rdma')
  }
  return list
}

/** 'mlx5_0 hca_handle=2 hca_object=max' */
export function rdmaLine(device: string, handles: number | undefined, objects: number | undefined): string {
  return `${device} hca_handle=${handles ?? 'max'} hca_object=${objects ?? 'max'}`
}

function memorySettings(memory: MemoryConfig): Setting[] {
  const list: Setting[] = []
  const put = (file: string, value: number | undefined, field: keyof MemoryConfig, tentative = false) => {
    if (value === undefined) return
    const setting = {
      controller: 'memory',
      file,
      value: String(value),
      field: `${RESOURCES}.memory.${field}`,
    }
    list.push({ ...setting, tentative })
  }
  const limit = hostMemory(memory.limit)
  const swap = hostMemory(memory.swap)
  // That of memory and swap is never below that of memory: which is written first depends on what there was.
  if (limit !== undefined) put('memory.memsw.limit_in_bytes', limit < 0 ? -1 : swap, 'swap', true)
  put('memory.limit_in_bytes', limit, 'limit')
  put('memory.memsw.limit_in_bytes', swap, 'swap')
  put('memory.soft_limit_in_bytes', memory.reservation || undefined, 'reservation')
  put('memory.kmem.tcp.limit_in_bytes', memory.kernelTCP || undefined, 'kernelTCP')
  put('memory.swappiness', memory.swappiness, 'swappiness')
  if (memory.disableOOMKiller) put('memory.oom_control', 1, 'disableOOMKiller')
  return list
}

function cpuSettings(cpu: CpuConfig): Setting[] {
  const list: Setting[] = []
  const put = (
    controller: string,
    file: string,
    value: number | string | undefined,
    field: keyof CpuConfig,
    tentative = false,
  ) => {
    if (!value) return
    list.push({ controller, file, value: String(value), field: `${RESOURCES}.cpu.${field}`, tentative })
  }
  put('cpuset', 'cpuset.cpus', cpu.cpus, 'cpus')
  put('cpuset', 'cpuset.mems', cpu.mems, 'mems')
  put('cpu', 'cpu.shares', cpu.shares, 'shares')
  // A period may only be right with the new quota, and a quota only with the new period.
  if (cpu.quota) put('cpu', 'cpu.cfs_period_us', cpu.period, 'period', true)
  put('cpu', 'cpu.cfs_quota_us', cpu.quota, 'quota')
  put('cpu', 'cpu.cfs_period_us', cpu.period, 'period')
  put('cpu', 'cpu.cfs_burst_us', cpu.burst, 'burst')
  put('cpu', 'cpu.idle', cpu.idle, 'idle')
  put('cpu', 'cpu.rt_period_us', cpu.realtimePeriod, 'realtimePeriod')
  put('cpu', 'cpu.rt_runtime_us', cpu.realtimeRuntime, 'realtimeRuntime')
  return list
}

function blockIoSettings(io: BlockIoConfig): Setting[] {
  const list: Setting[] = []
  const put = (file: string, value: string | number | undefined, field: string, bfq?: string) => {
    if (!value) return
    const otherwise = bfq === undefined ? undefined : { file: bfq, value: String(value) }
    const setting = { controller: 'blkio', file, value: String(value), otherwise }
    list.push({ ...setting, field: `${RESOURCES}.blockIO.${field}` })
  }
  put('blkio.weight', io.weight, 'weight', 'blkio.bfq.weight')
  put('blkio.leaf_weight', io.leafWeight, 'leafWeight')
  for (const { major, minor, weight, leafWeight } of io.weightDevice ?? []) {
    const device = `${major}:${minor}`
    if (weight) put('blkio.weight_device', `${device} ${weight}`, 'weightDevice', 'blkio.bfq.weight_device')
    if (leafWeight) put('blkio.leaf_weight_device', `${device} ${leafWeight}`, 'weightDevice')
  }
  const throttle = (file: string, devices: readonly ThrottledDevice[] | undefined, field: string) => {
    for (const { major, minor, rate = 0 } of devices ?? []) put(file, `${major}:${minor} ${rate}`, field)
  }
  throttle('blkio.throttle.read_bps_device', io.throttleReadBpsDevice, 'throttleReadBpsDevice')
  throttle('blkio.throttle.write_bps_device', io.throttleWriteBpsDevice, 'throttleWriteBpsDevice')
  throttle('blkio.throttle.read_iops_device', io.throttleReadIOPSDevice, 'throttleReadIOPSDevice')
  throttle('blkio.throttle.write_iops_device', io.throttleWriteIOPSDevice, 'throttleWriteIOPSDevice')
  return list
}
