/**
 * The one table of system calls: dispatch, --strace, prefetch and the printed documentation are made from it. Each family's
 * rows stand beside its handlers.
 */

import { aioCalls } from './aio.ts'
import type { SyscallRows } from './args.ts'
import { attrCalls } from './attr.ts'
import { bpfCalls } from './bpf.ts'
import { cachestatCalls } from './cachestat.ts'
import { cloneCalls } from './clone.ts'
import { credentialCalls } from './credentials.ts'
import { descriptorCalls } from './descriptor.ts'
import { directoryCalls } from './directory.ts'
import { epollCalls } from './epoll.ts'
import { eventCalls } from './event.ts'
import { execCalls } from './exec.ts'
import { fanotifyCalls } from './fanotify.ts'
import { fileCopyCalls } from './file-copy.ts'
import { fileLockCalls } from './file-lock.ts'
import { fileSystemTypeCalls } from './file-system-types.ts'
import { futexCalls } from './futex.ts'
import { handleCalls } from './handle.ts'
import { inotifyCalls } from './inotify.ts'
import { ioUringCalls } from './io-uring/calls.ts'
import { keyctlCalls } from './keyctl.ts'
import { keyCalls } from './keys.ts'
import { killCalls } from './kill.ts'
import { landlockCalls } from './landlock.ts'
import { limitCalls } from './limits.ts'
import { linkCalls } from './link.ts'
import { lsmCalls } from './lsm.ts'
import { memfdCalls } from './memfd.ts'
import { memoryCalls } from './memory.ts'
import { memoryPolicyCalls } from './memory-policy.ts'
import { mountCalls } from './mount.ts'
import { mountFdCalls } from './mount-fd.ts'
import { mountQueryCalls } from './mount-query.ts'
import { mqueueCalls } from './mqueue.ts'
import { msgCalls } from './msg.ts'
import { openCalls } from './open.ts'
import { perfEventCalls } from './perf-event.ts'
import { pidfdCalls } from './pidfd.ts'
import { pipeCalls } from './pipe.ts'
import { pollCalls } from './poll.ts'
import { prctlCalls } from './prctl.ts'
import { processCalls } from './process.ts'
import { processVmCalls } from './process-vm.ts'
import { ptraceCalls } from './ptrace.ts'
import { readWriteCalls } from './read-write.ts'
import { refusedCalls } from './refused.ts'
import { rseqCalls } from './rseq.ts'
import { schedulerCalls } from './scheduler.ts'
import { seccompCalls } from './seccomp.ts'
import { semCalls } from './sem.ts'
import { shmCalls } from './shm.ts'
import { signalCalls } from './signal.ts'
import { socketCalls } from './socket.ts'
import { statCalls } from './stat.ts'
import { syslogCalls } from './syslog.ts'
import { systemCalls } from './system.ts'
import { timeCalls } from './time.ts'
import { timerCalls } from './timer.ts'
import { userfaultfdCalls } from './userfaultfd.ts'
import { waitCalls } from './wait.ts'
import { xattrCalls } from './xattr.ts'

export const syscallRows: SyscallRows = {
  ...aioCalls,
  ...attrCalls,
  ...bpfCalls,
  ...cachestatCalls,
  ...cloneCalls,
  ...credentialCalls,
  ...descriptorCalls,
  ...directoryCalls,
  ...epollCalls,
  ...eventCalls,
  ...execCalls,
  ...fanotifyCalls,
  ...fileCopyCalls,
  ...fileLockCalls,
  ...fileSystemTypeCalls,
  ...futexCalls,
  ...handleCalls,
  ...inotifyCalls,
  ...ioUringCalls,
  ...keyCalls,
  ...keyctlCalls,
  ...killCalls,
  ...landlockCalls,
  ...limitCalls,
  ...linkCalls,
  ...lsmCalls,
  ...memfdCalls,
  ...memoryPolicyCalls,
  ...memoryCalls,
  ...mountCalls,
  ...mountFdCalls,
  ...mountQueryCalls,
  ...mqueueCalls,
  ...msgCalls,
  ...openCalls,
  ...perfEventCalls,
  ...pidfdCalls,
  ...pipeCalls,
  ...pollCalls,
  ...prctlCalls,
  ...processVmCalls,
  ...processCalls,
  ...ptraceCalls,
  ...readWriteCalls,
  ...refusedCalls,
  ...rseqCalls,
  ...schedulerCalls,
  ...seccompCalls,
  ...semCalls,
  ...shmCalls,
  ...signalCalls,
  ...socketCalls,
  ...statCalls,
  ...syslogCalls,
  ...systemCalls,
  ...timeCalls,
  ...timerCalls,
  ...userfaultfdCalls,
  ...waitCalls,
  ...xattrCalls,
}
