/**
 * Writes src/abi/{errno,constants,syscall-numbers,layout,protocol}.ts from the C headers of this machine.
 *
 *   node scripts/generate-abi.ts [--out DIR] [--only errno,constants,...] [--protocol HEADER] [--verbose]
 *
 * Constants: `cc -dM -E` (and the enumerators in the preprocessed text) give the candidate names of a
 * family's headers; those that match the family's patterns go into one C program, the lines the compiler
 * refuses (strings, types, ioctls of unknown structs) are dropped, and the rest is printed by running it.
 * Kernel headers come first; glibc's serve only where the kernel exports none (AF_*, ELF relocations).
 * `extra` gives what the headers don't have or are too old for (up to Linux 6.12), each behind #ifndef;
 * `set` overrides. Numbers that a double can't hold are left out (--verbose names all that is).
 * Layouts: offsetof and sizeof, printed by a C program too.
 *
 * The values are those of x86-64, so the script refuses to run elsewhere.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const ROOT = resolve(import.meta.dirname, '..')
const LAST_SYSCALL = 470

/** One block of constants: names from `from` that match `names`; the order of `names` orders the output. */
interface Family {
  about: string
  from?: string[]
  names?: RegExp[]
  /** 'NAME value' pairs, used where the headers lack NAME. */
  extra?: string
  /** 'NAME value' pairs which replace what the headers say. */
  set?: string
  octal?: boolean
}

type Values = Map<string, bigint>

// ---- families ------------------------------------------------------------------------------------------

/** Of packet filters: constants and layouts. */
const FILTER_HEADERS = [
  'linux/netfilter/nfnetlink.h',
  'linux/netfilter/nf_conntrack_tcp.h',
  'linux/netfilter/nf_nat.h',
  'linux/netfilter/xt_conntrack.h',
  'linux/netfilter/xt_addrtype.h',
  'linux/netfilter/xt_multiport.h',
  'linux/netfilter/xt_owner.h',
  'linux/netfilter/xt_tcpudp.h',
  'linux/netfilter/xt_CT.h',
  'linux/netfilter/xt_TCPMSS.h',
  'linux/netfilter/xt_iprange.h',
  'linux/netfilter/xt_statistic.h',
  'linux/netfilter/xt_NFLOG.h',
  'linux/netfilter/xt_connlimit.h',
  'linux/netfilter/xt_recent.h',
  'linux/netfilter/xt_hashlimit.h',
  'linux/netfilter/xt_string.h',
  'linux/netfilter/xt_socket.h',
  'linux/netfilter/xt_connbytes.h',
  'linux/netfilter/xt_quota.h',
  'linux/netfilter/xt_time.h',
  'linux/netfilter/xt_u32.h',
  'linux/netfilter/xt_devgroup.h',
  'linux/netfilter/xt_connlabel.h',
  'linux/netfilter/xt_policy.h',
  'linux/netfilter/xt_rpfilter.h',
  'linux/netfilter/xt_esp.h',
  'linux/netfilter/xt_sctp.h',
  'linux/netfilter/xt_dccp.h',
  'linux/netfilter/xt_bpf.h',
  'linux/netfilter/xt_cgroup.h',
  'linux/netfilter/xt_ecn.h',
  'linux/netfilter/xt_dscp.h',
  'linux/netfilter/xt_CHECKSUM.h',
  'linux/netfilter/xt_NFQUEUE.h',
  'linux/netfilter/xt_connmark.h',
  'linux/netfilter/xt_physdev.h',
  'linux/netfilter/xt_TPROXY.h',
  'linux/netfilter/xt_set.h',
  'linux/netfilter/ipset/ip_set.h',
  'linux/netfilter/nfnetlink_log.h',
  'linux/netfilter/nfnetlink_queue.h',
  'linux/netfilter_ipv4/ipt_REJECT.h',
  'linux/netfilter_ipv4/ipt_TTL.h',
  'linux/netfilter_ipv4/ipt_ECN.h',
  'linux/netfilter_ipv4/ipt_ah.h',
  'linux/netfilter_ipv6/ip6t_ah.h',
  'linux/netfilter_ipv6/ip6t_frag.h',
  'linux/netfilter_ipv6/ip6t_ipv6header.h',
  'linux/netfilter_ipv6/ip6t_opts.h',
  'linux/netfilter_ipv6/ip6t_rt.h',
  'linux/netfilter_ipv6/ip6t_REJECT.h',
  'linux/netfilter_ipv4/ip_tables.h',
  'linux/netfilter_ipv6/ip6_tables.h',
]
const TRAFFIC_HEADERS = [
  'linux/gen_stats.h',
  'linux/pkt_sched.h',
  'linux/pkt_cls.h',
  'linux/tc_act/tc_gact.h',
  'linux/tc_act/tc_mirred.h',
  'linux/tc_act/tc_skbedit.h',
]

