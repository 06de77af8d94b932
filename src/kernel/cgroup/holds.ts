/** Why a process is held (freezer.ts): bits of ThreadGroup.holds. */
export const HOLD_FREEZE = 1
/** The CPU time of the period is used up. */
export const HOLD_CPU = 2
/** Too much memory is used: the rest waits a while. */
export const HOLD_MEMORY = 4
/** Others are to have the CPUs first: of a process, not of its cgroup. */
export const HOLD_SHARE = 8
