/*
 * The host's system calls for src/platform/linux-host.ts: each function decodes numbers, byte strings and buffers,
 * makes one call and gives back its value or the negative errno. Nothing is decided, copied or remembered here,
 * except the epoll set and the place where results of several numbers go.
 */
#include "caisson.h"

#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/* Where statx, fstatfs and the clocks put their numbers: the array given to setResults. */
enum { RESULT_SLOTS = 32 };
static double no_results[RESULT_SLOTS];
static double *results = no_results;
static int epoll_fd = -1;

int caisson_epoll_fd(void)
{
	return epoll_fd;
}

struct path {
	/* One more than the longest with its NUL, to tell it from one that was cut. */
	char bytes[PATH_MAX + 1];
};

/* A byte string as a C string: 0, or a negative errno. */
static int get_path(napi_env env, napi_value value, struct path *path)
{
	size_t length = 0;
	path->bytes[0] = '\0';
	if (napi_get_value_string_latin1(env, value, path->bytes, sizeof path->bytes, &length) != napi_ok)
		return -EFAULT;
	/* A string that fills the buffer may have been cut. */
	if (length >= sizeof path->bytes - 1)
		return -ENAMETOOLONG;
	if (memchr(path->bytes, '\0', length))
		return -EINVAL;
	return 0;
}

#define PATH_ARGUMENT(name, index)                                            \
	struct path name;                                                     \
	int name##_status = get_path(env, argv[index], &name);                \
	if (name##_status < 0)                                                \
		return make_number(env, name##_status)

#define BUFFER_ARGUMENT(name, index)                                          \
	size_t name##_length;                                                 \
	void *name = get_bytes(env, argv[index], &name##_length)

#define NUMBER(index) get_number(env, argv[index])

/* setResults(Float64Array): kept for the life of the process. */
static napi_value set_results(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	BUFFER_ARGUMENT(slots, 0);
	if (slots_length < RESULT_SLOTS * sizeof(double))
		return make_number(env, -EINVAL);
	napi_ref keep;
	napi_create_reference(env, argv[0], 1, &keep);
	results = slots;
	return make_number(env, 0);
}

/* openat2(dirfd, path, flags, mode, resolve) */
static napi_value host_openat2(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	PATH_ARGUMENT(path, 1);
	struct open_how how = { .flags = NUMBER(2), .mode = NUMBER(3), .resolve = NUMBER(4) };
	return make_result(env, syscall(SYS_openat2, NUMBER(0), path.bytes, &how, sizeof how));
}

static napi_value host_close(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, close(NUMBER(0)));
}

static napi_value host_dup(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, fcntl(NUMBER(0), F_DUPFD_CLOEXEC, 0));
}

/* pread(fd, bytes, offset): offset -1 is the descriptor's own. */
static napi_value host_pread(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	BUFFER_ARGUMENT(into, 1);
	int64_t offset = NUMBER(2);
	if (offset == -1)
		return make_result(env, read(NUMBER(0), into, into_length));
	return make_result(env, pread(NUMBER(0), into, into_length, offset));
}

static napi_value host_pwrite(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	BUFFER_ARGUMENT(from, 1);
	int64_t offset = NUMBER(2);
	if (offset == -1)
		return make_result(env, write(NUMBER(0), from, from_length));
	return make_result(env, pwrite(NUMBER(0), from, from_length, offset));
}

static napi_value host_lseek(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	return make_result(env, lseek(NUMBER(0), NUMBER(1), NUMBER(2)));
}

/* statx(dirfd, path, flags) into the result slots, in the order of HostStat's fields. */
static napi_value host_statx(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(path, 1);
	struct statx st;
	int flags = NUMBER(2) | (path.bytes[0] ? 0 : AT_EMPTY_PATH);
	if (statx(NUMBER(0), path.bytes, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &st) < 0)
		return make_number(env, -errno);
	double *slot = results;
	*slot++ = st.stx_mask;
	*slot++ = (double)st.stx_attributes;
	*slot++ = st.stx_mode;
	*slot++ = st.stx_nlink;
	*slot++ = st.stx_uid;
	*slot++ = st.stx_gid;
	*slot++ = (double)st.stx_ino;
	*slot++ = (double)st.stx_size;
	*slot++ = (double)st.stx_blocks;
	*slot++ = st.stx_blksize;
	*slot++ = st.stx_dev_major;
	*slot++ = st.stx_dev_minor;
	*slot++ = st.stx_rdev_major;
	*slot++ = st.stx_rdev_minor;
	*slot++ = (double)st.stx_mnt_id;
	*slot++ = (double)st.stx_atime.tv_sec;
	*slot++ = st.stx_atime.tv_nsec;
	*slot++ = (double)st.stx_mtime.tv_sec;
	*slot++ = st.stx_mtime.tv_nsec;
	*slot++ = (double)st.stx_ctime.tv_sec;
	*slot++ = st.stx_ctime.tv_nsec;
	*slot++ = (double)st.stx_btime.tv_sec;
	*slot++ = st.stx_btime.tv_nsec;
	return make_number(env, 0);
}

/* fstatfs(fd) into the result slots, in the order of HostStatfs' fields. */
static napi_value host_fstatfs(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct statfs st;
	if (fstatfs(NUMBER(0), &st) < 0)
		return make_number(env, -errno);
	double *slot = results;
	*slot++ = (double)(unsigned long)st.f_type;
	*slot++ = (double)st.f_bsize;
	*slot++ = (double)st.f_blocks;
	*slot++ = (double)st.f_bfree;
	*slot++ = (double)st.f_bavail;
	*slot++ = (double)st.f_files;
	*slot++ = (double)st.f_ffree;
	*slot++ = (double)st.f_namelen;
	*slot++ = (double)st.f_frsize;
	*slot++ = (double)st.f_flags;
	return make_number(env, 0);
}

static napi_value host_getdents(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(into, 1);
	return make_result(env, syscall(SYS_getdents64, NUMBER(0), into, into_length));
}

/* readlinkat(dirfd, path): the target, or a negative errno. */
static napi_value host_readlinkat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	PATH_ARGUMENT(path, 1);
	char target[PATH_MAX];
	ssize_t length = readlinkat(NUMBER(0), path.bytes, target, sizeof target);
	if (length < 0)
		return make_number(env, -errno);
	napi_value text;
	napi_create_string_latin1(env, target, length, &text);
	return text;
}

