/** What a container uses, in the form that containerd's clients know for the host's version of cgroups. */
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt'
import type { BlockIoEntry, CgroupStats, MemoryUsage } from '../oci/cgroup/stats.ts'
import type { ContainerStats } from '../sandbox/protocol.ts'
import { MetricsSchema as MetricsV1Schema } from './generated/containerd/cgroups/v1_pb.ts'
import { MetricsSchema as MetricsV2Schema } from './generated/containerd/cgroups/v2_pb.ts'

/** Of a container with a cgroup of the host's, and so a sandbox, of its own. */
export function metricsOf(version: 1 | 2, stats: CgroupStats): Any {
  return version === 1 ? packed(MetricsV1Schema, metricsV1(stats)) : packed(MetricsV2Schema, metricsV2(stats))
}

/** Of one container of several in a sandbox: as its sentry counts. */
export function guestMetrics(version: 1 | 2, stats: ContainerStats): Any {
  const { memory, memoryPeak, oomKills, pids, cpuUsageMs, cpuUserMs, cpuSystemMs } = stats
  if (version === 2) {
    return packed(MetricsV2Schema, {
      pids: { current: count(pids) },
      cpu: {
        usageUsec: count(cpuUsageMs * 1e3),
        userUsec: count(cpuUserMs * 1e3),
        systemUsec: count(cpuSystemMs * 1e3),
      },
      memory: { usage: count(memory), maxUsage: count(memoryPeak), anon: count(memory) },
      memoryEvents: { oomKill: count(oomKills) },
    })
  }
  return packed(MetricsV1Schema, {
    pids: { current: count(pids) },
    cpu: {
      usage: {
        total: count(cpuUsageMs * 1e6),
        user: count(cpuUserMs * 1e6),
        kernel: count(cpuSystemMs * 1e6),
      },
    },
    memory: {
      usage: { usage: count(memory), max: count(memoryPeak) },
      rss: count(memory),
      totalRss: count(memory),
    },
    memoryOomControl: { oomKill: count(oomKills) },
  })
}

function metricsV1({ cpu, memory, pids, blkio }: CgroupStats): MessageInitShape<typeof MetricsV1Schema> {
  const { usage, throttling } = cpu
  return {
    pids: { current: count(pids.current), limit: count(pids.limit) },
    cpu: {
      usage: {
        total: count(usage.total),
        kernel: count(usage.kernel),
        user: count(usage.user),
        perCpu: usage.percpu.map(count),
      },
      throttling: {
        periods: count(throttling.periods),
        throttledPeriods: count(throttling.throttledPeriods),
        throttledTime: count(throttling.throttledTime),
      },
    },
    memory: {
      ...named(memory.raw, MetricsV1Schema.field.memory.message!),
      usage: memoryEntry(memory.usage),
      swap: memoryEntry(memory.swap),
      kernel: memoryEntry(memory.kernel),
      kernelTcp: memoryEntry(memory.kernelTCP),
    },
    blkio: {
      ioServiceBytesRecursive: blkio.ioServiceBytesRecursive.map(blockEntry),
      ioServicedRecursive: blkio.ioServicedRecursive.map(blockEntry),
    },
  }
}

function metricsV2({ cpu, memory, pids, blkio }: CgroupStats): MessageInitShape<typeof MetricsV2Schema> {
  const { usage, throttling } = cpu
  return {
    pids: { current: count(pids.current), limit: count(pids.limit) },
    cpu: {
      usageUsec: count(usage.total / 1e3),
      userUsec: count(usage.user / 1e3),
      systemUsec: count(usage.kernel / 1e3),
      nrPeriods: count(throttling.periods),
      nrThrottled: count(throttling.throttledPeriods),
      throttledUsec: count(throttling.throttledTime / 1e3),
    },
    memory: {
      ...named(memory.raw, MetricsV2Schema.field.memory.message!),
      usage: count(memory.usage.usage),
      usageLimit: count(memory.usage.limit),
      maxUsage: count(memory.usage.max),
      // Here swap is counted by itself.
      swapUsage: count(memory.swap.usage - memory.usage.usage),
      swapLimit: count(memory.swap.limit - memory.usage.limit),
    },
    io: { usage: ioEntries(blkio) },
  }
}

/**
 * Lines of memory.stat whose names the message's fields have, but for underscores: 'total_pgfault' is total_pg_fault in
 * version 1.
 */
function named(raw: Readonly<Record<string, number>>, message: DescMessage): Record<string, bigint> {
  const fields = new Map(message.fields.map(field => [plain(field.name), field.localName]))
  const found: Record<string, bigint> = {}
  for (const [name, value] of Object.entries(raw)) {
    const field = fields.get(plain(RENAMED[name] ?? name))
    if (field !== undefined) found[field] = count(value)
  }
  return found
}
const RENAMED: Readonly<Record<string, string>> = {
  hierarchical_memsw_limit: 'hierarchical_swap_limit',
  pgpgin: 'pg_pg_in',
  pgpgout: 'pg_pg_out',
}

function plain(name: string): string {
  return name.replaceAll('_', '')
}

function memoryEntry({ limit, usage, max, failcnt }: MemoryUsage) {
  return { limit: count(limit), usage: count(usage), max: count(max), failcnt: count(failcnt) }
}

function blockEntry({ major, minor, op, value }: BlockIoEntry) {
  return { op, device: '', major: count(major), minor: count(minor), value: count(value) }
}

function ioEntries(blkio: CgroupStats['blkio']) {
  const devices = new Map<
    string,
    { major: bigint; minor: bigint; rbytes: bigint; wbytes: bigint; rios: bigint; wios: bigint }
  >()
  const add = (entries: readonly BlockIoEntry[], read: 'rbytes' | 'rios', write: 'wbytes' | 'wios') => {
    for (const { major, minor, op, value } of entries) {
      const key = `${major}:${minor}`
      const none = { major: count(major), minor: count(minor), rbytes: 0n, wbytes: 0n, rios: 0n, wios: 0n }
      const entry = devices.get(key) ?? none
      devices.set(key, entry)
      if (op === 'Read') entry[read] += count(value)
      if (op === 'Write') entry[write] += count(value)
    }
  }
  add(blkio.ioServiceBytesRecursive, 'rbytes', 'wbytes')
  add(blkio.ioServicedRecursive, 'rios', 'wios')
  return [...devices.values()]
}

/** A field of 64 bits. */
function count(value: number): bigint {
  return Number.isFinite(value) && value > 0 ? BigInt(Math.round(value)) : 0n
}

function packed<D extends DescMessage>(schema: D, message: MessageInitShape<D>): Any {
  return create(AnySchema, { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) })
}
