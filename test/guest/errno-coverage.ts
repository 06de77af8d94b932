/**
 * Which errors that the man pages document the guest programs show: `bin/node test/guest/errno-coverage.ts [PAGE...]`.
 *
 * Runs every program on the host, and takes from each line `call(...) -> ENAME` that the call failed so; the sandbox is
 * held to the same lines by guest.test.ts. A page of section 2 counts as a whole: what openat(2) shows, open(2) has shown.
 * Needs Debian's manpages-dev. Prints what is missing, page by page, and a sum.
 */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { programNames, run } from './programs.ts'

const MAN = '/usr/share/man/man2'

/** The pages of the calls that programs use most. */
const PAGES = (
  'accept access alarm bind brk capget chdir chmod chown chroot clock_getres clock_nanosleep clone close connect ' +
  'copy_file_range dup epoll_create epoll_ctl epoll_wait eventfd execve execveat fallocate fcntl flock fork fsync futex ' +
  'getcpu getcwd getdents getgroups getitimer getpeername getpid getpriority getrandom getresuid getrlimit getrusage getsid ' +
  'getsockname getsockopt gettid gettimeofday getuid inotify_add_watch inotify_init inotify_rm_watch ioctl kill link listen ' +
  'lseek madvise memfd_create mincore mkdir mknod mlock mmap mount mprotect mq_open mremap msgctl msgget msgop msync ' +
  'nanosleep open openat2 pause personality pidfd_getfd pidfd_open pidfd_send_signal pipe pivot_root poll posix_fadvise ' +
  'prctl pread process_vm_readv ptrace read readlink readv recv recvmmsg rename rmdir rt_sigqueueinfo sched_get_priority_max ' +
  'sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler seccomp select semctl semget semop ' +
  'send sendfile sendmmsg set_tid_address setgid setns setpgid setresuid setreuid setsid setuid shmctl shmget shmop shutdown ' +
  'sigaction sigaltstack signalfd sigpending sigprocmask sigsuspend sigwaitinfo socket socketpair splice stat statfs statx ' +
  'symlink sync_file_range sysinfo tee timer_create timer_delete timer_getoverrun timer_settime timerfd_create times tkill ' +
  'truncate umask umount uname unlink unshare utime utimensat vmsplice wait wait4 write'
).split(' ')

/** What no test can bring about: broken hardware, a full machine, kernels and files of other kinds. */
const UNREACHABLE = new Set(
  'EIO ENOMEM ENFILE EDQUOT ENOSYS ENOBUFS ENOSR ENOLINK EMULTIHOP EREMOTEIO'.split(' '),
)

interface Page {
  readonly names: readonly string[]
  readonly errors: readonly string[]
}

function readPage(name: string): Page {
  const text = gunzipSync(readFileSync(`${MAN}/${name}.2.gz`)).toString('latin1')
  const other = /^\.so man2\/(\w+)\.2/m.exec(text)
  if (other !== null) return readPage(other[1])
  const names = /^\.SH NAME\n([\s\S]*?)\\-/m.exec(text)?.[1].match(/\w+/g) ?? [name]
  const section = /^\.SH ERRORS\n([\s\S]*?)^\.SH /m.exec(text)?.[1] ?? ''
  const errors = [...section.matchAll(/^\.BR? (E[A-Z0-9]+.*)$/gm)].flatMap(
    match => match[1].match(/\bE[A-Z0-9]+\b/g) ?? [],
  )
  return { names, errors: [...new Set(errors)] }
}

/** `call ENAME` for each failure that the programs show. */
async function shown(): Promise<Set<string>> {
  const found = new Set<string>()
  for (const program of programNames()) {
    const { sections } = await run(program, 'host')
    for (const line of [...sections.values()].join('\n').split('\n')) {
      const error = /(?:->|:|=) (E[A-Z0-9]+)\b/.exec(line)?.[1]
      if (error === undefined) continue
      for (const [call] of line.slice(0, line.lastIndexOf(error)).matchAll(/\w+/g)) {
        found.add(`${call.replace(/^SYS_/, '')} ${error}`)
      }
    }
  }
  return found
}

const SAME: Readonly<Record<string, string>> = { EWOULDBLOCK: 'EAGAIN', ENOTSUP: 'EOPNOTSUPP' }

const wanted = process.argv.length > 2 ? process.argv.slice(2) : PAGES
const found = await shown()
let documented = 0
let covered = 0
for (const name of wanted) {
  const { names, errors } = readPage(name)
  const all = [name, ...names]
  const reachable = errors.filter(error => !UNREACHABLE.has(error))
  const missing = reachable.filter(error => !all.some(call => found.has(`${call} ${SAME[error] ?? error}`)))
  documented += reachable.length
  covered += reachable.length - missing.length
  if (missing.length > 0) console.log(`${name}: ${missing.join(' ')}`)
}
console.log(`${covered} of ${documented} documented errors of ${wanted.length} pages are shown`)
