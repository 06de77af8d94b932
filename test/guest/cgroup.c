/*
 * cgroups(7), version 2: the core's files, in a directory of one's own below the root of a hierarchy that is mounted for
 * it. Controllers are not compared: which there are differs from host to host.
 */
#include "observe.h"
#include <poll.h>
#include <pthread.h>
#include <linux/sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

static char top[64];

/* The hierarchy at ./cg, in a mount namespace of one's own; the working directory becomes a new cgroup in it. */
static void enter(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("cg", 0755));
	MUST(mount("cgroup2", "cg", "cgroup2", 0, NULL));
	snprintf(top, sizeof top, "caisson-guest-%d", (int)getpid());
	MUST(chdir("cg"));
	MUST(mkdir(top, 0755));
	MUST(chdir(top));
}

/* Back to the root, so that all can be removed. */
static void leave(const char *const *children)
{
	MUST(chdir(".."));
	for (; *children; children++) {
		char path[128];

		snprintf(path, sizeof path, "%s/%s", top, *children);
		rmdir(path);
	}
	ERR(rmdir(top));
}
#define LEAVE(...) leave((const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })

/* What writing the text says. */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	int result = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

static int put_pid(const char *path, pid_t pid)
{
	char text[32];

	snprintf(text, sizeof text, "%d", (int)pid);
	return put(path, text);
}

/* A line of a file of 'key value' lines. */
static long field(const char *path, const char *key)
{
	const char *at = strstr(read_file(path), key);

	return at ? atol(at + strlen(key)) : -1;
}

static bool await_field(const char *path, const char *key, long value)
{
	for (int i = 0; i < 1000; i++) {
		if (field(path, key) == value)
			return true;
		sleep_ms(5);
	}
	return false;
}

/* A child that waits to be killed. */
static pid_t waiter(void)
{
	pid_t pid = MUST(fork());

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* A child that computes until it is killed. */
static pid_t spinner(void)
{
	pid_t pid = MUST(fork());

	if (pid == 0)
		for (;;)
			getppid();
	return pid;
}

static bool holds(const char *path, pid_t pid)
{
	char line[32], text[4096] = "\n";

	strncat(text, read_file(path), sizeof text - 2);
	snprintf(line, sizeof line, "\n%d\n", (int)pid);
	return strstr(text, line) != NULL;
}

SECTION("a new cgroup has the core's files")
{
	struct stat st;
	struct statfs fs;

	enter();
	MUST(statfs(".", &fs));
	HEX(fs.f_type);
	MUST(mkdir("new", 0755));
	TEXT(read_file("new/cgroup.controllers"));
	TEXT(read_file("new/cgroup.subtree_control"));
	TEXT(read_file("new/cgroup.procs"));
	TEXT(read_file("new/cgroup.threads"));
	TEXT(read_file("new/cgroup.type"));
	TEXT(read_file("new/cgroup.events"));
	TEXT(read_file("new/cgroup.freeze"));
	TEXT(read_file("new/cgroup.max.depth"));
	TEXT(read_file("new/cgroup.max.descendants"));
	SHOW(field("new/cgroup.stat", "nr_descendants "));
	MUST(stat("new", &st));
	SHOW(st.st_nlink);
	HEX(st.st_mode);
	MUST(stat("new/cgroup.procs", &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	MUST(stat("new/cgroup.kill", &st));
	HEX(st.st_mode);
	ERR(open("new/cgroup.kill", O_RDONLY));
	ERR(open("new/cgroup.events", O_RDWR | O_TRUNC));
	ERR(open("new/other", O_RDWR | O_CREAT, 0644));
	ERR(unlink("new/cgroup.procs"));
	ERR(symlink("a", "new/link"));
	ERR(rename("new", "renamed"));
	ERR(mkdir("new", 0755));
	ERR(mkdir("a\nb", 0755));
	LEAVE("new", "renamed");
}

SECTION("cgroup.procs: processes are moved, and their children are born where they are")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("b", 0755));
	pid_t pid = waiter();
	ERR(put_pid("a/cgroup.procs", pid));
	SHOW(holds("a/cgroup.procs", pid));
	SHOW(holds("a/cgroup.threads", pid));
	ERR(put_pid("b/cgroup.procs", pid));
	SHOW(holds("a/cgroup.procs", pid));
	SHOW(holds("b/cgroup.procs", pid));
	ERR(put("a/cgroup.procs", "0"));
	pid_t child = waiter();
	SHOW(holds("a/cgroup.procs", child));
	ERR(put("../cgroup.procs", "0\n"));
	kill(child, SIGKILL);
	kill(pid, SIGKILL);
	STATUS(end_of(child));
	STATUS(end_of(pid));
	ERR(put("a/cgroup.procs", "999999999"));
	ERR(put("a/cgroup.procs", "-1"));
	ERR(put("a/cgroup.procs", "x"));
	ERR(put("a/cgroup.procs", ""));
	LEAVE("a", "b");
}

SECTION("cgroup.threads: a thread does not leave its process's domain")
{
	enter();
	MUST(mkdir("a", 0755));
	ERR(put("a/cgroup.threads", "0"));
	ERR(put("a/cgroup.type", "domain"));
	ERR(put("a/cgroup.type", "nonsense"));
	LEAVE("a");
}

SECTION("rmdir: not with processes or cgroups in it")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("a/b", 0755));
	ERR(rmdir("a"));
	pid_t pid = waiter();
	MUST(put_pid("a/b/cgroup.procs", pid));
	ERR(rmdir("a/b"));
	int procs = MUST(open("a/b/cgroup.procs", O_RDONLY));
	int directory = MUST(open("a/b", O_RDONLY | O_DIRECTORY));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	ERR(rmdir("a/b"));
	char byte;
	ERR(read(procs, &byte, 1));
	ERR(openat(directory, "cgroup.procs", O_RDONLY));
	ERR(rmdir("a"));
	LEAVE();
}