const FAMILIES: Family[] = [
  { about: 'open(2) flags', from: ['linux/fcntl.h'], names: [/^O_/, /^FASYNC$/] },
  { about: 'access(2) modes', extra: 'F_OK 0, X_OK 1, W_OK 2, R_OK 4' },
  {
    about: 'fcntl(2) commands, seals, locks, leases, owners and dnotify',
    from: ['linux/fcntl.h'],
    names: [/^FD_CLOEXEC$/, /^F_SEAL/, /^F_/, /^LOCK_/, /^DN_/, /^RWH_/],
    extra: `F_SEAL_EXEC 0x0020, F_DUPFD_QUERY (1024+3), F_CREATED_QUERY (1024+4), RWH_WRITE_LIFE_NOT_SET 0,
      RWH_WRITE_LIFE_NONE 1, RWH_WRITE_LIFE_SHORT 2, RWH_WRITE_LIFE_MEDIUM 3, RWH_WRITE_LIFE_LONG 4,
      RWH_WRITE_LIFE_EXTREME 5`,
  },
  {
    about: '*at(2) flags',
    from: ['linux/fcntl.h'],
    names: [/^AT_/],
    extra: 'AT_HANDLE_FID 0x200, AT_HANDLE_MNT_ID_UNIQUE 0x001, AT_EACCESS 0x200, AT_REMOVEDIR 0x200',
  },
  { about: 'openat2(2)', from: ['linux/openat2.h'], names: [/^RESOLVE_/], extra: 'OPEN_HOW_SIZE_VER0 24' },
  { about: 'close_range(2)', from: ['linux/close_range.h'], names: [/^CLOSE_RANGE_/] },
  {
    about: 'lseek(2), renameat2(2), preadv2(2)',
    from: ['linux/fs.h', 'linux/fcntl.h'],
    names: [/^SEEK_/, /^RENAME_/, /^RWF_/],
    extra: 'RWF_NOAPPEND 0x20, RWF_ATOMIC 0x40',
  },
  { about: 'file modes', from: ['linux/stat.h'], names: [/^S_/], octal: true },
  {
    about: 'statx(2)',
    from: ['linux/stat.h'],
    names: [/^STATX_/],
    extra: `STATX_MNT_ID_UNIQUE 0x4000, STATX_SUBVOL 0x8000, STATX_WRITE_ATOMIC 0x10000,
      STATX_ATTR_WRITE_ATOMIC 0x00400000`,
  },
  {
    about: 'directory entry types',
    extra:
      'DT_UNKNOWN 0, DT_FIFO 1, DT_CHR 2, DT_DIR 4, DT_BLK 6, DT_REG 8, DT_LNK 10, DT_SOCK 12, DT_WHT 14',
  },
  {
    about: 'extended attributes and ACLs',
    from: ['linux/xattr.h', 'linux/limits.h', 'linux/posix_acl.h', 'linux/posix_acl_xattr.h'],
    names: [/^XATTR_/, /^ACL_/, /^POSIX_ACL_/],
  },
  {
    about: 'fallocate(2), fadvise64(2)',
    from: ['linux/falloc.h', 'linux/fadvise.h'],
    names: [/^FALLOC_FL_/, /^POSIX_FADV_/],
  },
  { about: 'utimensat(2)', extra: 'UTIME_NOW ((1l<<30)-1), UTIME_OMIT ((1l<<30)-2)' },
  {
    about: 'bpf(2): the virtual machine, and programs that guard devices',
    from: ['linux/bpf.h'],
    names: [
      /^BPF_(PROG_LOAD|PROG_ATTACH|PROG_DETACH|PROG_QUERY|PROG_GET_FD_BY_ID|OBJ_GET_INFO_BY_FD|CGROUP_DEVICE)$/,
      /^BPF_PROG_TYPE_CGROUP_(DEVICE|SKB)$/,
      /^BPF_F_(ALLOW_OVERRIDE|ALLOW_MULTI|REPLACE|QUERY_EFFECTIVE|STRICT_ALIGNMENT|ANY_ALIGNMENT)$/,
      /^BPF_DEVCG_/,
      /^BPF_(ALU64|JMP32|DW|MOV|ARSH|JNE|JLT|JLE|JSGT|JSGE|JSLT|JSLE|EXIT|END|CALL)$/,
    ],
  },
  {
    about: 'FUSE: the protocol of /dev/fuse',
    from: ['linux/fuse.h'],
    names: [/^FUSE_(?!SETUPMAPPING|REMOVEMAPPING)/, /^FOPEN_/, /^FATTR_/],
  },
  {
    about: 'splice(2), tee(2), vmsplice(2)',
    extra: 'SPLICE_F_MOVE 1, SPLICE_F_NONBLOCK 2, SPLICE_F_MORE 4, SPLICE_F_GIFT 8',
  },
  {
    about: 'mount(2), umount2(2) and the fd-based mount calls',
    from: ['linux/mount.h', 'linux/fcntl.h'],
    names: [
      /^MS_/,
      /^MNT_/,
      /^OPEN_TREE_/,
      /^MOVE_MOUNT_/,
      /^FSOPEN_/,
      /^FSMOUNT_/,
      /^FSPICK_/,
      /^FSCONFIG_/,
      /^MOUNT_ATTR_/,
      /^STATMOUNT_/,
      /^L(SMT|ISTMOUNT)_/,
    ],
    extra: `MS_SUBMOUNT (1<<26), MS_NOREMOTELOCK (1<<27), MS_NOSEC (1<<28), MS_BORN (1<<29),
      MS_ACTIVE (1<<30),
      MS_NOUSER (1<<31), MNT_FORCE 1, MNT_DETACH 2, MNT_EXPIRE 4, UMOUNT_NOFOLLOW 8, MOVE_MOUNT_BENEATH 0x200,
      FSCONFIG_CMD_CREATE_EXCL 8, MNT_ID_REQ_SIZE_VER0 24, MNT_ID_REQ_SIZE_VER1 32, STATMOUNT_SB_BASIC 1,
      STATMOUNT_MNT_BASIC 2, STATMOUNT_PROPAGATE_FROM 4, STATMOUNT_MNT_ROOT 8, STATMOUNT_MNT_POINT 0x10,
      STATMOUNT_FS_TYPE 0x20, STATMOUNT_MNT_NS_ID 0x40, STATMOUNT_MNT_OPTS 0x80, LISTMOUNT_REVERSE 1`,
    set: 'MOVE_MOUNT__MASK 0x377',
  },
  {
    about: 'statfs(2): file system magics and flags',
    from: ['linux/magic.h'],
    names: [/_MAGIC$/, /_MAGIC_/, /_MAGIC\w*$/, /^ST_/],
    extra: `MQUEUE_MAGIC 0x19800202, BPF_FS_MAGIC 0xcafe4a11, FUSE_SUPER_MAGIC 0x65735546,
      PID_FS_MAGIC 0x50494446,
      ST_RDONLY 1, ST_NOSUID 2, ST_NODEV 4, ST_NOEXEC 8, ST_SYNCHRONOUS 0x10, ST_VALID 0x20, ST_MANDLOCK 0x40,
      ST_NOATIME 0x400, ST_NODIRATIME 0x800, ST_RELATIME 0x1000, ST_NOSYMFOLLOW 0x2000`,
  },
  {
    about: 'file and block device ioctls, inode flags',
    from: ['linux/fs.h', 'linux/fiemap.h', 'linux/hdreg.h', 'linux/fscrypt.h', 'linux/fsverity.h'],
    names: [
      /^FS_IOC/,
      /^FS_/,
      /^FICLONE/,
      /^FIDEDUPERANGE/,
      /^(FIBMAP|FIGETBSZ|FIFREEZE|FITHAW|FITRIM)$/,
      /^FIEMAP_/,
      /^FILE_DEDUPE_/,
      /^BLK[A-Z]/,
      /^HDIO_GET/,
    ],
    extra: `FS_IOC_GETFSUUID 0x80111500, FS_IOC_GETFSSYSFSPATH 0x80811501, PROCMAP_QUERY 0xc0686611`,
  },
  { about: 'device majors', from: ['linux/major.h'], names: [/_MAJOR$/], extra: 'MISC_MAJOR 10' },
  {
    about: 'limits',
    from: ['linux/limits.h', 'linux/uio.h'],
    names: [
      /^(NR_OPEN|NGROUPS_MAX|ARG_MAX|LINK_MAX|MAX_CANON|MAX_INPUT|NAME_MAX|PATH_MAX|PIPE_BUF|RTSIG_MAX)$/,
      /^UIO_/,
    ],
    extra: 'IOV_MAX 1024, HOST_NAME_MAX 64, TASK_COMM_LEN 16, BINPRM_BUF_SIZE 256',
  },

  {
    about: 'memory: mmap(2), mprotect(2), mremap(2), madvise(2), msync(2), mlock(2), pkeys',
    from: ['linux/mman.h'],
    names: [
      /^PROT_/,
      /^MAP_/,
      /^MREMAP_/,
      /^MADV_/,
      /^MS_/,
      /^MCL_/,
      /^MLOCK_/,
      /^PKEY_/,
      /^OVERCOMMIT_/,
      /^SHADOW_STACK_/,
    ],
    extra: `MAP_DROPPABLE 0x08, PKEY_ACCESS_MASK 3, SHADOW_STACK_SET_TOKEN 1, SHADOW_STACK_SET_MARKER 2,
      MADV_GUARD_INSTALL 102, MADV_GUARD_REMOVE 103`,
  },
  {
    about: 'memfd_create(2)',
    from: ['linux/memfd.h'],
    names: [/^MFD_/],
    extra: 'MFD_NOEXEC_SEAL 8, MFD_EXEC 0x10',
  },
  {
    about: 'memory policy',
    from: ['linux/mempolicy.h'],
    names: [/^MPOL_/],
    extra: 'MPOL_WEIGHTED_INTERLEAVE 6',
  },
  {
    about: 'perf_event_open(2)',
    from: ['linux/perf_event.h'],
    names: [/^PERF_(TYPE|COUNT_SW|FORMAT|FLAG|EVENT_IOC|IOC_FLAG|ATTR_SIZE)_/],
  },
  {
    about: 'userfaultfd(2)',
    from: ['linux/userfaultfd.h'],
    names: [/^UFFD/, /^_UFFDIO_/],
    extra: 'USERFAULTFD_IOC_NEW 0xaa00',
  },

  {
    about: 'clone(2), scheduling',
    from: ['linux/sched.h', 'linux/sched/types.h'],
    names: [/^CSIGNAL$/, /^CLONE_/, /^SCHED_/],
  },
  { about: 'wait4(2), waitid(2)', from: ['linux/wait.h'], names: [/^W[A-Z]+$/, /^__W[A-Z]+$/, /^P_[A-Z]+$/] },
  {
    about: 'pidfds',
    from: ['linux/pidfd.h'],
    names: [/^PIDFD_/],
    extra: `PIDFD_NONBLOCK 0x800, PIDFD_THREAD 0x80, PIDFD_SIGNAL_THREAD 1, PIDFD_SIGNAL_THREAD_GROUP 2,
      PIDFD_SIGNAL_PROCESS_GROUP 4, PIDFD_GET_CGROUP_NAMESPACE 0xff01, PIDFD_GET_IPC_NAMESPACE 0xff02,
      PIDFD_GET_MNT_NAMESPACE 0xff03, PIDFD_GET_NET_NAMESPACE 0xff04, PIDFD_GET_PID_NAMESPACE 0xff05,
      PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE 0xff06, PIDFD_GET_TIME_NAMESPACE 0xff07,
      PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE 0xff08, PIDFD_GET_USER_NAMESPACE 0xff09,
      PIDFD_GET_UTS_NAMESPACE 0xff0a`,
  },
  {
    about: 'namespace ioctls',
    from: ['linux/nsfs.h'],
    names: [/^NS_/],
    extra: `NS_GET_MNTNS_ID 0x8008b705, NS_GET_PID_FROM_PIDNS 0x8004b706, NS_GET_TGID_FROM_PIDNS 0x8004b707,
      NS_GET_PID_IN_PIDNS 0x8004b708, NS_GET_TGID_IN_PIDNS 0x8004b709, NS_MNT_GET_INFO 0x8010b70a,
      NS_MNT_GET_NEXT 0x8010b70b, NS_MNT_GET_PREV 0x8010b70c`,
  },
  {
    about: 'signals and signal actions',
    from: ['asm/signal.h', 'linux/signal.h'],
    names: [/^SIG[A-Z0-9]+$/, /^SA_/, /^SS_/, /^SIG_/, /^MINSIGSTKSZ$/],
    extra: 'SIGUNUSED 31',
    set: `SIG_DFL 0, SIG_IGN 1, SIG_ERR -1, SIGRTMAX 64, NSIG 64, SS_FLAG_BITS (1u<<31)`,
  },
  {
    about: 'siginfo codes, sigevent',
    from: ['asm/siginfo.h'],
    names: [/^SI_/, /^ILL_/, /^FPE_/, /^SEGV_/, /^BUS_/, /^TRAP_/, /^CLD_/, /^POLL_/, /^SYS_/, /^SIGEV_/],
    extra: 'SEGV_CPERR 10, SYS_USER_DISPATCH 2, TRAP_PERF 6',
  },
  { about: 'signalfd(2)', from: ['linux/signalfd.h', 'linux/fcntl.h'], names: [/^SFD_/] },
  {
    about: 'futexes and robust lists',
    from: ['linux/futex.h'],
    names: [/^FUTEX_/, /^FUTEX2_/, /^ROBUST_/],
    extra: `FUTEX2_SIZE_U8 0, FUTEX2_SIZE_U16 1, FUTEX2_SIZE_U32 2, FUTEX2_SIZE_U64 3, FUTEX2_NUMA 4,
      FUTEX2_PRIVATE 128, FUTEX2_SIZE_MASK 3`,
  },
  {
    about: 'clocks, timers',
    from: ['linux/time.h'],
    names: [/^CLOCK_/, /^MAX_CLOCKS$/, /^ITIMER_/, /^TIMER_/],
  },
  { about: 'timerfd(2)', from: ['linux/timerfd.h', 'linux/fcntl.h'], names: [/^TFD_/] },
  { about: 'adjtimex(2)', from: ['linux/timex.h'], names: [/^ADJ_/, /^MOD_/, /^STA_/, /^TIME_/, /^NTP_API/] },
  {
    about: 'limits, usage, priorities',
    from: ['linux/resource.h'],
    names: [/^RLIMIT_/, /^RLIM_N/, /^RUSAGE_/, /^PRIO_/],
    extra: 'RLIM_NLIMITS 16',
  },
  { about: 'I/O priorities', from: ['linux/ioprio.h'], names: [/^IOPRIO_/] },
  {
    about: 'prctl(2)',
    from: ['linux/prctl.h'],
    names: [/^PR_/, /^SYSCALL_DISPATCH_/],
    extra: `PR_SET_MDWE 65, PR_MDWE_REFUSE_EXEC_GAIN 1, PR_MDWE_NO_INHERIT 2, PR_GET_MDWE 66,
      PR_SET_MEMORY_MERGE 67,
      PR_GET_MEMORY_MERGE 68, PR_RISCV_V_SET_CONTROL 69, PR_RISCV_V_GET_CONTROL 70,
      PR_RISCV_SET_ICACHE_FLUSH_CTX 71,
      PR_PPC_GET_DEXCR 72, PR_PPC_SET_DEXCR 73, PR_GET_AUXV 0x41555856`,
  },
  {
    about: 'arch_prctl(2)',
    from: ['asm/prctl.h'],
    names: [/^ARCH_/],
    extra: `ARCH_GET_UNTAG_MASK 0x4001, ARCH_ENABLE_TAGGED_ADDR 0x4002, ARCH_GET_MAX_TAG_BITS 0x4003,
      ARCH_FORCE_TAGGED_SVA 0x4004, ARCH_SHSTK_ENABLE 0x5001, ARCH_SHSTK_DISABLE 0x5002,
      ARCH_SHSTK_LOCK 0x5003,
      ARCH_SHSTK_UNLOCK 0x5004, ARCH_SHSTK_STATUS 0x5005, ARCH_SHSTK_SHSTK 1, ARCH_SHSTK_WRSS 2`,
  },
  {
    about: 'capabilities, securebits',
    from: ['linux/capability.h', 'linux/securebits.h'],
    names: [/^CAP_/, /^LINUX_CAPABILITY_/, /^VFS_CAP_/, /^SECBIT_/, /^SECURE_/],
    set: `LINUX_CAPABILITY_VERSION_1 _LINUX_CAPABILITY_VERSION_1,
      LINUX_CAPABILITY_U32S_1 _LINUX_CAPABILITY_U32S_1,
      LINUX_CAPABILITY_VERSION_2 _LINUX_CAPABILITY_VERSION_2,
      LINUX_CAPABILITY_U32S_2 _LINUX_CAPABILITY_U32S_2,
      LINUX_CAPABILITY_VERSION_3 _LINUX_CAPABILITY_VERSION_3,
        LINUX_CAPABILITY_U32S_3 _LINUX_CAPABILITY_U32S_3`,
  },
  {
    about: 'personality(2)',
    from: ['linux/personality.h'],
    names: [
      /^UNAME26$/,
      /^ADDR_/,
      /^(FDPIC_FUNCPTRS|MMAP_PAGE_ZERO|READ_IMPLIES_EXEC|SHORT_INODE)$/,
      /^(WHOLE_SECONDS|STICKY_TIMEOUTS|PER_CLEAR_ON_SETID)$/,
      /^PER_/,
    ],
  },
  {
    about: 'auxiliary vector',
    from: ['linux/auxvec.h', 'asm/hwcap2.h'],
    names: [/^AT_/, /^HWCAP2_/],
    extra: 'AT_RSEQ_FEATURE_SIZE 27, AT_RSEQ_ALIGN 28, AT_HWCAP3 29, AT_HWCAP4 30, AT_MINSIGSTKSZ 51',
  },
  {
    about: 'rseq(2), membarrier(2), kcmp(2)',
    from: ['linux/rseq.h', 'linux/membarrier.h', 'linux/kcmp.h'],
    names: [/^RSEQ_/, /^MEMBARRIER_/, /^KCMP_/],
    extra: 'MEMBARRIER_CMD_GET_REGISTRATIONS (1<<9)',
  },
  {
    about: 'reboot(2), syslog(2), swapon(2)',
    from: ['linux/reboot.h'],
    names: [/^LINUX_REBOOT_/],
    extra: `SYSLOG_ACTION_CLOSE 0, SYSLOG_ACTION_OPEN 1, SYSLOG_ACTION_READ 2, SYSLOG_ACTION_READ_ALL 3,
      SYSLOG_ACTION_READ_CLEAR 4, SYSLOG_ACTION_CLEAR 5, SYSLOG_ACTION_CONSOLE_OFF 6,
      SYSLOG_ACTION_CONSOLE_ON 7,
      SYSLOG_ACTION_CONSOLE_LEVEL 8, SYSLOG_ACTION_SIZE_UNREAD 9, SYSLOG_ACTION_SIZE_BUFFER 10,
      SWAP_FLAG_PREFER 0x8000, SWAP_FLAG_PRIO_MASK 0x7fff, SWAP_FLAG_DISCARD 0x10000`,
  },
  {
    about: 'io_setup(2) and its kin',
    from: ['linux/aio_abi.h'],
    names: [/^IOCB_CMD_/, /^IOCB_FLAG_/],
  },
  {
    about: 'io_uring(7)',
    from: ['linux/io_uring.h'],
    names: [/^IORING_/, /^IOSQE_/, /^IO_URING_OP_/, /^IOU_/, /^SOCKET_URING_OP_/, /^SPLICE_F_FD_IN_FIXED$/],
    extra: `SOCKET_URING_OP_SIOCINQ 0, SOCKET_URING_OP_SIOCOUTQ 1, SOCKET_URING_OP_GETSOCKOPT 2,
      SOCKET_URING_OP_SETSOCKOPT 3, IORING_SETUP_NO_MMAP (1<<14), IORING_SETUP_REGISTERED_FD_ONLY (1<<15), IORING_SETUP_NO_SQARRAY (1<<16),
      IORING_OP_READ_MULTISHOT 49, IORING_OP_WAITID 50, IORING_OP_FUTEX_WAIT 51, IORING_OP_FUTEX_WAKE 52,
      IORING_OP_FUTEX_WAITV 53, IORING_OP_FIXED_FD_INSTALL 54, IORING_OP_FTRUNCATE 55, IORING_OP_BIND 56,
      IORING_OP_LISTEN 57, IORING_TIMEOUT_MULTISHOT (1<<6), IORING_CQE_F_BUF_MORE (1<<4),
      IORING_RECVSEND_BUNDLE (1<<4), IORING_ACCEPT_DONTWAIT (1<<1), IORING_ACCEPT_POLL_FIRST (1<<2),
      IORING_FEAT_REG_REG_RING (1<<13), IORING_FEAT_RECVSEND_BUNDLE (1<<14), IORING_FEAT_MIN_TIMEOUT (1<<15),
      IORING_ENTER_ABS_TIMER (1<<5), IORING_REGISTER_PBUF_STATUS 26, IORING_REGISTER_NAPI 27,
      IORING_UNREGISTER_NAPI 28, IORING_REGISTER_CLOCK 29, IORING_REGISTER_CLONE_BUFFERS 30,
      IORING_REGISTER_USE_REGISTERED_RING (1u<<31), IOU_PBUF_RING_MMAP 1, IOU_PBUF_RING_INC 2,
      IORING_OFF_PBUF_RING 0x80000000u, IORING_OFF_PBUF_SHIFT 16, IORING_OFF_MMAP_MASK 0xf8000000u,
      IORING_ASYNC_CANCEL_USERDATA (1<<4), IORING_ASYNC_CANCEL_OP (1<<5),
      IORING_MSG_RING_FLAGS_PASS 2, IORING_SEND_ZC_REPORT_USAGE (1<<3), IORING_FIXED_FD_NO_CLOEXEC 1,
      IORING_NOP_INJECT_RESULT 1, IORING_REGISTER_SRC_REGISTERED 1, IORING_REGISTER_DST_REPLACE 2`,
    set: 'IORING_OP_LAST 58, IORING_REGISTER_LAST 31',
  },
  { about: 'getrandom(2), random ioctls', from: ['linux/random.h'], names: [/^GRND_/, /^RND/] },
  {
    about: 'ptrace(2)',
    from: ['linux/ptrace.h', 'asm/ptrace.h'],
    names: [/^PTRACE_/],
    extra: `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG 0x4210, PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211,
      PTRACE_SET_SYSCALL_INFO 0x4212`,
  },
  {
    about: 'seccomp(2), classic BPF, audit architectures',
    from: ['linux/seccomp.h', 'linux/filter.h', 'linux/audit.h'],
    names: [
      /^SECCOMP_/,
      /^(BPF_[A-Z0-9]+)$/,
      /^BPF_MAXINSNS$/,
      /^SKF_/,
      /^AUDIT_ARCH_(X86_64|I386|AARCH64|ARM|RISCV64)$/,
    ],
    extra: 'SECCOMP_IOCTL_NOTIF_SET_FLAGS 0x40082104, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1',
  },
  {
    about: 'landlock, Linux security modules',
    from: ['linux/landlock.h'],
    names: [/^LANDLOCK_/, /^LSM_/],
    extra: `LANDLOCK_ACCESS_FS_TRUNCATE (1<<14), LANDLOCK_ACCESS_FS_IOCTL_DEV (1<<15),
      LANDLOCK_RULE_NET_PORT 2,
      LANDLOCK_ACCESS_NET_BIND_TCP 1, LANDLOCK_ACCESS_NET_CONNECT_TCP 2,
      LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET 1,
      LANDLOCK_SCOPE_SIGNAL 2, LSM_ID_UNDEF 0, LSM_ID_CAPABILITY 100, LSM_ID_SELINUX 101, LSM_ID_APPARMOR 104,
      LSM_ID_YAMA 105, LSM_ID_LANDLOCK 110, LSM_ATTR_UNDEF 0, LSM_ATTR_CURRENT 100, LSM_ATTR_EXEC 101,
      LSM_ATTR_FSCREATE 102, LSM_ATTR_KEYCREATE 103, LSM_ATTR_PREV 104, LSM_ATTR_SOCKCREATE 105,
        LSM_FLAG_SINGLE 1`,
  },
  { about: 'keyrings', from: ['linux/keyctl.h'], names: [/^KEYCTL_/, /^KEY_/] },

  { about: 'poll(2)', from: ['asm/poll.h'], names: [/^POLL[A-Z]+$/] },
  {
    about: 'epoll(7), eventfd(2)',
    from: ['linux/eventpoll.h', 'linux/fcntl.h'],
    names: [/^EPOLL[A-Z]+$/, /^EPOLL_/, /^EPIOC/, /^EFD_/],
    extra: `EFD_SEMAPHORE 1, EFD_CLOEXEC O_CLOEXEC, EFD_NONBLOCK O_NONBLOCK, EPIOCSPARAMS 0x40088a01,
      EPIOCGPARAMS 0x80088a02`,
  },
  {
    about: 'inotify(7), fanotify(7)',
    from: ['linux/inotify.h', 'linux/fanotify.h', 'linux/fcntl.h'],
    names: [/^IN_/, /^INOTIFY_/, /^FAN_/, /^FANOTIFY_METADATA_VERSION$/],
  },

  {
    about: 'System V and POSIX IPC',
    from: ['linux/ipc.h', 'linux/shm.h', 'linux/sem.h', 'linux/msg.h', 'linux/mqueue.h'],
    names: [
      /^IPC_/,
      /^SHM/,
      /^SEM/,
      /^(GETPID|GETVAL|GETALL|GETNCNT|GETZCNT|SETVAL|SETALL)$/,
      /^MSG/,
      /^MQ_/,
      /^NOTIFY_/,
    ],
    extra: 'IPC_64 0x100, SHM_DEST 01000, SHM_LOCKED 02000, MQ_PRIO_MAX 32768',
  },

  {
    about: "address families, socket types, message flags (glibc mirrors the kernel's internal socket.h)",
    from: ['sys/socket.h'],
    names: [/^AF_/, /^PF_/, /^SOCK_/, /^SHUT_/, /^MSG_/, /^SOMAXCONN$/],
    extra: `AF_SMC 43, AF_XDP 44, AF_MCTP 45, MSG_SENDPAGE_NOTLAST 0x20000, MSG_SPLICE_PAGES 0x8000000,
      MSG_CMSG_COMPAT 0x80000000, SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2`,
    set: 'SOMAXCONN 4096',
  },
  {
    about: 'socket options and control messages',
    from: ['sys/socket.h', 'linux/errqueue.h', 'linux/net_tstamp.h'],
    names: [/^SOL_/, /^SO_/, /^SCM_/, /^SOF_/],
    extra: `SOL_IP 0, SOL_TCP 6, SOL_UDP 17, SOL_IPV6 41, SOL_ICMPV6 58, SOL_UDPLITE 136, SOL_NETLINK 270,
      SOL_TLS 282,
      SOL_XDP 283, SOL_MPTCP 284, SOL_MCTP 285, SOL_SMC 286, SOL_VSOCK 287, SO_PASSPIDFD 76, SO_PEERPIDFD 77,
      SO_DEVMEM_LINEAR 78, SO_DEVMEM_DMABUF 79, SO_DEVMEM_DONTNEED 80, SCM_RIGHTS 1, SCM_CREDENTIALS 2,
      SCM_SECURITY 3, SCM_PIDFD 4, SCM_MAX_FD 253, SO_RCVTIMEO_NEW 66, SO_SNDTIMEO_NEW 67,
      SO_RCVPRIORITY 82, SO_PASSRIGHTS 83, SO_INQ 84, SCM_INQ 84`,
  },
  {
    about: 'IP, IPv6',
    from: ['linux/in.h', 'linux/in6.h', 'linux/ip.h', 'linux/ipv6.h'],
    names: [
      /^IPPROTO_/,
      /^IP_/,
      /^IPV6_/,
      /^MCAST_/,
      /^INADDR_/,
      /^IN_LOOPBACK/,
      /^IPTOS_/,
      /^IPDEFTTL$/,
      /^IPOPT_/,
      /^IPVERSION$/,
    ],
    extra: 'IPPROTO_L2TP 115, IPPROTO_SMC 256, IP_LOCAL_PORT_RANGE 51, IP_PROTOCOL 52',
  },
  { about: 'ICMP', from: ['linux/icmp.h', 'linux/icmpv6.h'], names: [/^ICMP_/, /^ICMPV6_/] },
  {
    about: 'TCP options and info',
    from: ['linux/tcp.h'],
    names: [/^TCP_/, /^TCPI_/, /^TCPOPT_/],
    extra: `TCPOPT_EOL 0, TCPOPT_NOP 1, TCPOPT_MSS 2, TCPOPT_WINDOW 3, TCPOPT_SACK_PERM 4, TCPOPT_SACK 5,
      TCPOPT_TIMESTAMP 8, TCPOPT_MD5SIG 19, TCPOPT_AO 29, TCPOPT_MPTCP 30, TCPOPT_FASTOPEN 34,
      TCP_AO_ADD_KEY 38, TCP_AO_DEL_KEY 39, TCP_AO_INFO 40, TCP_AO_GET_KEYS 41, TCP_AO_REPAIR 42,
      TCP_IS_MPTCP 43, TCP_RTO_MAX_MS 44, TCP_RTO_MIN_US 45, TCP_DELACK_MAX_US 46`,
  },
  {
    about: 'TCP states',
    extra: `TCP_ESTABLISHED 1, TCP_SYN_SENT 2, TCP_SYN_RECV 3, TCP_FIN_WAIT1 4, TCP_FIN_WAIT2 5,
      TCP_TIME_WAIT 6, TCP_CLOSE 7, TCP_CLOSE_WAIT 8, TCP_LAST_ACK 9, TCP_LISTEN 10, TCP_CLOSING 11,
      TCP_NEW_SYN_RECV 12`,
  },
  {
    about: 'UDP options',
    from: ['linux/udp.h'],
    names: [/^UDP_/, /^UDPLITE_/],
    extra: 'UDPLITE_SEND_CSCOV 10, UDPLITE_RECV_CSCOV 11',
  },
  { about: 'Unix sockets', from: ['linux/un.h', 'linux/sockios.h'], names: [/^UNIX_PATH_MAX$/, /^SIOCUNIX/] },
  {
    about: 'socket ioctls',
    from: ['linux/sockios.h', 'linux/time.h', 'asm/ioctls.h'],
    names: [/^SIOC/, /^FIO(SETOWN|GETOWN)$/],
  },
  {
    about: 'network interfaces, link layer, packet sockets',
    from: ['linux/if.h', 'linux/if_ether.h', 'linux/if_arp.h', 'linux/if_packet.h', 'linux/if_tun.h'],
    names: [
      /^IFF_/,
      /^IFNAMSIZ$/,
      /^IFALIASZ$/,
      /^IF_OPER_/,
      /^ETH_/,
      /^ARPHRD_/,
      /^ARPOP_/,
      /^PACKET_/,
      /^TPACKET_/,
      /^TP_STATUS_/,
      /^TUN(SET|GET|_F_|_PKT_)/,
    ],
    extra: 'TUN_F_USO4 0x20, TUN_F_USO6 0x40',
  },
  {
    about: 'netlink, rtnetlink',
    from: [
      'linux/netlink.h',
      'linux/rtnetlink.h',
      'linux/if_link.h',
      'linux/if_addr.h',
      'linux/neighbour.h',
      'linux/sock_diag.h',
      'linux/inet_diag.h',
      'linux/unix_diag.h',
      'linux/genetlink.h',
      'linux/taskstats.h',
      'linux/acct.h',
      'linux/fib_rules.h',
      'linux/netconf.h',
      'linux/veth.h',
      'linux/net_namespace.h',
      'linux/if_bridge.h',
      'linux/if_vlan.h',
      'linux/if_tunnel.h',
      'linux/if_addrlabel.h',
    ],
    names: [
      /^NETLINK_/,
      /^NETNSA_/,
      /^NLMSGERR_/,
      /^NETCONFA_/,
      /^FRA_/,
      /^FR_ACT_/,
      /^FIB_RULE_/,
      /^VETH_INFO_/,
      /^NLM_/,
      /^NLMSG_/,
      /^NLA_/,
      /^RTM_/,
      /^RTA_/,
      /^RTN_/,
      /^RTPROT_/,
      /^RT_SCOPE_/,
      /^RT_TABLE_/,
      /^RTAX_/,
      /^RTMGRP_/,
      /^RTNLGRP_/,
      /^RTNH_/,
      /^IFLA_(?!VF|GENEVE|MACSEC|HSR|CAN|IPOIB|PPP)/,
      /^(MACVLAN|IPVLAN)_(MODE|FLAG|F)_/,
      /^VLAN_FLAG_/,
      /^BRIDGE_(VLAN_INFO|FLAGS|MODE)_/,
      /^BR_(STATE|BOOLOPT)_/,
      /^RTEXT_FILTER_/,
      /^NDTA_/,
      /^NDTPA_/,
      /^IFAL_/,
      /^IFA_/,
      /^NDA_/,
      /^NUD_/,
      /^NTF_/,
      /^SOCK_(DIAG|DESTROY)/,
      /^INET_DIAG_/,
      /^UDIAG_/,
      /^UNIX_DIAG_/,
      /^CTRL_/,
      /^GENL_/,
      /^TASKSTATS_/,
      /^A(FORK|SU|COMPAT|CORE|XSIG|GROUP)$/,
    ],
  },
  {
    about: 'queueing disciplines, classifiers and actions: tc(8)',
    from: ['linux/rtnetlink.h', ...TRAFFIC_HEADERS],
    names: [
      /^TCA_(?!CAKE|TAPRIO|SFB|QFQ|PIE|HHF|CHOKE|CBS|ETF|MQPRIO|GRED|HFSC|DUALPI2|FLOWER_KEY_(ENC|CT|MPLS|CFM)|FLOWER_(MPLS|LSE))/,
      /^TC_(H|U32|ACT|POLICE|PRIO|LINKLAYER|HTB|FQ)_/,
      /^NETEM_LOSS_/,
    ],
  },
  {
    about: 'what bonding is told, next hop objects',
    from: ['linux/if_bonding.h', 'linux/nexthop.h'],
    names: [/^BOND_/, /^NHA_/, /^NEXTHOP_/],
  },
  {
    about: 'ethtool(8), by ioctl(2) and by generic netlink',
    from: ['linux/ethtool.h', 'linux/ethtool_netlink.h'],
    names: [
      /^ETHTOOL_(?!LINK_MODE|A_CABLE|A_TUNNEL|A_PLCA|A_MM|A_MODULE|A_PSE|A_C33)/,
      /^(DUPLEX|SPEED|PORT|AUTONEG)_/,
      /^ETH_SS_/,
      /^ETH_FLAG_/,
      /^SOF_TIMESTAMPING_/,
    ],
  },
  {
    about: 'netfilter: hooks, nfnetlink, nf_tables, conntrack, the extensions of x_tables',
    from: [
      'linux/in.h',
      'linux/netlink.h',
      'linux/netfilter.h',
      'linux/netfilter_ipv4.h',
      'linux/netfilter/nfnetlink_compat.h',
      'linux/netfilter/nf_tables.h',
      'linux/netfilter/nf_tables_compat.h',
      'linux/netfilter/nfnetlink_conntrack.h',
      'linux/netfilter/nf_conntrack_common.h',
      'linux/netfilter/nf_conntrack_tuple_common.h',
      'linux/netfilter/nf_log.h',
      'linux/netfilter/x_tables.h',
      'linux/netfilter/ipset/ip_set_hash.h',
      'linux/netfilter/ipset/ip_set_bitmap.h',
      'linux/netfilter/ipset/ip_set_list.h',
      ...FILTER_HEADERS,
    ],
    names: [
      /^NF_/,
      /^NFPROTO_/,
      /^NFNL_/,
      /^NFNLGRP_/,
      /^NFNETLINK_/,
      /^NFT_/,
      /^NFTA_/,
      /^SO_ORIGINAL_DST/,
      /^CTA_/,
      /^IPCTNL_/,
      /^IPS_/,
      /^IP_CT_/,
      /^TCP_CONNTRACK_/,
      /^XT_/,
      /^IPRANGE_/,
      /^IPT_/,
      /^IP6T_/,
      /^NFUL/,
      /^NFQ(A|NL)_/,
      /^NFQ_FLAG_/,
      /^D_SHIFT_/,
      /^IPSET_/,
      /^(SO_)?IP_SET(_|$)/,
      /^MASK_/,
    ],
  },

  {
    about: 'x_tables: the match `ttl`, whose header excludes that of the target',
    from: ['linux/netfilter_ipv4/ipt_ttl.h'],
    names: [/^IPT_TTL_/],
  },

  {
    about: "terminals: the kernel's termios bits (NCCS is 19), tcflush(3), tcsetattr(3), speeds",
    from: ['asm/termbits.h'],
    names: [
      /^V[A-Z0-9]+$/,
      /^B\d+$/,
      /^(NCCS|EXTA|EXTB|BOTHER|IBSHIFT)$/,
      /^(?!TC|TIO)[A-Z][A-Z0-9]+$/,
      /^TC/,
    ],
    extra: 'N_TTY 0',
  },
  {
    about: 'terminal and file descriptor ioctls',
    from: ['asm/termios.h', 'asm/ioctls.h'],
    names: [/^TC/, /^TIOC/, /^FIO/],
    extra: 'FIONREAD 0x541b',
  },
  { about: 'console ioctls', from: ['linux/kd.h', 'linux/vt.h'], names: [/^KD[A-Z]+$/, /^VT_[A-Z]+$/] },

  {
    about: "ELF (glibc's elf.h, more complete than the kernel's)",
    from: ['elf.h'],
    names: [
      /^EI_/,
      /^ELF/,
      /^ET_/,
      /^EM_(NONE|386|ARM|X86_64|AARCH64|RISCV)$/,
      /^EV_/,
      /^PF_[RWX]$/,
      /^PN_/,
      /^(PT|SHT|SHF|SHN|STB|STT|DT)_(?!ALPHA|ARM_|C6000|HP_|IA_64|MIPS|NIOS2|PARISC|PPC|RISCV|S390|SPARC|SUNW)/,
      /^STV_/,
      /^DF_/,
      /^NT_(?!S390|PPC|ARC|MIPS|METAG|RISCV|LOONGARCH)/,
      /^R_X86_64_/,
      /^GNU_PROPERTY_/,
    ],
    extra: 'PT_GNU_PROPERTY 0x6474e553, PT_AARCH64_MEMTAG_MTE 0x70000002',
  },
]

