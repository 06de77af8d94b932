/** What is said when a process is killed for want of memory: in the guest's log in Linux's words, and to the operator. */
import { memoryUse } from '../../mm/memory-use.ts'
import type { Kernel } from '../kernel.ts'
import { LOGLEVEL_ERR, LOGLEVEL_INFO, LOGLEVEL_WARNING } from '../log/kernel-log.ts'
import type { ThreadGroup } from '../thread-group.ts'
import type { Cgroup } from './cgroup.ts'
import { PAGE_SIZE } from './memory.ts'

export function reportOutOfMemory(kernel: Kernel, cgroup: Cgroup, victim: ThreadGroup): void {
  const { leader, oomScoreAdj } = victim
  const { comm, mm, cred } = victim.representative
  const pid = leader.pid.in(kernel.pidNs)
  kernel.log.info(`out of memory in cgroup ${cgroup.name}: killed process ${victim.tgid} (${comm})`)

  const { messages } = kernel
  const cause = kernel.current
  if (cause !== undefined)
    messages.put(
      LOGLEVEL_WARNING,
      `${cause.comm} invoked oom-killer: oom_score_adj=${cause.group.oomScoreAdj}`,
    )
  const { root } = kernel.cgroup
  const path = (of: Cgroup) => of.pathFrom(of.isSelfOrBelow(root) ? root : kernel.cgroups)
  messages.put(
    LOGLEVEL_INFO,
    `oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=${path(cgroup)},` +
      `task_memcg=${path(victim.cgroup)},task=${comm},pid=${pid},uid=${cred.uid}`,
  )
  const use = memoryUse(mm)
  const kib = (count: number) => `${(count * PAGE_SIZE) / 1024}kB`
  messages.put(
    LOGLEVEL_ERR,
    `Memory cgroup out of memory: Killed process ${pid} (${comm}) total-vm:${kib(use.size)}, ` +
      `anon-rss:${kib(use.resident - use.residentFile)}, file-rss:${kib(use.residentFile)}, shmem-rss:0kB, ` +
      `UID:${cred.uid} pgtables:${kib(use.pageTables)} oom_score_adj:${oomScoreAdj}`,
  )
}