SECTION("cgroup.events: populated says whether anything lives here or below")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("a/b", 0755));
	SHOW(field("a/cgroup.events", "populated "));
	pid_t pid = waiter();
	MUST(put_pid("a/b/cgroup.procs", pid));
	SHOW(field("a/cgroup.events", "populated "));
	SHOW(field("a/b/cgroup.events", "populated "));
	int fd = MUST(open("a/cgroup.events", O_RDONLY));
	struct pollfd wait = { .fd = fd, .events = POLLPRI };
	char text[100];
	SHOW(poll(&wait, 1, 0));
	MUST(read(fd, text, sizeof text));
	SHOW(poll(&wait, 1, 0));
	int inotify = MUST(inotify_init1(IN_NONBLOCK));
	MUST(inotify_add_watch(inotify, "a/cgroup.events", IN_MODIFY));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	SHOW(poll(&wait, 1, 5000));
	HEX(wait.revents);
	struct pollfd told = { .fd = inotify, .events = POLLIN };
	SHOW(poll(&told, 1, 5000));
	struct inotify_event event;
	MUST(read(inotify, &event, sizeof event));
	HEX(event.mask);
	MUST(rmdir("a/b"));
	LEAVE("a");
}

SECTION("cgroup.freeze: what is frozen does not run, and can be killed")
{
	enter();
	MUST(mkdir("a", 0755));
	pid_t pid = spinner();
	MUST(put_pid("a/cgroup.procs", pid));
	ERR(put("a/cgroup.freeze", "1"));
	SHOW(await_field("a/cgroup.events", "frozen ", 1));
	clockid_t clock;
	struct timespec before, after;
	MUST(clock_getcpuclockid(pid, &clock) ? -1 : 0);
	sleep_ms(50);
	MUST(clock_gettime(clock, &before));
	sleep_ms(50);
	MUST(clock_gettime(clock, &after));
	SHOW(after.tv_sec == before.tv_sec && after.tv_nsec == before.tv_nsec);
	ERR(put("a/cgroup.freeze", "0"));
	SHOW(await_field("a/cgroup.events", "frozen ", 0));
	ERR(put("a/cgroup.freeze", "1"));
	SHOW(await_field("a/cgroup.events", "frozen ", 1));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	ERR(put("a/cgroup.freeze", "2"));
	ERR(put("a/cgroup.freeze", "x"));
	LEAVE("a");
}

