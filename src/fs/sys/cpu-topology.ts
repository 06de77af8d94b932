/** Which CPUs belong together, and what caches they have: worked out from facts of the host when somebody looks. */
import { parseCpuList } from '../../base/cpu-list.ts'
import type { Kernel } from '../../kernel/kernel.ts'

export interface CpuPlace {
  readonly pack: number
  readonly core: number
}

export interface Cache {
  readonly level: number
  readonly type: string
  readonly kib: number
  readonly ways: number
  readonly sets: number
  /** Bytes of a line. */
  readonly line: number
  /** Which CPUs share that of the first one. */
  readonly sharedWithFirst: readonly number[]
}

const LINE = 64
/** Where the host tells none, as in most virtual machines on other processors: programs size their buffers by them. */
const COMMON_CACHES: readonly (readonly [number, string, number, number])[] = [
  [1, 'Data', 32, 8],
  [1, 'Instruction', 32, 8],
  [2, 'Unified', 1024, 16],
]

export class CpuTopology {
  readonly #kernel: Kernel
  #places: ReadonlyMap<number, CpuPlace> | undefined = undefined
  #caches: readonly Cache[] | undefined = undefined

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** Of CPU masks. */
  get width(): number {
    return this.#kernel.cpuWidth
  }

  of(cpu: number): CpuPlace {
    this.#places ??= readPlaces(this.#kernel.host.fact('proc/cpuinfo'))
    return this.#places.get(cpu) ?? { pack: 0, core: cpu }
  }
  packageSiblings(cpu: number): readonly number[] {
    const { pack } = this.of(cpu)
    return this.#kernel.cpus.filter(other => this.of(other).pack === pack)
  }
  coreSiblings(cpu: number): readonly number[] {
    const { core } = this.of(cpu)
    return this.packageSiblings(cpu).filter(other => this.of(other).core === core)
  }

  get caches(): readonly Cache[] {
    this.#caches ??= readCaches(this.#kernel)
    return this.#caches
  }

  /** The CPUs that share the cache with this one: those of its core, of its package, or as many neighbours as the first has. */
  sharing(cpu: number, cache: Cache): readonly number[] {
    const { cpus } = this.#kernel
    const count = cache.sharedWithFirst.length
    if (count <= this.coreSiblings(cpus[0]).length) return this.coreSiblings(cpu)
    const pack = this.packageSiblings(cpu)
    if (count >= this.packageSiblings(cpus[0]).length) return pack
    const first = Math.floor(pack.indexOf(cpu) / count) * count
    return pack.slice(first, first + count)
  }

  /** One number for each cache of a kind. */
  cacheId(cpu: number, cache: Cache): number {
    const leader = (each: number) => this.sharing(each, cache)[0]
    const leaders = [...new Set(this.#kernel.cpus.map(leader))]
    return leaders.indexOf(leader(cpu))
  }
}

/** The paragraphs of /proc/cpuinfo. Processors without packages and cores are cores of one package. */
function readPlaces(cpuinfo: string): ReadonlyMap<number, CpuPlace> {
  const places = new Map<number, CpuPlace>()
  for (const paragraph of cpuinfo.split('\n\n')) {
    const field = (name: string) => {
      const match = new RegExp(`^${name}\\s*:\\s*(\\d+)`, 'm').exec(paragraph)
      return match === null ? undefined : Number(match[1])
    }
    const cpu = field('processor')
    if (cpu !== undefined) places.set(cpu, { pack: field('physical id') ?? 0, core: field('core id') ?? cpu })
  }
  return places
}

function readCaches(kernel: Kernel): readonly Cache[] {
  const caches: Cache[] = []
  for (let i = 0; i < 4; i++) {
    const fact = (name: string) =>
      kernel.host.fact(`sys/devices/system/cpu/cpu0/cache/index${i}/${name}`).trim()
    const kib = Number.parseInt(fact('size'), 10)
    if (!(kib > 0)) break
    const shared = parseCpuList(fact('shared_cpu_list')) ?? [kernel.cpus[0]]
    caches.push(
      cacheOf(Number(fact('level')), fact('type'), kib, Number(fact('ways_of_associativity')), shared),
    )
  }
  if (caches.length > 0) return caches
  return COMMON_CACHES.map(([level, type, kib, ways]) => cacheOf(level, type, kib, ways, [kernel.cpus[0]]))
}

function cacheOf(
  level: number,
  type: string,
  kib: number,
  ways: number,
  sharedWithFirst: readonly number[],
): Cache {
  // No ways: it is fully associative.
  const sets = ways > 0 ? Math.round((kib * 1024) / (LINE * ways)) : 1
  return { level, type, kib, ways, sets, line: LINE, sharedWithFirst }
}