static napi_value host_mkdirat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(name, 1);
	return make_result(env, mkdirat(NUMBER(0), name.bytes, NUMBER(2)));
}

static napi_value host_mknodat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	PATH_ARGUMENT(name, 1);
	return make_result(env, mknodat(NUMBER(0), name.bytes, NUMBER(2), makedev(NUMBER(3), NUMBER(4))));
}

static napi_value host_symlinkat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(target, 0);
	PATH_ARGUMENT(name, 2);
	return make_result(env, symlinkat(target.bytes, NUMBER(1), name.bytes));
}

static napi_value host_linkat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	PATH_ARGUMENT(old, 1);
	PATH_ARGUMENT(new, 3);
	return make_result(env, linkat(NUMBER(0), old.bytes, NUMBER(2), new.bytes, NUMBER(4)));
}

static napi_value host_unlinkat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(name, 1);
	return make_result(env, unlinkat(NUMBER(0), name.bytes, NUMBER(2)));
}

static napi_value host_renameat2(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	PATH_ARGUMENT(old, 1);
	PATH_ARGUMENT(new, 3);
	return make_result(env, syscall(SYS_renameat2, NUMBER(0), old.bytes, NUMBER(2), new.bytes, NUMBER(4)));
}

static napi_value host_fchmod(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, fchmod(NUMBER(0), NUMBER(1)));
}

static napi_value host_fchownat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	PATH_ARGUMENT(name, 1);
	int flags = NUMBER(4) | (name.bytes[0] ? 0 : AT_EMPTY_PATH);
	return make_result(env, fchownat(NUMBER(0), name.bytes, NUMBER(2), NUMBER(3), flags));
}

/* fchmodat(dirfd, name, mode): follows a link. */
static napi_value host_fchmodat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(name, 1);
	return make_result(env, syscall(SYS_fchmodat, NUMBER(0), name.bytes, (mode_t)NUMBER(2)));
}

/* fchmodat2(dirfd, name, mode, flags): the C library's fchmodat would go through /proc on older kernels. */
static napi_value host_fchmodat2(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	PATH_ARGUMENT(name, 1);
	int flags = NUMBER(3) | (name.bytes[0] ? 0 : AT_EMPTY_PATH);
	return make_result(env, syscall(SYS_fchmodat2, NUMBER(0), name.bytes, (mode_t)NUMBER(2), flags));
}