static pthread_barrier_t barrier;
static volatile long *rounds;

static void *meet(void *argument)
{
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (argument)
			++*rounds;
	}
	return NULL;
}

static bool await_rounds(long more)
{
	long from = *rounds;

	for (int i = 0; i < 1000; i++) {
		if (*rounds >= from + more)
			return true;
		sleep_ms(5);
	}
	return false;
}

SECTION("cgroup.freeze: threads that wait for each other stand still, and go on")
{
	enter();
	MUST(mkdir("a", 0755));
	rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		pthread_t thread;

		pthread_barrier_init(&barrier, NULL, 2);
		pthread_create(&thread, NULL, meet, NULL);
		meet(&barrier);
	}
	SHOW(await_rounds(10));
	MUST(put_pid("a/cgroup.procs", pid));
	MUST(put("a/cgroup.freeze", "1"));
	SHOW(await_field("a/cgroup.events", "frozen ", 1));
	long before = *rounds;
	sleep_ms(50);
	SHOW(*rounds == before);
	MUST(put("a/cgroup.freeze", "0"));
	SHOW(await_rounds(10));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	LEAVE("a");
}

SECTION("cgroup.freeze: holds for cgroups below, and for what comes later")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("a/b", 0755));
	MUST(put("a/cgroup.freeze", "1"));
	TEXT(read_file("a/b/cgroup.freeze"));
	SHOW(field("a/b/cgroup.events", "frozen "));
	pid_t pid = spinner();
	MUST(put_pid("a/b/cgroup.procs", pid));
	SHOW(await_field("a/b/cgroup.events", "frozen ", 1));
	SHOW(field("a/cgroup.events", "frozen "));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	MUST(rmdir("a/b"));
	LEAVE("a");
}

SECTION("cgroup.kill: ends all that lives here and below")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("a/b", 0755));
	pid_t one = waiter(), other = spinner();
	MUST(put_pid("a/cgroup.procs", one));
	MUST(put_pid("a/b/cgroup.procs", other));
	ERR(put("a/cgroup.kill", "0"));
	ERR(put("a/cgroup.kill", "2"));
	ERR(put("a/cgroup.kill", "x"));
	ERR(put("a/cgroup.kill", "1"));
	STATUS(end_of(one));
	STATUS(end_of(other));
	MUST(rmdir("a/b"));
	LEAVE("a");
}

SECTION("cgroup.max: depth and number of cgroups below")
{
	enter();
	MUST(mkdir("a", 0755));
	ERR(put("a/cgroup.max.depth", "1"));
	TEXT(read_file("a/cgroup.max.depth"));
	ERR(mkdir("a/1", 0755));
	ERR(mkdir("a/1/2", 0755));
	ERR(put("a/cgroup.max.descendants", "1"));
	ERR(mkdir("a/2", 0755));
	ERR(put("a/cgroup.max.descendants", "max"));
	ERR(mkdir("a/2", 0755));
	SHOW(field("a/cgroup.stat", "nr_descendants "));
	ERR(put("a/cgroup.max.depth", "-1"));
	ERR(put("a/cgroup.max.depth", "x"));
	MUST(rmdir("a/1"));
	MUST(rmdir("a/2"));
	LEAVE("a");
}

SECTION("cgroup.subtree_control: only what there is can be handed on")
{
	enter();
	MUST(mkdir("a", 0755));
	ERR(put("a/cgroup.subtree_control", "+nonsense"));
	ERR(put("a/cgroup.subtree_control", "memory"));
	ERR(put("a/cgroup.subtree_control", "-memory"));
	ERR(put("a/cgroup.subtree_control", "\n"));
	LEAVE("a");
}

