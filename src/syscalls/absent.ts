/**
 * Why calls of the x86-64 table have no row here: for the documentation. Each is answered with ENOSYS, as by a kernel that
 * was built without it; a row makes its line here superfluous, and a test says so.
 */
import type { SyscallName } from '../abi/syscall-numbers.ts'

const OLD = 'Linux itself has no such call any more'
const PORTS = 'the devices behind I/O ports are not the guest’s (a kernel without CONFIG_X86_IOPL_IOPERM)'
const MODULES = 'the kernel has no modules (CONFIG_MODULES)'
const KEXEC = 'the machine’s kernel is not the guest’s to replace (CONFIG_KEXEC)'
const THREAD_AREA = 'segments of 32-bit programs, which don’t run (CONFIG_IA32_EMULATION)'
const LATER = 'newer than Linux 6.12'

export const absentCalls: Readonly<Partial<Record<SyscallName, string>>> = {
  uselib: 'libraries of the a.out format (CONFIG_USELIB)',
  modify_ldt: 'segments are those of the host’s process (CONFIG_MODIFY_LDT_SYSCALL)',
  _sysctl: OLD,
  iopl: PORTS,
  ioperm: PORTS,
  create_module: OLD,
  init_module: MODULES,
  delete_module: MODULES,
  get_kernel_syms: OLD,
  query_module: OLD,
  nfsservctl: OLD,
  getpmsg: OLD,
  putpmsg: OLD,
  afs_syscall: OLD,
  tuxcall: OLD,
  security: OLD,
  set_thread_area: THREAD_AREA,
  get_thread_area: THREAD_AREA,
  lookup_dcookie: OLD,
  epoll_ctl_old: OLD,
  epoll_wait_old: OLD,
  vserver: OLD,
  kexec_load: KEXEC,
  kexec_file_load: KEXEC,
  finit_module: MODULES,
  uretprobe: 'a trampoline of the kernel’s own; calls from elsewhere are no use on Linux either',
  map_shadow_stack: 'shadow stacks are not announced (CONFIG_X86_USER_SHADOW_STACK)',
  open_tree_attr: LATER,
  file_getattr: LATER,
  file_setattr: LATER,
  listns: LATER,
}
