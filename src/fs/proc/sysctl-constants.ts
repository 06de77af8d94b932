/**
 * Settings of Linux that nothing here depends on: they are there for those who look, and have the value that a machine has on
 * which nobody set them. By directory below /proc/sys.
 */

type Values = Readonly<Record<string, string | number>>

export const KERNEL_CONSTANTS: Values = {
  acct: '4\t2\t30',
  bpf_stats_enabled: 0,
  core_file_note_size_limit: 4194304,
  'ctrl-alt-del': 0,
  ftrace_dump_on_oops: 0,
  hung_task_all_cpu_backtrace: 0,
  hung_task_check_count: 4194304,
  hung_task_check_interval_secs: 0,
  hung_task_panic: 0,
  hung_task_timeout_secs: 120,
  hung_task_warnings: 10,
  max_lock_depth: 1024,
  nmi_watchdog: 0,
  oops_all_cpu_backtrace: 0,
  oops_limit: 10000,
  panic_on_io_nmi: 0,
  panic_on_rcu_stall: 0,
  panic_on_unrecovered_nmi: 0,
  panic_on_warn: 0,
  panic_print: 0,
  perf_cpu_time_max_percent: 25,
  perf_event_max_contexts_per_stack: 8,
  perf_event_max_stack: 127,
  poweroff_cmd: '/sbin/poweroff',
  'print-fatal-signals': 0,
  printk_delay: 0,
  printk_ratelimit: 5,
  printk_ratelimit_burst: 10,
  soft_watchdog: 0,
  softlockup_all_cpu_backtrace: 0,
  softlockup_panic: 0,
  split_lock_mitigate: 1,
  sysctl_writes_strict: 1,
  task_delayacct: 0,
  timer_migration: 1,
  traceoff_on_warning: 0,
  unknown_nmi_panic: 0,
  warn_limit: 0,
  watchdog: 0,
  watchdog_thresh: 10,
}

export const VM_CONSTANTS: Values = {
  compaction_proactiveness: 20,
  dirtytime_expire_seconds: 43200,
  extfrag_threshold: 500,
  hugetlb_shm_group: 0,
  lowmem_reserve_ratio: '256\t256\t32\t0\t0',
  min_slab_ratio: 5,
  min_unmapped_ratio: 1,
  nr_hugepages_mempolicy: 0,
  numa_stat: 1,
  numa_zonelist_order: 'Node',
  page_lock_unfairness: 5,
  percpu_pagelist_high_fraction: 0,
  stat_interval: 1,
}

export const FS_CONSTANTS: Values = { 'dentry-negative': 0, 'dir-notify-enable': 1 }