/* utimensat(dirfd, name, aSec, aNsec, mSec, mNsec, flags) */
static napi_value host_utimensat(napi_env env, napi_callback_info info)
{
	ARGUMENTS(7);
	PATH_ARGUMENT(name, 1);
	struct timespec times[2] = { { NUMBER(2), NUMBER(3) }, { NUMBER(4), NUMBER(5) } };
	int flags = NUMBER(6) | (name.bytes[0] ? 0 : AT_EMPTY_PATH);
	return make_result(env, syscall(SYS_utimensat, NUMBER(0), name.bytes, times, flags));
}

static napi_value host_ftruncate(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, ftruncate(NUMBER(0), NUMBER(1)));
}

static napi_value host_fallocate(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	return make_result(env, fallocate(NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3)));
}

static napi_value host_fsync(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, fsync(NUMBER(0)));
}

static napi_value host_fdatasync(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, fdatasync(NUMBER(0)));
}

static napi_value host_fadvise(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	/* The one call of these that returns the error instead of setting errno. */
	return make_number(env, -posix_fadvise(NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3)));
}

static napi_value host_flock(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, flock(NUMBER(0), NUMBER(1)));
}

/*
 * lockRange(fd, command, type, start, length): fcntl(2)'s locks of an open description. What F_OFD_GETLK found goes into
 * the result slots: type, start, length, pid.
 */
static napi_value host_lock_range(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	struct flock lock = { .l_type = (short)NUMBER(2), .l_whence = SEEK_SET, .l_start = NUMBER(3), .l_len = NUMBER(4) };
	int status = fcntl(NUMBER(0), NUMBER(1), &lock);
	results[0] = lock.l_type;
	results[1] = (double)lock.l_start;
	results[2] = (double)lock.l_len;
	results[3] = lock.l_pid;
	return make_result(env, status);
}

/* fgetxattr(fd, name, bytes): the value's length. */
static napi_value host_fgetxattr(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(name, 1);
	BUFFER_ARGUMENT(into, 2);
	return make_result(env, fgetxattr(NUMBER(0), name.bytes, into, into_length));
}

static napi_value host_fsetxattr(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	PATH_ARGUMENT(name, 1);
	BUFFER_ARGUMENT(from, 2);
	return make_result(env, fsetxattr(NUMBER(0), name.bytes, from, from_length, NUMBER(3)));
}

static napi_value host_flistxattr(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(into, 1);
	return make_result(env, flistxattr(NUMBER(0), into, into_length));
}

static napi_value host_fremovexattr(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	PATH_ARGUMENT(name, 1);
	return make_result(env, fremovexattr(NUMBER(0), name.bytes));
}

/* copyFileRange(inFd, inOffset, outFd, outOffset, length) */
static napi_value host_copy_file_range(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	loff_t in = NUMBER(1), out = NUMBER(3);
	return make_result(env, copy_file_range(NUMBER(0), &in, NUMBER(2), &out, NUMBER(4), 0));
}

static napi_value host_memfd(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	PATH_ARGUMENT(name, 0);
	return make_result(env, memfd_create(name.bytes, NUMBER(1)));
}

static napi_value host_fcntl(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	return make_result(env, fcntl(NUMBER(0), NUMBER(1), NUMBER(2)));
}

/* ioctl(fd, request, bytes | number) */
static napi_value host_ioctl(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	BUFFER_ARGUMENT(argument, 2);
	return make_result(env, ioctl(NUMBER(0), NUMBER(1), argument ? argument : (void *)NUMBER(2)));
}

static napi_value host_poll(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	struct pollfd one = { .fd = NUMBER(0), .events = NUMBER(1) };
	int count = ppoll(&one, 1, &(struct timespec){ 0, 0 }, NULL);
	return make_result(env, count < 0 ? -1 : one.revents);
}

/* epollAdd(fd, events, token): edge-triggered. */
static napi_value host_epoll_add(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	struct epoll_event event = { .events = NUMBER(1) | EPOLLET, .data.u64 = NUMBER(2) };
	return make_result(env, epoll_ctl(epoll_fd, EPOLL_CTL_ADD, NUMBER(0), &event));
}

static napi_value host_epoll_remove(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, epoll_ctl(epoll_fd, EPOLL_CTL_DEL, NUMBER(0), NULL));
}