const ERRNO_INTERNAL = `ERESTARTSYS 512, ERESTARTNOINTR 513, ERESTARTNOHAND 514, ENOIOCTLCMD 515,
  ERESTART_RESTARTBLOCK 516, EPROBE_DEFER 517, EOPENSTALE 518, ENOPARAM 519, ENOTSUP EOPNOTSUPP`

/** System calls newer than Debian 12's headers (Linux 6.1). */
const NEW_SYSCALLS = `uretprobe 335, cachestat 451, fchmodat2 452, map_shadow_stack 453, futex_wake 454,
  futex_wait 455,
  futex_requeue 456, statmount 457, listmount 458, lsm_get_self_attr 459, lsm_set_self_attr 460, lsm_list_modules 461,
  mseal 462, setxattrat 463, getxattrat 464, listxattrat 465, removexattrat 466,
  open_tree_attr 467, file_getattr 468, file_setattr 469, listns 470`

// ---- layouts -------------------------------------------------------------------------------------------

/** Structs that share one translation unit. */
interface LayoutGroup {
  from: string[]
  /** C text after the includes: structs that no UAPI header declares. */
  declare?: string
  /** 'NAME = C type: fields', a field being `name` or `name=path`; `*` takes every field the C text
    declares. */
  structs: string[]
}

