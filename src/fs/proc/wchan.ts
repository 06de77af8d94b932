/** /proc/PID/wchan: in which of Linux's functions a task would sleep that waits in this call. */
import { NR } from '../../abi/syscall-numbers.ts'
import { BLOCKED, RUNNING, type Task } from '../../kernel/task.ts'

const POLL = 'poll_schedule_timeout.constprop.0'

const BY_CALL: ReadonlyMap<number, string> = new Map([
  [NR.nanosleep, 'hrtimer_nanosleep'],
  [NR.clock_nanosleep, 'hrtimer_nanosleep'],
  [NR.pause, '__do_sys_pause'],
  [NR.rt_sigsuspend, 'sigsuspend'],
  [NR.rt_sigtimedwait, 'do_sigtimedwait.isra.0'],
  [NR.poll, POLL],
  [NR.ppoll, POLL],
  [NR.select, POLL],
  [NR.pselect6, POLL],
  [NR.epoll_wait, 'do_epoll_wait'],
  [NR.epoll_pwait, 'do_epoll_wait'],
  [NR.epoll_pwait2, 'do_epoll_wait'],
  [NR.wait4, 'do_wait'],
  [NR.waitid, 'do_wait'],
  [NR.futex, 'futex_do_wait'],
  [NR.accept, 'inet_csk_accept'],
  [NR.accept4, 'inet_csk_accept'],
  [NR.recvfrom, '__skb_wait_for_more_packets'],
  [NR.recvmsg, '__skb_wait_for_more_packets'],
  [NR.flock, 'flock_lock_inode_wait'],
  [NR.msgrcv, 'do_msgrcv'],
  [NR.semop, '__do_semtimedop'],
  [NR.semtimedop, '__do_semtimedop'],
  [NR.vfork, 'kernel_clone'],
  [NR.clone, 'kernel_clone'],
])
/** Others are mostly reads and writes of pipes, terminals and sockets, which sleep in this one. */
const OTHERWISE = 'wait_woken'

export function formatWchan(task: Task): string {
  if (task.state === RUNNING) return task.thread.native?.current() === undefined ? '0' : 'futex_do_wait'
  return task.state === BLOCKED ? (BY_CALL.get(task.callNumber) ?? OTHERWISE) : '0'
}