/* receive(fd, bytes): recvmsg(2) without waiting: the length; a descriptor that came along, or -1, in the first slot. */
static napi_value host_receive(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(into, 1);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = into, .iov_len = into_length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof control };
	ssize_t length = recvmsg(NUMBER(0), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fd = -1;
	if (length >= 0 && message.msg_controllen >= CMSG_LEN(sizeof fd) && control.header.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	results[0] = fd;
	return make_result(env, length);
}

static napi_value host_inotify_init(napi_env env, napi_callback_info info)
{
	(void)info;
	return make_result(env, inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

static napi_value host_inotify_add_watch(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	PATH_ARGUMENT(path, 1);
	return make_result(env, inotify_add_watch(NUMBER(0), path.bytes, (uint32_t)NUMBER(2)));
}

static napi_value host_inotify_rm_watch(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, inotify_rm_watch(NUMBER(0), NUMBER(1)));
}

/* random(bytes): fills them, in pieces that getrandom(2) doesn't cut short. */
static napi_value host_random(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	BUFFER_ARGUMENT(into, 0);
	for (size_t at = 0; at < into_length; at += 256) {
		size_t left = into_length - at;
		if (getrandom((char *)into + at, left < 256 ? left : 256, 0) < 0)
			return make_number(env, -errno);
	}
	return make_number(env, 0);
}

/* clock(id): nanoseconds in a double; good for clocks that count from boot or less. */
/* The pages of a program's or library's file that nobody may write: the host's page cache has them. */
static int forget_pages(struct dl_phdr_info *object, size_t size, void *data)
{
	const uintptr_t page = 4095;
	(void)size;
	(void)data;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uintptr_t from = object->dlpi_addr + segment->p_vaddr;
		uintptr_t to = (from + segment->p_memsz) & ~page;
		from = (from + page) & ~page;
		if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && from < to)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

/* trim(): what the start needed of node's 150 MB, for instance, and nothing needs again. */
static napi_value host_trim(napi_env env, napi_callback_info info)
{
	(void)env;
	(void)info;
	malloc_trim(0);
	dl_iterate_phdr(forget_pages, NULL);
	return NULL;
}

static napi_value host_clock(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct timespec now = { 0, 0 };
	napi_value value;
	clock_gettime(NUMBER(0), &now);
	napi_create_double(env, (double)now.tv_sec * 1e9 + (double)now.tv_nsec, &value);
	return value;
}

/* realtime(): seconds and nanoseconds into the result slots. */
static napi_value host_realtime(napi_env env, napi_callback_info info)
{
	(void)info;
	struct timespec now = { 0, 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	results[0] = (double)now.tv_sec;
	results[1] = (double)now.tv_nsec;
	return make_number(env, 0);
}

napi_value host_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "setResults", set_results },
		{ "openat2", host_openat2 },
		{ "close", host_close },
		{ "dup", host_dup },
		{ "pread", host_pread },
		{ "pwrite", host_pwrite },
		{ "lseek", host_lseek },
		{ "statx", host_statx },
		{ "fstatfs", host_fstatfs },
		{ "getdents", host_getdents },
		{ "readlinkat", host_readlinkat },
		{ "mkdirat", host_mkdirat },
		{ "mknodat", host_mknodat },
		{ "symlinkat", host_symlinkat },
		{ "linkat", host_linkat },
		{ "unlinkat", host_unlinkat },
		{ "renameat2", host_renameat2 },
		{ "fchmod", host_fchmod },
		{ "fchownat", host_fchownat },
		{ "fchmodat", host_fchmodat },
		{ "fchmodat2", host_fchmodat2 },
		{ "utimensat", host_utimensat },
		{ "ftruncate", host_ftruncate },
		{ "fallocate", host_fallocate },
		{ "fsync", host_fsync },
		{ "fdatasync", host_fdatasync },
		{ "fadvise", host_fadvise },
		{ "flock", host_flock },
		{ "lockRange", host_lock_range },
		{ "fgetxattr", host_fgetxattr },
		{ "fsetxattr", host_fsetxattr },
		{ "flistxattr", host_flistxattr },
		{ "fremovexattr", host_fremovexattr },
		{ "copyFileRange", host_copy_file_range },
		{ "memfd", host_memfd },
		{ "fcntl", host_fcntl },
		{ "ioctl", host_ioctl },
		{ "poll", host_poll },
		{ "epollAdd", host_epoll_add },
		{ "epollRemove", host_epoll_remove },
		{ "receive", host_receive },
		{ "inotifyInit", host_inotify_init },
		{ "inotifyAddWatch", host_inotify_add_watch },
		{ "inotifyRmWatch", host_inotify_rm_watch },
		{ "random", host_random },
		{ "clock", host_clock },
		{ "trim", host_trim },
		{ "realtime", host_realtime },
	};
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