const SIGCONTEXT_REGS =
  'r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags cs gs fs ss err trapno oldmask cr2 fpstate'
const MCONTEXT_PATHS = SIGCONTEXT_REGS.split(' ')
  .map(r => `${r}=uc_mcontext.${r}`)
  .join(' ')

const LAYOUTS: LayoutGroup[] = [
  {
    from: ['linux/bpf.h'],
    structs: [
      'BPF_LOAD_ATTR = union bpf_attr: prog_type insn_cnt insns license log_level log_size log_buf prog_flags prog_name',
      'BPF_ATTACH_ATTR = union bpf_attr: target_fd attach_bpf_fd attach_type attach_flags replace_bpf_fd',
      `BPF_QUERY_ATTR = union bpf_attr: target_fd=query.target_fd attach_type=query.attach_type
        query_flags=query.query_flags attach_flags=query.attach_flags prog_ids=query.prog_ids
        prog_cnt=query.prog_cnt`,
      'BPF_ID_ATTR = union bpf_attr: prog_id open_flags',
      'BPF_INFO_ATTR = union bpf_attr: bpf_fd=info.bpf_fd info_len=info.info_len info=info.info',
      'BPF_PROG_INFO = struct bpf_prog_info: type id tag name created_by_uid',
      'BPF_INSN = struct bpf_insn: code off imm',
      'BPF_CGROUP_DEV_CTX = struct bpf_cgroup_dev_ctx: access_type major minor',
    ],
  },
  {
    from: ['linux/fuse.h'],
    structs: [
      'FUSE_IN_HEADER = struct fuse_in_header: *',
      'FUSE_OUT_HEADER = struct fuse_out_header: *',
      'FUSE_INIT_IN = struct fuse_init_in: major minor max_readahead flags flags2',
      `FUSE_INIT_OUT = struct fuse_init_out: major minor max_readahead flags max_background congestion_threshold
        max_write time_gran max_pages map_alignment flags2`,
      `FUSE_ATTR = struct fuse_attr: *`,
      'FUSE_ENTRY_OUT = struct fuse_entry_out: *',
      'FUSE_GETATTR_IN = struct fuse_getattr_in: getattr_flags fh',
      'FUSE_ATTR_OUT = struct fuse_attr_out: attr_valid attr_valid_nsec attr',
      `FUSE_SETATTR_IN = struct fuse_setattr_in: valid fh size lock_owner atime mtime ctime atimensec mtimensec
        ctimensec mode uid gid`,
      'FUSE_MKNOD_IN = struct fuse_mknod_in: mode rdev umask',
      'FUSE_MKDIR_IN = struct fuse_mkdir_in: *',
      'FUSE_RENAME_IN = struct fuse_rename_in: *',
      'FUSE_RENAME2_IN = struct fuse_rename2_in: newdir flags',
      'FUSE_LINK_IN = struct fuse_link_in: *',
      'FUSE_OPEN_IN = struct fuse_open_in: *',
      'FUSE_CREATE_IN = struct fuse_create_in: *',
      'FUSE_OPEN_OUT = struct fuse_open_out: fh open_flags',
      'FUSE_RELEASE_IN = struct fuse_release_in: *',
      'FUSE_FLUSH_IN = struct fuse_flush_in: fh lock_owner',
      'FUSE_READ_IN = struct fuse_read_in: fh offset size read_flags lock_owner flags',
      'FUSE_WRITE_IN = struct fuse_write_in: fh offset size write_flags lock_owner flags',
      'FUSE_WRITE_OUT = struct fuse_write_out: size=size',
      `FUSE_KSTATFS = struct fuse_kstatfs: blocks bfree bavail files ffree bsize namelen frsize`,
      'FUSE_FSYNC_IN = struct fuse_fsync_in: fh fsync_flags',
      'FUSE_GETXATTR_IN = struct fuse_getxattr_in: length=size',
      'FUSE_SETXATTR_IN = struct fuse_setxattr_in: length=size flags setxattr_flags',
      'FUSE_ACCESS_IN = struct fuse_access_in: mask',
      'FUSE_INTERRUPT_IN = struct fuse_interrupt_in: *',
      'FUSE_FORGET_IN = struct fuse_forget_in: *',
      'FUSE_FORGET_ONE = struct fuse_forget_one: *',
      'FUSE_BATCH_FORGET_IN = struct fuse_batch_forget_in: count',
      'FUSE_IOCTL_IN = struct fuse_ioctl_in: *',
      'FUSE_IOCTL_OUT = struct fuse_ioctl_out: *',
      'FUSE_FALLOCATE_IN = struct fuse_fallocate_in: fh offset length mode',
      'FUSE_LSEEK_IN = struct fuse_lseek_in: fh offset whence',
      'FUSE_LSEEK_OUT = struct fuse_lseek_out: *',
      'FUSE_COPY_FILE_RANGE_IN = struct fuse_copy_file_range_in: *',
      'FUSE_FILE_LOCK = struct fuse_file_lock: *',
      'FUSE_LK_IN = struct fuse_lk_in: *',
      'FUSE_LK_OUT = struct fuse_lk_out: *',
      'FUSE_POLL_IN = struct fuse_poll_in: *',
      'FUSE_POLL_OUT = struct fuse_poll_out: revents',
      'FUSE_NOTIFY_POLL_WAKEUP_OUT = struct fuse_notify_poll_wakeup_out: *',
      'FUSE_DIRENT = struct fuse_dirent: ino off namelen type name',
      'FUSE_NOTIFY_STORE_OUT = struct fuse_notify_store_out: nodeid offset size=size',
      'FUSE_NOTIFY_RETRIEVE_OUT = struct fuse_notify_retrieve_out: notify_unique nodeid offset size=size',
      'FUSE_NOTIFY_RETRIEVE_IN = struct fuse_notify_retrieve_in: offset size=size',
      'FUSE_NOTIFY_INVAL_INODE_OUT = struct fuse_notify_inval_inode_out: *',
      'FUSE_NOTIFY_INVAL_ENTRY_OUT = struct fuse_notify_inval_entry_out: parent namelen flags',
      'FUSE_NOTIFY_DELETE_OUT = struct fuse_notify_delete_out: parent child namelen',
    ],
  },
  {
    from: ['linux/seccomp.h', 'linux/fanotify.h', 'linux/fiemap.h'],
    declare: `
      struct k_mnt_id_req { __u32 size, spare; __u64 mnt_id, param, mnt_ns_id; };
      struct k_statmount { __u32 total, mnt_opts; __u64 mask; __u32 sb_dev_major, sb_dev_minor; __u64 sb_magic;
        __u32 sb_flags, fs_type; __u64 mnt_id, mnt_parent_id; __u32 mnt_id_old, mnt_parent_id_old; __u64 mnt_attr,
        mnt_propagation, mnt_peer_group, mnt_master, propagate_from; __u32 mnt_root, mnt_point; __u64 mnt_ns_id;
        __u64 spare2[49]; };
      struct k_mnt_ns_info { __u32 size, nr_mounts; __u64 mnt_ns_id; };
      struct k_lsm_ctx { __u64 id, flags, len, ctx_len; };
      struct k_landlock_ruleset { __u64 handled_access_fs, handled_access_net, scoped; };
      struct k_landlock_beneath { __u64 allowed_access; __s32 parent_fd; } __attribute__((packed));
      struct k_landlock_port { __u64 allowed_access, port; };`,
    structs: [
      'MNT_ID_REQ = struct k_mnt_id_req: *',
      'STATMOUNT = struct k_statmount: *',
      'MNT_NS_INFO = struct k_mnt_ns_info: *',
      'LSM_CTX = struct k_lsm_ctx: *',
      'LANDLOCK_RULESET_ATTR = struct k_landlock_ruleset: *',
      'LANDLOCK_PATH_BENEATH_ATTR = struct k_landlock_beneath: *',
      'LANDLOCK_NET_PORT_ATTR = struct k_landlock_port: *',
      'SECCOMP_NOTIF = struct seccomp_notif: id pid flags data',
      'SECCOMP_NOTIF_RESP = struct seccomp_notif_resp: id val error flags',
      'SECCOMP_NOTIF_ADDFD = struct seccomp_notif_addfd: id flags srcfd newfd newfd_flags',
      'FANOTIFY_EVENT_METADATA = struct fanotify_event_metadata: event_len vers reserved metadata_len mask fd pid',
      'FANOTIFY_EVENT_INFO_HEADER = struct fanotify_event_info_header: info_type pad len',
      'FANOTIFY_EVENT_INFO_FID = struct fanotify_event_info_fid: hdr fsid handle',
      'FANOTIFY_EVENT_INFO_PIDFD = struct fanotify_event_info_pidfd: hdr pidfd',
      'FANOTIFY_RESPONSE = struct fanotify_response: fd response',
      `FIEMAP = struct fiemap: fm_start fm_length fm_flags fm_mapped_extents fm_extent_count fm_reserved fm_extents`,
      'FIEMAP_EXTENT = struct fiemap_extent: fe_logical fe_physical fe_length fe_flags',
    ],
  },
  {
    from: ['linux/aio_abi.h', 'linux/io_uring.h'],
    declare: `
      struct k_aio_ring { unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length; };
      struct k_uring_wait { __u64 sigmask; __u32 sigmask_sz, min_wait_usec; __u64 ts; };
      struct k_buf_reg { __u64 ring_addr; __u32 ring_entries; __u16 bgid, flags; __u64 resv[3]; };
      struct k_sync_cancel { __u64 addr; int fd; __u32 flags; __s64 timeout[2]; __u8 opcode, pad[7]; __u64 pad2[3]; };
      struct k_clone_buffers { __u32 src_fd, flags, src_off, dst_off, nr, pad[3]; };
      struct k_buf_status { __u32 buf_group, head, resv[8]; };
      struct k_uring_clock { __u32 clockid, __resv[3]; };`,
    structs: [
      `IOCB = struct iocb: aio_data aio_key aio_rw_flags aio_lio_opcode aio_reqprio aio_fildes aio_buf aio_nbytes
        aio_offset aio_reserved2 aio_flags aio_resfd`,
      'IO_EVENT = struct io_event: data obj res res2',
      'AIO_RING = struct k_aio_ring: *',
      `IO_URING_SQE = struct io_uring_sqe: opcode flags ioprio fd off addr2 addr splice_off_in len rw_flags user_data
        buf_index buf_group personality splice_fd_in file_index addr_len addr3 __pad2`,
      'IO_URING_CQE = struct io_uring_cqe: user_data res flags',
      `IO_URING_PARAMS = struct io_uring_params: sq_entries cq_entries flags sq_thread_cpu sq_thread_idle features wq_fd
        resv sq_off cq_off`,
      `IO_SQRING_OFFSETS = struct io_sqring_offsets: head tail ring_mask ring_entries flags dropped array resv1 resv2`,
      `IO_CQRING_OFFSETS = struct io_cqring_offsets: head tail ring_mask ring_entries overflow cqes flags resv1 resv2`,
      'IO_URING_GETEVENTS_ARG = struct k_uring_wait: *',
      'IO_URING_BUF = struct io_uring_buf: addr len bid resv',
      'IO_URING_BUF_REG = struct k_buf_reg: *',
      'IO_URING_BUF_STATUS = struct k_buf_status: *',
      'IO_URING_CLONE_BUFFERS = struct k_clone_buffers: *',
      'IO_URING_FILES_UPDATE = struct io_uring_files_update: offset resv fds',
      'IO_URING_CLOCK_REGISTER = struct k_uring_clock: *',
      'IO_URING_RSRC_REGISTER = struct io_uring_rsrc_register: nr flags resv2 data tags',
      'IO_URING_RSRC_UPDATE = struct io_uring_rsrc_update2: offset resv data tags nr resv2',
      'IO_URING_PROBE = struct io_uring_probe: last_op ops_len',
      'IO_URING_PROBE_OP = struct io_uring_probe_op: op flags',
      'IO_URING_RESTRICTION = struct io_uring_restriction: opcode register_op',
      `IO_URING_SYNC_CANCEL = struct k_sync_cancel: addr fd flags timeout opcode`,
      'IO_URING_RECVMSG_OUT = struct io_uring_recvmsg_out: namelen controllen payloadlen flags',
      'IO_URING_FILE_RANGE = struct io_uring_file_index_range: off len',
    ],
  },
  {
    from: [
      'asm/stat.h',
      'linux/stat.h',
      'linux/time.h',
      'linux/resource.h',
      'linux/sysinfo.h',
      'linux/utsname.h',
      'linux/times.h',
      'linux/timex.h',
      'linux/uio.h',
      'linux/utime.h',
      'linux/openat2.h',
      'linux/mount.h',
    ],
    declare: `
      struct k_statfs { long f_type, f_bsize; unsigned long f_blocks, f_bfree, f_bavail, f_files, f_ffree;
        int f_fsid[2]; long f_namelen, f_frsize, f_flags, f_spare[4]; };
      struct k_statx { __u32 stx_mask, stx_blksize; __u64 stx_attributes; __u32 stx_nlink, stx_uid, stx_gid;
        __u16 stx_mode, __spare0[1]; __u64 stx_ino, stx_size, stx_blocks, stx_attributes_mask;
        struct statx_timestamp stx_atime, stx_btime, stx_ctime, stx_mtime;
        __u32 stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor; __u64 stx_mnt_id;
        __u32 stx_dio_mem_align, stx_dio_offset_align; __u64 stx_subvol;
        __u32 stx_atomic_write_unit_min, stx_atomic_write_unit_max, stx_atomic_write_segments_max,
        __spare1[1];
        __u64 __spare3[9]; };
      _Static_assert(sizeof(struct k_statx) == sizeof(struct statx), "statx");
      struct k_cachestat_range { __u64 off, len; };
      struct k_cachestat { __u64 nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted; };
      struct k_dirent64 { __u64 d_ino; __s64 d_off; unsigned short d_reclen; unsigned char d_type; char
      d_name[]; };
      struct k_flock { short l_type, l_whence; __s64 l_start, l_len; int l_pid; };
      struct k_f_owner_ex { int type, pid; };
      struct k_file_handle { __u32 handle_bytes; int handle_type; unsigned char f_handle[]; };`,
    structs: [
      `STAT = struct stat: st_dev st_ino st_nlink st_mode st_uid st_gid st_rdev st_size st_blksize
        st_blocks st_atime
        st_atime_nsec st_mtime st_mtime_nsec st_ctime st_ctime_nsec`,
      'STATX = struct k_statx: *',
      'STATX_TIMESTAMP = struct statx_timestamp: tv_sec tv_nsec',
      'STATFS = struct k_statfs: *',
      'TIMESPEC = struct timespec: tv_sec tv_nsec',
      'TIMEVAL = struct timeval: tv_sec tv_usec',
      'TIMEZONE = struct timezone: tz_minuteswest tz_dsttime',
      `ITIMERVAL = struct itimerval: it_interval it_value it_interval_sec=it_interval.tv_sec
        it_interval_usec=it_interval.tv_usec it_value_sec=it_value.tv_sec it_value_usec=it_value.tv_usec`,
      `ITIMERSPEC = struct itimerspec: it_interval it_value it_interval_sec=it_interval.tv_sec
        it_interval_nsec=it_interval.tv_nsec it_value_sec=it_value.tv_sec it_value_nsec=it_value.tv_nsec`,
      'RUSAGE = struct rusage: *',
      'RLIMIT = struct rlimit64: rlim_cur rlim_max',
      `SYSINFO = struct sysinfo: uptime loads totalram freeram sharedram bufferram totalswap freeswap
        procs totalhigh freehigh mem_unit`,
      'UTSNAME = struct new_utsname: sysname nodename release version machine domainname',
      'TMS = struct tms: tms_utime tms_stime tms_cutime tms_cstime',
      `TIMEX = struct timex: modes offset freq maxerror esterror status constant precision tolerance time
        time_sec=time.tv_sec time_usec=time.tv_usec tick ppsfreq jitter shift stabil jitcnt calcnt errcnt
          stbcnt tai`,
      'UTIMBUF = struct utimbuf: actime modtime',
      'IOVEC = struct iovec: iov_base iov_len',
      'OPEN_HOW = struct open_how: flags mode resolve',
      'MOUNT_ATTR = struct mount_attr: attr_set attr_clr propagation userns_fd',
      'DIRENT64 = struct k_dirent64: d_ino d_off d_reclen d_type d_name',
      'FLOCK = struct k_flock: *',
      'FLOCK64 = struct k_flock: *',
      'F_OWNER_EX = struct k_f_owner_ex: *',
      'FILE_HANDLE = struct k_file_handle: *',
      'CACHESTAT_RANGE = struct k_cachestat_range: *',
      'CACHESTAT = struct k_cachestat: *',
    ],
  },
  {
    from: [
      'linux/types.h',
      'linux/in.h',
      'linux/in6.h',
      'linux/un.h',
      'linux/tcp.h',
      'linux/if.h',
      'linux/poll.h',
      'linux/eventpoll.h',
      'linux/netlink.h',
      'linux/if_packet.h',
      'linux/ip.h',
      'linux/ipv6.h',
      'linux/udp.h',
      'linux/rtnetlink.h',
      'linux/errqueue.h',
      'linux/if_link.h',
      'linux/if_addr.h',
      'linux/if_arp.h',
      'linux/neighbour.h',
      'linux/fib_rules.h',
      'linux/genetlink.h',
      'linux/taskstats.h',
      'linux/sock_diag.h',
      'linux/inet_diag.h',
      'linux/unix_diag.h',
      'linux/route.h',
      'linux/ipv6_route.h',
      'linux/if_bridge.h',
      'linux/if_addrlabel.h',
      'linux/if_ether.h',
      ...TRAFFIC_HEADERS,
      'linux/nexthop.h',
      'linux/ethtool.h',
      'linux/filter.h',
      'linux/netfilter/xt_state.h',
      'linux/netfilter/xt_mark.h',
      'linux/netfilter/xt_limit.h',
      'linux/netfilter/xt_LOG.h',
      'linux/netfilter/xt_comment.h',
      'linux/netfilter/xt_length.h',
      'linux/netfilter/xt_pkttype.h',
      'linux/netfilter/xt_mac.h',
      'linux/netfilter/xt_cpu.h',
      'linux/netfilter/xt_helper.h',
      'linux/netfilter/xt_tcpmss.h',
      'linux/netfilter/xt_realm.h',
      'linux/netfilter/xt_cgroup.h',
      'linux/netfilter/xt_DSCP.h',
      'linux/netfilter/xt_CLASSIFY.h',
      'linux/netfilter/xt_TEE.h',
      'linux/netfilter/xt_TCPOPTSTRIP.h',
      ...FILTER_HEADERS,
    ],
    declare: `
      struct k_iovec { void *iov_base; unsigned long iov_len; };
      struct k_msghdr { void *msg_name; int msg_namelen; struct k_iovec *msg_iov; unsigned long msg_iovlen;
        void *msg_control; unsigned long msg_controllen; unsigned int msg_flags; };
      struct k_mmsghdr { struct k_msghdr msg_hdr; unsigned int msg_len; };
      struct k_cmsghdr { unsigned long cmsg_len; int cmsg_level, cmsg_type; unsigned char cmsg_data[]; };
      struct k_ucred { int pid, uid, gid; };
      struct k_linger { int l_onoff, l_linger; };
      struct k_sockaddr { unsigned short sa_family; char sa_data[14]; };
      struct k_tcp_info { __u8 tcpi_state, tcpi_ca_state, tcpi_retransmits, tcpi_probes, tcpi_backoff,
      tcpi_options,
        tcpi_wscales, tcpi_delivery_rate_flags;
        __u32 tcpi_rto, tcpi_ato, tcpi_snd_mss, tcpi_rcv_mss, tcpi_unacked, tcpi_sacked, tcpi_lost,
        tcpi_retrans,
        tcpi_fackets, tcpi_last_data_sent, tcpi_last_ack_sent, tcpi_last_data_recv, tcpi_last_ack_recv,
        tcpi_pmtu,
        tcpi_rcv_ssthresh, tcpi_rtt, tcpi_rttvar, tcpi_snd_ssthresh, tcpi_snd_cwnd, tcpi_advmss,
        tcpi_reordering,
        tcpi_rcv_rtt, tcpi_rcv_space, tcpi_total_retrans;
        __u64 tcpi_pacing_rate, tcpi_max_pacing_rate, tcpi_bytes_acked, tcpi_bytes_received;
        __u32 tcpi_segs_out, tcpi_segs_in, tcpi_notsent_bytes, tcpi_min_rtt, tcpi_data_segs_in,
        tcpi_data_segs_out;
        __u64 tcpi_delivery_rate, tcpi_busy_time, tcpi_rwnd_limited, tcpi_sndbuf_limited;
        __u32 tcpi_delivered, tcpi_delivered_ce; __u64 tcpi_bytes_sent, tcpi_bytes_retrans;
        __u32 tcpi_dsack_dups, tcpi_reord_seen, tcpi_rcv_ooopack, tcpi_snd_wnd, tcpi_rcv_wnd, tcpi_rehash;
        __u16 tcpi_total_rto, tcpi_total_rto_recoveries; __u32 tcpi_total_rto_time; };
      _Static_assert(__builtin_offsetof(struct k_tcp_info, tcpi_snd_wnd) ==
        __builtin_offsetof(struct tcp_info, tcpi_snd_wnd), "tcp_info");`,
    structs: [
      'SOCKADDR = struct k_sockaddr: *',
      'SOCKADDR_UN = struct sockaddr_un: sun_family sun_path',
      'SOCKADDR_IN = struct sockaddr_in: sin_family sin_port sin_addr sin_zero=__pad',
      'SOCKADDR_IN6 = struct sockaddr_in6: sin6_family sin6_port sin6_flowinfo sin6_addr sin6_scope_id',
      'SOCKADDR_NL = struct sockaddr_nl: nl_family nl_pad nl_pid nl_groups',
      'SOCKADDR_LL = struct sockaddr_ll: *',
      'IN_ADDR = struct in_addr: s_addr',
      'IN6_ADDR = struct in6_addr: s6_addr',
      'IP_MREQ = struct ip_mreq: imr_multiaddr imr_interface',
      'IP_MSFILTER_HEAD = struct ip_msfilter: imsf_multiaddr imsf_interface imsf_fmode imsf_numsrc imsf_slist_flex',
      'GROUP_FILTER = struct group_filter: gf_interface gf_group gf_fmode gf_numsrc gf_slist_flex',
      'IP_MREQN = struct ip_mreqn: imr_multiaddr imr_address imr_ifindex',
      'IPV6_MREQ = struct ipv6_mreq: ipv6mr_multiaddr ipv6mr_ifindex',
      'IN_PKTINFO = struct in_pktinfo: ipi_ifindex ipi_spec_dst ipi_addr',
      'IN6_PKTINFO = struct in6_pktinfo: ipi6_addr ipi6_ifindex',
      `SOCK_EXTENDED_ERR = struct sock_extended_err: ee_errno ee_origin ee_type ee_code ee_pad ee_info
        ee_data`,
      'MSGHDR = struct k_msghdr: *',
      'MMSGHDR = struct k_mmsghdr: msg_hdr msg_len',
      'CMSGHDR = struct k_cmsghdr: *',
      'UCRED = struct k_ucred: *',
      'LINGER = struct k_linger: *',
      'POLLFD = struct pollfd: fd events revents',
      'EPOLL_EVENT = struct epoll_event: events data',
      'TCP_INFO = struct k_tcp_info: *',
      `IFREQ = struct ifreq: ifr_name=ifr_ifrn.ifrn_name ifr_addr=ifr_ifru.ifru_addr
        ifr_flags=ifr_ifru.ifru_flags
        ifr_ifindex=ifr_ifru.ifru_ivalue ifr_mtu=ifr_ifru.ifru_mtu ifr_hwaddr=ifr_ifru.ifru_hwaddr
        ifr_data=ifr_ifru.ifru_data`,
      'IFCONF = struct ifconf: ifc_len ifc_buf=ifc_ifcu.ifcu_buf',
      'NLMSGHDR = struct nlmsghdr: *',
      'NLMSGERR = struct nlmsgerr: error msg',
      'NLATTR = struct nlattr: *',
      'RTATTR = struct rtattr: *',
      'RTGENMSG = struct rtgenmsg: *',
      'IFINFOMSG = struct ifinfomsg: *',
      'IFADDRMSG = struct ifaddrmsg: *',
      'RTMSG = struct rtmsg: *',
      'NDMSG = struct ndmsg: *',
      'NFGENMSG = struct nfgenmsg: *',
      'NF_NAT_IPV4_MULTI_RANGE = struct nf_nat_ipv4_multi_range_compat: rangesize range',
      'NF_NAT_IPV4_RANGE = struct nf_nat_ipv4_range: flags min_ip max_ip min max',
      'NF_NAT_RANGE = struct nf_nat_range: *',
      'NF_NAT_RANGE2 = struct nf_nat_range2: *',
      'NF_CT_TCP_FLAGS = struct nf_ct_tcp_flags: flags mask',
      `XT_CONNTRACK_MTINFO3 = struct xt_conntrack_mtinfo3: origsrc_addr origsrc_mask origdst_addr origdst_mask
        replsrc_addr replsrc_mask repldst_addr repldst_mask expires_min expires_max l4proto origsrc_port
        origdst_port replsrc_port repldst_port match_flags invert_flags state_mask status_mask
        origsrc_port_high origdst_port_high replsrc_port_high repldst_port_high`,
      'XT_STATE_INFO = struct xt_state_info: *',
      'XT_ADDRTYPE_INFO = struct xt_addrtype_info: *',
      'XT_ADDRTYPE_INFO_V1 = struct xt_addrtype_info_v1: *',
      'XT_MULTIPORT_V1 = struct xt_multiport_v1: *',
      'XT_OWNER_MATCH_INFO = struct xt_owner_match_info: *',
      'XT_TCP = struct xt_tcp: *',
      'XT_UDP = struct xt_udp: *',
      'XT_MARK_MTINFO1 = struct xt_mark_mtinfo1: *',
      'XT_MARK_TGINFO2 = struct xt_mark_tginfo2: *',
      'XT_CONNMARK_MTINFO1 = struct xt_connmark_mtinfo1: *',
      'XT_CONNMARK_TGINFO1 = struct xt_connmark_tginfo1: *',
      'XT_RATEINFO = struct xt_rateinfo: avg burst prev credit credit_cap cost master',
      'XT_LOG_INFO = struct xt_log_info: *',
      'XT_COMMENT_INFO = struct xt_comment_info: *',
      'XT_CT_TARGET_INFO_V1 = struct xt_ct_target_info_v1: flags zone ct_events exp_events helper timeout ct',
      'XT_TCPMSS_INFO = struct xt_tcpmss_info: *',
      'XT_IPRANGE_MTINFO = struct xt_iprange_mtinfo: src_min src_max dst_min dst_max flags',
      'XT_LENGTH_INFO = struct xt_length_info: *',
      'XT_PKTTYPE_INFO = struct xt_pkttype_info: *',
      `XT_STATISTIC_INFO = struct xt_statistic_info: mode flags probability=u.random.probability every=u.nth.every
        packet=u.nth.packet master`,
      'XT_MAC_INFO = struct xt_mac_info: srcaddr invert',
      'XT_NFLOG_INFO = struct xt_nflog_info: *',
      'XT_CONNLIMIT_INFO = struct xt_connlimit_info: mask limit flags data',
      'XT_RECENT_MTINFO = struct xt_recent_mtinfo: *',
      'XT_RECENT_MTINFO_V1 = struct xt_recent_mtinfo_v1: *',
      'XT_HASHLIMIT_MTINFO1 = struct xt_hashlimit_mtinfo1: *',
      'XT_HASHLIMIT_MTINFO2 = struct xt_hashlimit_mtinfo2: *',
      'XT_HASHLIMIT_MTINFO3 = struct xt_hashlimit_mtinfo3: *',
      'HASHLIMIT_CFG1 = struct hashlimit_cfg1: *',
      'HASHLIMIT_CFG2 = struct hashlimit_cfg2: *',
      'HASHLIMIT_CFG3 = struct hashlimit_cfg3: *',
      'XT_STRING_INFO = struct xt_string_info: from_offset to_offset algo pattern patlen flags=u.v1.flags config',
      'XT_SOCKET_MTINFO1 = struct xt_socket_mtinfo1: *',
      'XT_CONNBYTES_INFO = struct xt_connbytes_info: from=count.from to=count.to what direction',
      'XT_QUOTA_INFO = struct xt_quota_info: *',
      'XT_TIME_INFO = struct xt_time_info: *',
      'XT_U32 = struct xt_u32: *',
      'XT_U32_TEST = struct xt_u32_test: *',
      'XT_U32_LOCATION_ELEMENT = struct xt_u32_location_element: *',
      'XT_U32_VALUE_ELEMENT = struct xt_u32_value_element: *',
      'XT_CPU_INFO = struct xt_cpu_info: *',
      'XT_DEVGROUP_INFO = struct xt_devgroup_info: *',
      'XT_CONNLABEL_MTINFO = struct xt_connlabel_mtinfo: *',
      'XT_HELPER_INFO = struct xt_helper_info: *',
      'XT_TCPMSS_MATCH_INFO = struct xt_tcpmss_match_info: *',
      'XT_PHYSDEV_INFO = struct xt_physdev_info: *',
      'XT_POLICY_INFO = struct xt_policy_info: *',
      'XT_REALM_INFO = struct xt_realm_info: *',
      'XT_RPFILTER_INFO = struct xt_rpfilter_info: *',
      'XT_ESP = struct xt_esp: *',
      'XT_SCTP_INFO = struct xt_sctp_info: *',
      'XT_ECN_INFO = struct xt_ecn_info: operation invert ip_ect ect=proto.tcp.ect',
      'XT_DSCP_INFO = struct xt_dscp_info: *',
      'XT_TOS_MATCH_INFO = struct xt_tos_match_info: *',
      'XT_TOS_TARGET_INFO = struct xt_tos_target_info: *',
      'XT_DSCP_TARGET_INFO = struct xt_DSCP_info: *',
      'XT_CLASSIFY_TARGET_INFO = struct xt_classify_target_info: *',
      'XT_CHECKSUM_INFO = struct xt_CHECKSUM_info: *',
      'XT_NFQ_INFO_V3 = struct xt_NFQ_info_v3: *',
      'XT_TEE_TGINFO = struct xt_tee_tginfo: *',
      'XT_CONNMARK_TGINFO2 = struct xt_connmark_tginfo2: *',
      'XT_TCPOPTSTRIP_TARGET_INFO = struct xt_tcpoptstrip_target_info: *',
      'XT_TPROXY_TARGET_INFO = struct xt_tproxy_target_info: *',
      'XT_TPROXY_TARGET_INFO_V1 = struct xt_tproxy_target_info_v1: *',
      'XT_SET_INFO = struct xt_set_info: *',
      'XT_SET_INFO_MATCH_V1 = struct xt_set_info_match_v1: *',
      'XT_SET_INFO_MATCH_V3 = struct xt_set_info_match_v3: *',
      'XT_SET_INFO_MATCH_V4 = struct xt_set_info_match_v4: *',
      'XT_SET_INFO_TARGET_V1 = struct xt_set_info_target_v1: *',
      'XT_SET_INFO_TARGET_V2 = struct xt_set_info_target_v2: *',
      'XT_SET_INFO_TARGET_V3 = struct xt_set_info_target_v3: *',
      'IP_SET_COUNTER_MATCH = struct ip_set_counter_match: *',
      'IP_SET_COUNTER_MATCH0 = struct ip_set_counter_match0: *',
      'IP_SET_REQ_GET_SET = struct ip_set_req_get_set: op version set',
      'IP_SET_REQ_GET_SET_FAMILY = struct ip_set_req_get_set_family: op version family set',
      'IP_SET_REQ_VERSION = struct ip_set_req_version: *',
      'IPT_TTL_INFO = struct ipt_TTL_info: *',
      'IPT_AH = struct ipt_ah: *',
      'IP6T_AH = struct ip6t_ah: *',
      'IP6T_FRAG = struct ip6t_frag: *',
      'IP6T_IPV6HEADER_INFO = struct ip6t_ipv6header_info: *',
      'IP6T_OPTS = struct ip6t_opts: *',
      'IP6T_RT = struct ip6t_rt: *',
      'IPT_ECN_INFO = struct ipt_ECN_info: operation ip_ect proto',
      'XT_CGROUP_INFO_V0 = struct xt_cgroup_info_v0: *',
      'XT_CGROUP_INFO_V1 = struct xt_cgroup_info_v1: *',
      'XT_CGROUP_INFO_V2 = struct xt_cgroup_info_v2: *',
      'XT_BPF_INFO = struct xt_bpf_info: *',
      'XT_BPF_INFO_V1 = struct xt_bpf_info_v1: mode bpf_program_num_elem fd bpf_program path filter',
      'XT_DCCP_INFO = struct xt_dccp_info: *',
      'XT_SCTP_FLAG_INFO = struct xt_sctp_flag_info: *',
      'XT_COUNTERS = struct xt_counters: *',
      'XT_COUNTERS_INFO = struct xt_counters_info: name num_counters',
      'XT_GET_REVISION = struct xt_get_revision: *',
      // What stands before the data of a match or a target.
      'XT_ENTRY_MATCH = struct xt_entry_match: match_size=u.user.match_size name=u.user.name revision=u.user.revision',
      'XT_STANDARD_TARGET = struct xt_standard_target: verdict',
      'XT_ERROR_TARGET = struct xt_error_target: errorname',
      'IPT_ENTRY = struct ipt_entry: ip nfcache target_offset next_offset comefrom counters',
      'IPT_IP = struct ipt_ip: *',
      'IP6T_ENTRY = struct ip6t_entry: ipv6 nfcache target_offset next_offset comefrom counters',
      'IP6T_IP6 = struct ip6t_ip6: *',
      // ip6_tables has the same ones.
      `IPT_REPLACE = struct ipt_replace: name valid_hooks num_entries entries_size=size hook_entry underflow num_counters
        counters`,
      'IPT_GETINFO = struct ipt_getinfo: name valid_hooks hook_entry underflow num_entries entries_size=size',
      'IPT_GET_ENTRIES = struct ipt_get_entries: name entries_size=size entrytable',
      'NFULNL_MSG_PACKET_HDR = struct nfulnl_msg_packet_hdr: *',
      'NFULNL_MSG_PACKET_HW = struct nfulnl_msg_packet_hw: *',
      'NFULNL_MSG_PACKET_TIMESTAMP = struct nfulnl_msg_packet_timestamp: *',
      'NFULNL_MSG_CONFIG_CMD = struct nfulnl_msg_config_cmd: *',
      'NFQNL_MSG_PACKET_HDR = struct nfqnl_msg_packet_hdr: *',
      'NFQNL_MSG_PACKET_HW = struct nfqnl_msg_packet_hw: *',
      'NFQNL_MSG_PACKET_TIMESTAMP = struct nfqnl_msg_packet_timestamp: *',
      'NFQNL_MSG_VERDICT_HDR = struct nfqnl_msg_verdict_hdr: *',
      'NFQNL_MSG_CONFIG_CMD = struct nfqnl_msg_config_cmd: command pf',
      'NFQNL_MSG_CONFIG_PARAMS = struct nfqnl_msg_config_params: *',
      'NFULNL_MSG_CONFIG_MODE = struct nfulnl_msg_config_mode: *',
      'IPT_ICMP = struct ipt_icmp: type code invflags',
      'IP6T_ICMP = struct ip6t_icmp: type code invflags',
      'IPT_REJECT_INFO = struct ipt_reject_info: with',
      'IP6T_REJECT_INFO = struct ip6t_reject_info: with',
      'NDA_CACHEINFO = struct nda_cacheinfo: *',
      'IFA_CACHEINFO = struct ifa_cacheinfo: *',
      'RTA_CACHEINFO = struct rta_cacheinfo: *',
      'RTNEXTHOP = struct rtnexthop: *',
      'RTNL_LINK_STATS = struct rtnl_link_stats: *',
      'RTNL_LINK_STATS64 = struct rtnl_link_stats64: *',
      'RTNL_LINK_IFMAP = struct rtnl_link_ifmap: mem_start mem_end base_addr irq dma port',
      'FIB_RULE_HDR = struct fib_rule_hdr: *',
      'TCMSG = struct tcmsg: tcm_family tcm_ifindex tcm_handle tcm_parent tcm_info',
      'TC_STATS = struct tc_stats: *',
      'GNET_STATS_BASIC = struct gnet_stats_basic: *',
      'GNET_STATS_QUEUE = struct gnet_stats_queue: *',
      'TC_RATESPEC = struct tc_ratespec: cell_log linklayer overhead cell_align mpu rate',
      'TC_FIFO_QOPT = struct tc_fifo_qopt: *',
      'TC_PRIO_QOPT = struct tc_prio_qopt: *',
      'TC_TBF_QOPT = struct tc_tbf_qopt: rate peakrate limit buffer mtu',
      'TC_HTB_OPT = struct tc_htb_opt: rate ceil buffer cbuffer quantum level prio',
      'TC_HTB_GLOB = struct tc_htb_glob: *',
      'TC_HTB_XSTATS = struct tc_htb_xstats: *',
      'TC_NETEM_QOPT = struct tc_netem_qopt: *',
      'TC_NETEM_CORR = struct tc_netem_corr: *',
      'TC_NETEM_REORDER = struct tc_netem_reorder: *',
      'TC_NETEM_CORRUPT = struct tc_netem_corrupt: *',
      'TC_NETEM_RATE = struct tc_netem_rate: *',
      'TC_U32_SEL = struct tc_u32_sel: flags offshift nkeys offmask off offoff hoff hmask',
      'TC_U32_KEY = struct tc_u32_key: *',
      'TC_U32_MARK = struct tc_u32_mark: *',
      'TC_GACT = struct tc_gact: *',
      'TC_MIRRED = struct tc_mirred: *',
      'TC_SKBEDIT = struct tc_skbedit: *',
      'TC_POLICE = struct tc_police: index action limit burst mtu rate peakrate refcnt bindcnt capab',
      'TCF_T = struct tcf_t: *',
      'NHMSG = struct nhmsg: *',
      'NEXTHOP_GRP = struct nexthop_grp: id weight',
      'ETHTOOL_DRVINFO = struct ethtool_drvinfo: *',
      'ETHTOOL_CMD = struct ethtool_cmd: *',
      `ETHTOOL_LINK_SETTINGS = struct ethtool_link_settings: cmd speed duplex port phy_address autoneg
        mdio_support eth_tp_mdix eth_tp_mdix_ctrl link_mode_masks_nwords transceiver master_slave_cfg
        master_slave_state`,
      'ETHTOOL_TS_INFO = struct ethtool_ts_info: cmd so_timestamping phc_index tx_types rx_filters',
      'ETHTOOL_SSET_INFO = struct ethtool_sset_info: cmd reserved sset_mask',
      'ETHTOOL_GSTRINGS = struct ethtool_gstrings: cmd string_set len',
      'ETHTOOL_STATS = struct ethtool_stats: cmd n_stats',
      'ETHTOOL_GFEATURES = struct ethtool_gfeatures: cmd size',
      'ETHTOOL_CHANNELS = struct ethtool_channels: *',
      'IFLA_BRIDGE_ID = struct ifla_bridge_id: *',
      'BRIDGE_VLAN_INFO = struct bridge_vlan_info: *',
      'BR_BOOLOPT_MULTI = struct br_boolopt_multi: *',
      'IFLA_VLAN_FLAGS = struct ifla_vlan_flags: *',
      'IFLA_VLAN_QOS_MAPPING = struct ifla_vlan_qos_mapping: *',
      'IFADDRLBLMSG = struct ifaddrlblmsg: *',
      'IN6_RTMSG = struct in6_rtmsg: *',
      'IN6_IFREQ = struct in6_ifreq: *',
      'GENLMSGHDR = struct genlmsghdr: *',
      'TASKSTATS = struct taskstats: *',
      `INET_DIAG_REQ_V2 = struct inet_diag_req_v2: sdiag_family sdiag_protocol idiag_ext pad idiag_states id`,
      `INET_DIAG_SOCKID = struct inet_diag_sockid: idiag_sport idiag_dport idiag_src idiag_dst idiag_if
        idiag_cookie`,
      `INET_DIAG_MSG = struct inet_diag_msg: idiag_family idiag_state idiag_timer idiag_retrans id idiag_expires
        idiag_rqueue idiag_wqueue idiag_uid idiag_inode`,
      'INET_DIAG_MEMINFO = struct inet_diag_meminfo: *',
      'INET_DIAG_BC_OP = struct inet_diag_bc_op: code yes no',
      'INET_DIAG_HOSTCOND = struct inet_diag_hostcond: family prefix_len port addr',
      'UNIX_DIAG_REQ = struct unix_diag_req: *',
      'UNIX_DIAG_MSG = struct unix_diag_msg: *',
      'UNIX_DIAG_RQLEN = struct unix_diag_rqlen: *',
      'ARPREQ = struct arpreq: *',
      'RTENTRY = struct rtentry: rt_dst rt_gateway rt_genmask rt_flags rt_metric rt_dev rt_mtu rt_window rt_irtt',
      'PACKET_MREQ = struct packet_mreq: *',
      'TPACKET_STATS = struct tpacket_stats: *',
      'TPACKET_REQ = struct tpacket_req: *',
      'TPACKET_HDR = struct tpacket_hdr: *',
      'TPACKET2_HDR = struct tpacket2_hdr: tp_status tp_len tp_snaplen tp_mac tp_net tp_sec tp_nsec tp_vlan_tci tp_vlan_tpid',
      'TPACKET_AUXDATA = struct tpacket_auxdata: *',
      'TPACKET_REQ3 = struct tpacket_req3: *',
      'TPACKET3_HDR = struct tpacket3_hdr: tp_next_offset tp_sec tp_nsec tp_snaplen tp_len tp_status tp_mac tp_net',
      'TPACKET_BLOCK_DESC = struct tpacket_block_desc: version offset_to_priv hdr',
      'TPACKET_HDR_V1 = struct tpacket_hdr_v1: block_status num_pkts offset_to_first_pkt blk_len seq_num ts_first_pkt ts_last_pkt',
      'TPACKET_STATS_V3 = struct tpacket_stats_v3: *',
      'FANOUT_ARGS = struct fanout_args: *',
    ],
  },
  {
    from: [
      'linux/types.h',
      'asm/signal.h',
      'asm/siginfo.h',
      'asm/sigcontext.h',
      'asm/ucontext.h',
      'linux/signalfd.h',
    ],
    declare: 'struct k_rt_sigframe { char *pretcode; struct ucontext uc; struct siginfo info; };',
    structs: [
      `SIGINFO = siginfo_t: si_signo si_errno si_code si_pid si_uid si_status si_utime si_stime si_value
        si_int si_ptr
        si_timerid=si_tid si_tid si_overrun si_addr si_trapno si_addr_lsb si_lower si_upper si_pkey
        si_perf_data si_perf_type
        si_perf_flags si_band si_fd si_call_addr si_syscall si_arch`,
      'SIGACTION = struct sigaction: handler=sa_handler flags=sa_flags restorer=sa_restorer mask=sa_mask',
      'STACK_T = stack_t: ss_sp ss_flags ss_size',
      `SIGEVENT = struct sigevent: sigev_value sigev_signo sigev_notify sigev_notify_thread_id=_sigev_un._tid
        sigev_notify_function=_sigev_un._sigev_thread._function
        sigev_notify_attributes=_sigev_un._sigev_thread._attribute`,
      'SIGNALFD_SIGINFO = struct signalfd_siginfo: *',
      `UCONTEXT = struct ucontext: uc_flags uc_link uc_stack uc_stack_sp=uc_stack.ss_sp
        uc_stack_flags=uc_stack.ss_flags
        uc_stack_size=uc_stack.ss_size uc_mcontext ${MCONTEXT_PATHS} csgsfsss=uc_mcontext.cs uc_sigmask`,
      `SIGCONTEXT = struct sigcontext: ${SIGCONTEXT_REGS} csgsfsss=cs`,
      'RT_SIGFRAME = struct k_rt_sigframe: pretcode uc info',
      'FPSTATE = struct _fpstate_64: cwd swd twd fop rip rdp mxcsr mxcsr_mask st_space xmm_space sw_reserved',
      'FPX_SW_BYTES = struct _fpx_sw_bytes: magic1 extended_size xfeatures xstate_size',
      'XSTATE_HEADER = struct _header: xfeatures',
    ],
  },
  {
    from: ['linux/types.h', 'linux/perf_event.h'],
    structs: [
      `PERF_EVENT_ATTR = struct perf_event_attr: type attr_size=size config sample_period sample_type read_format
        wakeup_events`,
    ],
  },
  {
    from: ['linux/types.h', 'linux/userfaultfd.h'],
    structs: [
      'UFFD_MSG = struct uffd_msg: event flags=arg.pagefault.flags address=arg.pagefault.address ptid=arg.pagefault.feat.ptid ufd=arg.fork.ufd from=arg.remap.from to=arg.remap.to len=arg.remap.len start=arg.remove.start end=arg.remove.end',
      'UFFDIO_API_ARG = struct uffdio_api: *',
      'UFFDIO_RANGE = struct uffdio_range: *',
      'UFFDIO_REGISTER_ARG = struct uffdio_register: start=range.start len=range.len mode ioctls',
      'UFFDIO_COPY_ARG = struct uffdio_copy: *',
      'UFFDIO_ZEROPAGE_ARG = struct uffdio_zeropage: start=range.start len=range.len mode zeropage',
      'UFFDIO_WRITEPROTECT_ARG = struct uffdio_writeprotect: start=range.start len=range.len mode',
    ],
  },
  {
    from: ['linux/types.h', 'asm/termbits.h', 'asm/termios.h', 'linux/inotify.h'],
    structs: [
      'TERMIOS = struct termios: *',
      'TERMIOS2 = struct termios2: *',
      'WINSIZE = struct winsize: ws_row ws_col ws_xpixel ws_ypixel',
      'INOTIFY_EVENT = struct inotify_event: wd mask cookie len name',
    ],
  },
  {
    from: [
      'linux/types.h',
      'linux/sched.h',
      'linux/sched/types.h',
      'linux/capability.h',
      'linux/futex.h',
      'linux/seccomp.h',
      'linux/filter.h',
      'linux/prctl.h',
      'linux/elf.h',
      'linux/mqueue.h',
      'linux/msg.h',
      'linux/sem.h',
      'linux/shm.h',
      'linux/kcmp.h',
      'linux/ptrace.h',
      'asm/ptrace.h',
      'linux/fs.h',
    ],
    declare: `
      struct k_sched_param { int sched_priority; };
      struct k_ptrace_sud_config { __u64 mode, selector, offset, len; };
      struct k_rseq { __u32 cpu_id_start, cpu_id; __u64 rseq_cs; __u32 flags, node_id, mm_cid; char end[4]; };
      struct k_rseq_cs { __u32 version, flags; __u64 start_ip, post_commit_offset, abort_ip; };
      struct k_futex_waitv { __u64 val, uaddr; __u32 flags, __reserved; };
      struct k_user_regs { unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx,
      rsi, rdi, orig_rax,
        rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs; };
      struct k_user { struct k_user_regs regs; int u_fpvalid; char i387[512] __attribute__((aligned(8)));
        unsigned long u_tsize, u_dsize, u_ssize, start_code, start_stack; long signal; int reserved;
        void *u_ar0, *u_fpstate; unsigned long magic; char u_comm[32]; unsigned long u_debugreg[8], error_code, fault_address; };
      struct k_timeval { long tv_sec, tv_usec; };
      struct k_prstatus { int si_signo, si_code, si_errno; short pr_cursig; unsigned long pr_sigpend, pr_sighold;
        int pr_pid, pr_ppid, pr_pgrp, pr_sid; struct k_timeval pr_utime, pr_stime, pr_cutime, pr_cstime;
        struct k_user_regs pr_reg; int pr_fpvalid; };
      struct k_prpsinfo { char pr_state, pr_sname, pr_zomb, pr_nice; unsigned long pr_flag; unsigned pr_uid, pr_gid;
        int pr_pid, pr_ppid, pr_pgrp, pr_sid; char pr_fname[16], pr_psargs[80]; };`,
    structs: [
      'CLONE_ARGS = struct clone_args: *',
      'SCHED_ATTR = struct sched_attr: *',
      'SCHED_PARAM = struct k_sched_param: *',
      'USER_CAP_HEADER = struct __user_cap_header_struct: version pid',
      'USER_CAP_DATA = struct __user_cap_data_struct: effective permitted inheritable',
      'ROBUST_LIST_HEAD = struct robust_list_head: list futex_offset list_op_pending',
      'FUTEX_WAITV = struct k_futex_waitv: *',
      'RSEQ = struct k_rseq: cpu_id_start cpu_id rseq_cs flags node_id mm_cid',
      'RSEQ_CS = struct k_rseq_cs: *',
      'SECCOMP_DATA = struct seccomp_data: *',
      'SECCOMP_NOTIF_SIZES = struct seccomp_notif_sizes: *',
      'SOCK_FILTER = struct sock_filter: *',
      'SOCK_FPROG = struct sock_fprog: len filter',
      'PRCTL_MM_MAP = struct prctl_mm_map: *',
      `ELF64_EHDR = Elf64_Ehdr: e_ident e_type e_machine e_version e_entry e_phoff e_shoff e_flags
        e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx`,
      'ELF64_PHDR = Elf64_Phdr: p_type p_flags p_offset p_vaddr p_paddr p_filesz p_memsz p_align',
      `ELF64_SHDR = Elf64_Shdr: sh_name sh_type sh_flags sh_addr sh_offset sh_size sh_link sh_info
        sh_addralign sh_entsize`,
      'ELF64_SYM = Elf64_Sym: st_name st_info st_other st_shndx st_value st_size',
      'ELF64_DYN = Elf64_Dyn: d_tag d_val=d_un.d_val d_ptr=d_un.d_ptr',
      'ELF64_RELA = Elf64_Rela: r_offset r_info r_addend',
      'MQ_ATTR = struct mq_attr: mq_flags mq_maxmsg mq_msgsize mq_curmsgs',
      `IPC64_PERM = struct ipc64_perm: key uid gid cuid cgid mode seq`,
      `MSQID_DS = struct msqid64_ds: msg_perm msg_stime msg_rtime msg_ctime msg_cbytes msg_qnum msg_qbytes
        msg_lspid
        msg_lrpid`,
      'SEMID_DS = struct semid64_ds: sem_perm sem_otime sem_ctime sem_nsems',
      `SHMID_DS = struct shmid64_ds: shm_perm shm_segsz shm_atime shm_dtime shm_ctime shm_cpid shm_lpid
        shm_nattch`,
      'SHMINFO = struct shminfo64: shmmax shmmin shmmni shmseg shmall',
      'SHM_INFO = struct shm_info: used_ids shm_tot shm_rss shm_swp swap_attempts swap_successes',
      'SEMINFO = struct seminfo: semmap semmni semmns semmnu semmsl semopm semume semusz semvmx semaem',
      'MSGINFO = struct msginfo: msgpool msgmap msgmax msgmnb msgmni msgssz msgtql msgseg',
      'SEMBUF = struct sembuf: sem_num sem_op sem_flg',
      'MSGBUF = struct msgbuf: mtype mtext',
      'USER_REGS = struct k_user_regs: *',
      'USER = struct k_user: regs u_debugreg error_code',
      `PTRACE_SYSCALL_INFO = struct ptrace_syscall_info: op arch instruction_pointer stack_pointer nr=entry.nr
        args=entry.args rval=exit.rval is_error=exit.is_error ret_data=seccomp.ret_data`,
      'KCMP_EPOLL_SLOT = struct kcmp_epoll_slot: *',
      'PTRACE_PEEKSIGINFO_ARGS = struct ptrace_peeksiginfo_args: off flags nr',
      'PTRACE_RSEQ_CONFIGURATION = struct ptrace_rseq_configuration: *',
      'PTRACE_SUD_CONFIG = struct k_ptrace_sud_config: *',
      'SECCOMP_METADATA = struct seccomp_metadata: filter_off flags',
      'PRSTATUS = struct k_prstatus: *',
      'PRPSINFO = struct k_prpsinfo: *',
      'FSXATTR = struct fsxattr: fsx_xflags fsx_extsize fsx_nextents fsx_projid fsx_cowextsize',
      'FILE_CLONE_RANGE = struct file_clone_range: *',
    ],
  },
]