/* LXC writes the byte that ends a string, too. */
SECTION("what is written ends at a byte that is 0")
{
	enter();
	MUST(mkdir("a", 0755));
	int depth = MUST(open("a/cgroup.max.depth", O_WRONLY));
	RET(write(depth, "3", 2));
	TEXT(read_file("a/cgroup.max.depth"));
	RET(write(depth, "4\0 5", 4));
	TEXT(read_file("a/cgroup.max.depth"));
	ERR(write(depth, "", 1));
	RET(write(depth, "", 0));
	int control = MUST(open("a/cgroup.subtree_control", O_WRONLY));
	RET(write(control, "", 1));
	int clear = MUST(open("/proc/self/clear_refs", O_WRONLY));
	RET(write(clear, "1", 2));
	LEAVE("a");
}

SECTION("clone3: CLONE_INTO_CGROUP")
{
	enter();
	MUST(mkdir("a", 0755));
	int fd = MUST(open("a", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = fd };
	pid_t pid = MUST(syscall(SYS_clone3, &args, sizeof args));
	if (pid == 0)
		for (;;)
			pause();
	SHOW(holds("a/cgroup.procs", pid));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	args.cgroup = MUST(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ERR(syscall(SYS_clone3, &args, sizeof args));
	args.cgroup = 999;
	ERR(syscall(SYS_clone3, &args, sizeof args));
	args.cgroup = MUST(open("a/cgroup.procs", O_RDONLY | O_CLOEXEC));
	ERR(syscall(SYS_clone3, &args, sizeof args));
	MUST(rmdir("a"));
	args.cgroup = fd;
	ERR(syscall(SYS_clone3, &args, sizeof args));
	LEAVE();
}

static void in_own_namespace(void)
{
	MUST(put("a/cgroup.procs", "0"));
	MUST(unshare(CLONE_NEWCGROUP));
	SHOW(strstr(read_file("/proc/self/cgroup"), "0::/\n") != NULL);
	MUST(put("a/b/cgroup.procs", "0"));
	SHOW(strstr(read_file("/proc/self/cgroup"), "0::/b\n") != NULL);
	/* Seen from the old mount the root is above. */
	SHOW(strstr(read_file("/proc/self/mountinfo"), " /../.. ") != NULL);
	MUST(mkdir("/tmp/cgroup-namespace", 0755));
	MUST(mount("cgroup2", "/tmp/cgroup-namespace", "cgroup2", 0, NULL));
	SHOW(access("/tmp/cgroup-namespace/b/cgroup.procs", F_OK));
	SHOW(access("/tmp/cgroup-namespace/a", F_OK));
	MUST(umount("/tmp/cgroup-namespace"));
	MUST(rmdir("/tmp/cgroup-namespace"));
}

SECTION("a cgroup namespace shows its own root as the root")
{
	enter();
	MUST(mkdir("a", 0755));
	MUST(mkdir("a/b", 0755));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		in_own_namespace();
		_exit(0);
	}
	STATUS(end_of(pid));
	MUST(rmdir("a/b"));
	LEAVE("a");
}

static void trigger(const char *path, const char *text)
{
	int fd = MUST(open(path, O_RDWR | O_CLOEXEC));
	struct pollfd poll_fd = { .fd = fd, .events = POLLPRI | POLLIN | POLLOUT };

	printf("'%.20s': ", text);
	RET(write(fd, text, strlen(text) + 1));
	RET(write(fd, text, strlen(text) + 1));
	MUST(poll(&poll_fd, 1, 0));
	HEX(poll_fd.revents);
	close(fd);
}

SECTION("pressure: what triggers may be, and what poll says of them")
{
	enter();
	const char *paths[] = { "/proc/pressure/cpu", "/proc/pressure/memory", "cpu.pressure", "io.pressure", "memory.pressure" };
	for (int i = 0; i < 5; i++) {
		trigger(paths[i], "some 500000 2000000");
		trigger(paths[i], "full 2000000 2000000\n");
		trigger(paths[i], "some 500000 400000");
		trigger(paths[i], "some 500000 12000000");
		trigger(paths[i], "some 0 2000000");
		trigger(paths[i], "some 2000001 2000000");
		trigger(paths[i], "any 500000 2000000");
		trigger(paths[i], "some 500000");
		trigger(paths[i], "some");
		trigger(paths[i], "");
	}
	LEAVE();
}

SECTION("pressure: a cgroup's files are there as long as it wants them")
{
	enter();
	SHOW(!strncmp(read_file("cpu.pressure"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=", 58));
	SHOW(!strncmp(read_file("memory.pressure"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=", 58));
	printf("%s", read_file("cgroup.pressure"));
	ERR(put("cgroup.pressure", "2"));
	ERR(put("cgroup.pressure", "x"));
	ERR(put("cgroup.pressure", "0"));
	ERR(access("cpu.pressure", F_OK));
	ERR(access("memory.pressure", F_OK));
	ERR(access("cgroup.pressure", F_OK));
	ERR(put("cgroup.pressure", "1"));
	ERR(access("cpu.pressure", F_OK));
	LEAVE();
}

SECTION("freezing: what /proc shows of the frozen, and for how long they were")
{
	enter();
	MUST(mkdir("a", 0755));
	pid_t waits = waiter(), computes = spinner(), stopped = waiter();
	MUST(put_pid("a/cgroup.procs", waits));
	MUST(put_pid("a/cgroup.procs", computes));
	MUST(put_pid("a/cgroup.procs", stopped));
	MUST(kill(stopped, SIGSTOP));
	MUST(waitpid(stopped, NULL, WUNTRACED));
	SHOW(field("a/cgroup.stat.local", "frozen_usec "));
	ERR(put("cgroup.freeze", "1"));
	SHOW(await_field("a/cgroup.events", "frozen ", 1));
	SHOW(state_of(waits));
	SHOW(state_of(computes));
	SHOW(state_of(stopped));
	sleep_ms(20);
	SHOW(field("cgroup.stat.local", "frozen_usec ") >= 20000);
	SHOW(field("a/cgroup.stat.local", "frozen_usec ") >= 20000);
	ERR(put("cgroup.freeze", "0"));
	SHOW(await_field("a/cgroup.events", "frozen ", 0));
	SHOW(state_of(computes));
	long frozen = field("a/cgroup.stat.local", "frozen_usec ");
	sleep_ms(20);
	SHOW(field("a/cgroup.stat.local", "frozen_usec ") == frozen);
	SHOW(put("a/cgroup.kill", "1"));
	STATUS(end_of(waits));
	STATUS(end_of(computes));
	STATUS(end_of(stopped));
	SHOW(await_field("a/cgroup.events", "populated ", 0));
	LEAVE("a");
}

static void show_attributes(const char *path)
{
	char names[256] = "";
	ssize_t length = listxattr(path, names, sizeof names);

	printf("  %s: %s", path, length < 0 ? error_name(errno) : "");
	for (ssize_t at = 0; at < length; at += strlen(names + at) + 1)
		printf(" %s", names + at);
	printf("\n");
}

SECTION("extended attributes: of directories and files, as long as the cgroup is there")
{
	char value[16] = "";

	enter();
	ERR(getxattr(".", "user.unit", value, sizeof value));
	ERR(setxattr(".", "user.unit", "one", 3, XATTR_CREATE));
	ERR(setxattr(".", "user.unit", "two", 3, XATTR_CREATE));
	ERR(setxattr(".", "user.other", "x", 1, XATTR_REPLACE));
	ERR(setxattr(".", "trusted.unit", "three", 5, 0));
	ERR(setxattr("cgroup.procs", "user.unit", "four", 4, 0));
	ERR(setxattr(".", "unknown.unit", "x", 1, 0));
	ERR(setxattr(".", "user.", "x", 1, 0));
	show_attributes(".");
	show_attributes("cgroup.procs");
	MUST(mkdir("a", 0755));
	show_attributes("a");
	SHOW(getxattr(".", "user.unit", value, 2));
	SHOW(getxattr(".", "user.unit", value, sizeof value));
	printf("  %s\n", value);
	ERR(removexattr(".", "user.unit"));
	ERR(removexattr(".", "user.unit"));
	show_attributes(".");
	LEAVE("a");
}