// ---- C side --------------------------------------------------------------------------------------------

let scratch = ''
let unitCount = 0
let verbose = false
let protocolHeader = join(ROOT, 'native/protocol.h')

/** Runs cc; stdout of the compiler, or its messages if it failed. */
function cc(args: string[], input: string): { ok: boolean; out: string; err: string } {
  const run = spawnSync('cc', ['-D_GNU_SOURCE', '-w', ...args], {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (run.error) throw run.error
  return { ok: run.status === 0, out: run.stdout, err: run.stderr }
}

function preprocess(source: string, ...flags: string[]): string {
  const run = cc(['-E', ...flags, '-x', 'c', '-'], source)
  if (!run.ok) throw new Error(`cc -E failed:\n${run.err}`)
  return run.out
}

function runProgram(source: string): string[] {
  const path = join(scratch, `unit${unitCount++}`)
  const built = cc(['-x', 'c', '-', '-o', path], source)
  if (!built.ok) throw new Error(`cc failed:\n${built.err}`)
  return execFileSync(path, { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .filter(line => line !== '')
}

/** The headers, after those which ioctl numbers need to be computable. */
const includes = (headers: string[]) =>
  ['stddef.h', 'linux/types.h', 'linux/ioctl.h', ...headers].map(h => `#include <${h}>\n`).join('')

function pairs(list: string | undefined): [string, string][] {
  const entries = (list ?? '')
    .split(',')
    .map(entry => entry.trim())
    .filter(entry => entry !== '')
  return entries.map(entry => [entry.split(/\s+/)[0]!, entry.slice(entry.indexOf(' ') + 1)])
}

const macroNames = (text: string) => [...text.matchAll(/^#define ([A-Za-z_]\w*)(?: |$)/gm)].map(m => m[1]!)

function enumeratorNames(text: string): string[] {
  const bodies = [...text.matchAll(/\benum\b[^{};()]*\{([^}]*)\}/g)].map(m => m[1]!)
  return bodies.flatMap(body => [...body.matchAll(/(?:^|,)\s*([A-Za-z_]\w*)\s*(?=[=,]|$)/g)].map(m => m[1]!))
}

/** The values of those candidates which are integer constants after `prologue`; the others are left out. */
function integerValues(prologue: string, candidates: string[]): Values {
  let names = candidates
  for (let round = 0; names.length > 0; round++) {
    const firstLine = prologue.split('\n').length + 1
    const rows = names.map(name => `{ "${name}", (unsigned long long)~~(${name}), (${name}) < 0 },`)
    const source =
      `${prologue}\nstatic const struct { const char *n; unsigned long long v; int s; } table_[] = {\n` +
      `${rows.join('\n')}\n};\nint printf(const char *, ...);\nint main(void) {\n` +
      'for (unsigned i = 0; i < sizeof table_ / sizeof *table_; i++)\n' +
      'printf(table_[i].s ? "%s %lld\\n" : "%s %llu\\n", table_[i].n, table_[i].v);\nreturn 0; }\n'
    const path = join(scratch, `unit${unitCount++}`)
    const built = cc(['-ftrack-macro-expansion=0', '-fmax-errors=0', '-x', 'c', '-', '-o', path], source)
    if (built.ok) {
      const lines = execFileSync(path, { encoding: 'utf8' }).trim().split('\n')
      return new Map(lines.map(line => line.split(' ')).map(([name, value]) => [name!, BigInt(value!)]))
    }
    const refused = new Set(
      [...built.err.matchAll(/^<stdin>:(\d+):(?:\d+:)? error/gm)].map(m => Number(m[1]) - firstLine - 1),
    )
    const kept = names.filter((_, index) => !refused.has(index))
    if (kept.length === names.length || round > 20)
      throw new Error(`cannot separate the bad names:\n${built.err}`)
    if (verbose) console.error('not integers:', names.filter((_, index) => refused.has(index)).join(' '))
    names = kept
  }
  return new Map()
}

function familyValues(family: Family): Values {
  const head = includes(family.from ?? [])
  const extra = pairs(family.extra)
  const set = pairs(family.set)
  const names = new Set([...extra, ...set].map(([name]) => name))
  if (family.names !== undefined) {
    const predefined = new Set(macroNames(preprocess('', '-dM')))
    const found = [...macroNames(preprocess(head, '-dM')), ...enumeratorNames(preprocess(head, '-P'))]
    for (const name of found) {
      if (!predefined.has(name) && family.names.some(pattern => pattern.test(name))) names.add(name)
    }
  }
  const prologue =
    head +
    extra.map(([name, value]) => `#ifndef ${name}\n#define ${name} ${value}\n#endif\n`).join('') +
    set.map(([name, value]) => `#undef ${name}\n#define ${name} ${value}\n`).join('')
  return integerValues(prologue, [...names].filter(name => !/_(H|H_|MAX_H)$/.test(name)).sort())
}

/** Field names of a struct's body: no bit fields, anonymous members flattened. */
function fieldsOf(body: string): string[] {
  const flat = body
    .replace(/__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)/g, '')
    .replace(/\b(?:_Alignas|alignas)\s*\([^()]*\)/g, '')
    .replace(/\b(?:struct|union)\s*\w*\s*\{/g, '')
    .replace(/\}\s*(?=;)/g, '')
  const fields: string[] = []
  for (const declaration of flat.split(';')) {
    for (const part of declaration.replace(/\[[^\]]*\]/g, '').split(',')) {
      if (part.includes(':')) continue
      const name = /([A-Za-z_]\w*)\s*$/.exec(part)?.[1]
      if (name !== undefined && !/^__(pad|spare|reserved|res\d)/.test(name)) fields.push(name)
    }
  }
  return fields
}

/** The text between the braces of `struct tag {`. */
function structBody(text: string, tag: string): string {
  const start = new RegExp(`\\bstruct\\s+${tag}\\s*\\{`).exec(text)
  if (start === null) throw new Error(`struct ${tag} is declared nowhere`)
  let depth = 1
  let at = start.index + start[0].length
  const from = at
  for (; depth > 0; at++) {
    if (text[at] === '{') depth++
    if (text[at] === '}') depth--
  }
  return text.slice(from, at - 1)
}

interface Struct {
  name: string
  type: string
  fields: [name: string, path: string][]
}

function offsetsOf(prologue: string, structs: Struct[]): Map<string, [string, number][]> {
  const prints = structs.flatMap(({ name, type, fields }) => [
    `printf("${name} size %zu\\n", sizeof(${type}));`,
    ...fields.map(
      ([field, path]) => `printf("${name} ${field} %zu\\n", __builtin_offsetof(${type}, ${path}));`,
    ),
  ])
  const lines = runProgram(
    `${prologue}\nint printf(const char *, ...);\nint main(void) {\n${prints.join('\n')}\nreturn 0; }\n`,
  )
  const result = new Map<string, [string, number][]>()
  for (const line of lines) {
    const [name, field, value] = line.split(' ') as [string, string, string]
    const entries = result.get(name) ?? []
    entries.push([field, Number(value)])
    result.set(name, entries)
  }
  return result
}

// ---- the files -----------------------------------------------------------------------------------------

function head(source: string, about: string): string {
  return `// Generated by scripts/generate-abi.ts from ${source}; do not edit.\n// ${about}\n\n`
}

function literal(value: bigint, octal = false): string {
  if (value === -(1n << 31n)) return '0x80000000'
  if (value < 0n) return `${value}`
  const suffix = BigInt(Number(value)) === value && Number.isFinite(Number(value)) ? '' : 'n'
  if (octal) return `0o${value.toString(8)}${suffix}`
  return value > 255n ? `0x${value.toString(16)}${suffix}` : `${value}`
}

const byValue = ([a, x]: [string, bigint], [b, y]: [string, bigint]) =>
  x < y ? -1 : x > y ? 1 : a < b ? -1 : 1

function errnoFile(): string {
  const prologue =
    includes(['linux/errno.h']) +
    pairs(ERRNO_INTERNAL)
      .map(([name, value]) => `#ifndef ${name}\n#define ${name} ${value}\n#endif\n`)
      .join('')
  const names = macroNames(preprocess(prologue, '-dM')).filter(name => /^E[A-Z0-9_]+$/.test(name))
  const aliases = new Set(['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'])
  const values = [...integerValues(prologue, names.sort())].sort(byValue)
  const consts = values.map(([name, value]) => `export const ${name} = ${value}\n`).join('')
  const table = values
    .filter(([name]) => !aliases.has(name))
    .map(([name, value]) => `  ${value}: '${name}',\n`)
    .join('')
  return (
    head(
      'linux/errno.h',
      'Error numbers, the kernel-internal ones (512 and up, never seen by a guest) included.',
    ) +
    `${consts}\nconst NAMES: Readonly<Record<number, string>> = {\n${table}}\n\n` +
    `/** 'ENOENT' for 2; 'ERRNO_n' for a number without a name. */\n` +
    'export function errnoName(positive: number): string {\n' +
    '  return NAMES[positive] ?? `ERRNO_$' +
    '{positive}`\n}\n'
  )
}

function constantsFile(): string {
  const seen = new Map<string, bigint>()
  let text = head("the kernel's UAPI headers and glibc", 'Linux constants, x86-64, one block a family.')
  for (const family of FAMILIES) {
    const rank = (name: string) => (family.names ?? []).findIndex(pattern => pattern.test(name)) >>> 0
    const rows = [...familyValues(family)].filter(([name, value]) => {
      const before = seen.get(name)
      if (before !== undefined && before !== value) {
        throw new Error(`${name} is ${before} and, in '${family.about}', ${value}`)
      }
      seen.set(name, value)
      return before === undefined
    })
    rows.sort((a, b) => rank(a[0]) - rank(b[0]) || byValue(a, b))
    text += `// ${family.about}\n`
    for (const [name, value] of rows) {
      const digits = literal(value, family.octal)
      if (digits.endsWith('n')) {
        if (verbose) console.error(`${name} is not exact as a number, left out`)
        continue
      }
      text += `export const ${name} = ${digits}\n`
    }
    text += '\n'
  }
  return (
    `${text}// 2**64 - 1 has no exact number, so 'no limit' is a number that compares the same way.\n` +
    'export const RLIM_INFINITY = Infinity\n'
  )
}

function syscallFile(): string {
  const text = includes(['asm/unistd_64.h'])
  const numbers = integerValues(
    text,
    macroNames(preprocess(text, '-dM')).filter(name => name.startsWith('__NR_')),
  )
  const calls = new Map([...numbers].map(([name, nr]) => [name.slice(5), Number(nr)]))
  for (const [name, nr] of pairs(NEW_SYSCALLS)) calls.set(name, Number(nr))
  const rows = [...calls]
    .filter(([, nr]) => nr <= 335 || (nr >= 424 && nr <= LAST_SYSCALL))
    .sort((a, b) => a[1] - b[1])
  return (
    head('asm/unistd_64.h', 'System call numbers of x86-64, up to Linux 6.19.') +
    `export const NR = {\n${rows.map(([name, nr]) => `  ${name}: ${nr},\n`).join('')}} as const\n\n` +
    'export type SyscallName = keyof typeof NR\n\n' +
    '/** Indexed by number; undefined in the gap 336..423. */\n' +
    'export const SYSCALL_NAMES: readonly (string | undefined)[] = tableOf(NR)\n\n' +
    'function tableOf(numbers: Readonly<Record<string, number>>): (string | undefined)[] {\n' +
    `  const table = new Array<string | undefined>(${LAST_SYSCALL + 1}).fill(undefined)\n` +
    '  for (const [name, nr] of Object.entries(numbers)) table[nr] = name\n  return table\n}\n'
  )
}

/** A field which is itself named `size` is written `size_`. */
function objectText(name: string, entries: [string, number][]): string {
  const items = entries.map(
    ([field, offset], at) => `${field === 'size' && at > 0 ? 'size_' : field}: ${offset}`,
  )
  const line = `export const ${name} = { ${items.join(', ')} } as const`
  if (line.length <= 110) return `${line}\n`
  return `export const ${name} = {\n${items.map(item => `  ${item},\n`).join('')}} as const\n`
}

function layoutFile(): string {
  let text = head(
    "the kernel's UAPI headers",
    'Struct layouts of x86-64: `size`, and the byte offset of each field.',
  )
  const all: [string, string][] = []
  for (const group of LAYOUTS) {
    const prologue = `${includes(group.from)}${group.declare ?? ''}\n`
    const preprocessed = preprocess(prologue, '-P')
    const structs = group.structs.map((line): Struct => {
      const match = /^(\w+) = ([^:]+): ([\s\S]+)$/.exec(line)
      if (match === null) throw new Error(`bad layout line: ${line}`)
      const [name, type, list] = match.slice(1) as [string, string, string]
      const fields =
        list === '*' ? fieldsOf(structBody(preprocessed, type.replace('struct ', ''))) : list.split(/\s+/)
      return { name, type, fields: fields.map(f => [f.split('=')[0]!, f.split('=').at(-1)!]) }
    })
    for (const [name, entries] of offsetsOf(prologue, structs)) all.push([name, objectText(name, entries)])
  }
  text += all.map(([, body]) => body).join('\n')
  return text
}

function protocolFile(): string | undefined {
  if (!existsSync(protocolHeader)) return undefined
  const source = readFileSync(protocolHeader, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/\/\/.*$/gm, '')
  const prologue = `#include "${protocolHeader}"\n`
  const own = [...source.matchAll(/^[ \t]*#[ \t]*define[ \t]+(CAISSON_\w+)(?=[ \t]|$)/gm)].map(m => m[1]!)
  const names = [...new Set([...own, ...enumeratorNames(source).filter(name => name.startsWith('CAISSON_'))])]
  const values = integerValues(prologue, names)
  const tags = [...new Set([...source.matchAll(/\bstruct\s+(caisson_\w+)\s*\{/g)].map(m => m[1]!))]
  const structs = tags.map(
    (tag): Struct => ({
      name: tag.slice('caisson_'.length).toUpperCase(),
      type: `struct ${tag}`,
      fields: fieldsOf(structBody(source, tag)).map(field => [field, field]),
    }),
  )
  const offsets = structs.length === 0 ? [] : [...offsetsOf(prologue, structs)]
  const consts = [...values].map(
    ([name, value]) => `export const ${name.slice('CAISSON_'.length)} = ${literal(value)}\n`,
  )
  return (
    head('native/protocol.h', 'What the sentry and the stub share: numbers, and structs as byte offsets.') +
    [consts.join(''), ...offsets.map(([name, entries]) => objectText(name, entries))]
      .filter(s => s !== '')
      .join('\n')
  )
}

export const FILES: Readonly<Record<string, () => string | undefined>> = {
  errno: errnoFile,
  constants: constantsFile,
  'syscall-numbers': syscallFile,
  layout: layoutFile,
  protocol: protocolFile,
}

function main(args: string[]): void {
  if (process.arch !== 'x64')
    throw new Error('the committed ABI is that of x86-64: run this on an x86-64 machine')
  const option = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined)
  const out = resolve(option('--out') ?? join(ROOT, 'src/abi'))
  const only = option('--only')?.split(',') ?? Object.keys(FILES)
  protocolHeader = resolve(option('--protocol') ?? protocolHeader)
  verbose = args.includes('--verbose')
  scratch = mkdtempSync(join(tmpdir(), 'caisson-abi-'))
  try {
    mkdirSync(out, { recursive: true })
    for (const name of only) {
      const make = FILES[name]
      if (make === undefined)
        throw new Error(`no such file: ${name}; there are ${Object.keys(FILES).join(', ')}`)
      const text = make()
      if (text === undefined) console.log(`${name}.ts: skipped, there is no ${protocolHeader}`)
      else writeFileSync(join(out, `${name}.ts`), text)
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2))
