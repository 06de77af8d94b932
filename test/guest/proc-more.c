/* /proc: what is asked for more rarely. */
#include "observe.h"
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>

/* The lines of a file that contain the text, with what differs between runs left out by the caller. */
static void lines_with(const char *path, const char *text, void (*show)(char *line))
{
	static char line[1024];
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof line, file))
		if (strstr(line, text))
			show(line);
	if (file)
		fclose(file);
}

static pid_t me;
static ino_t inode;

static void show_lock(char *line)
{
	char kind[16], how[16], type[16], start[32], end[32];
	int nr, pid;
	unsigned major, minor;
	unsigned long ino;

	if (sscanf(line, "%d: %15s %15s %15s %d %x:%x:%lu %31s %31s", &nr, kind, how, type, &pid, &major, &minor, &ino, start,
		   end) == 10 && ino == inode)
		say("%s %s %s mine %d, %s to %s\n", kind, how, type, pid == me, start, end);
}

SECTION("locks: those of processes, descriptions and flock")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct flock lock = { F_WRLCK, SEEK_SET, 10, 20, 0 };
	struct stat st;

	MUST(fstat(fd, &st));
	inode = st.st_ino;
	me = getpid();
	MUST(fcntl(fd, F_SETLK, &lock));
	lock = (struct flock){ F_RDLCK, SEEK_SET, 100, 0, 0 };
	MUST(fcntl(fd, F_SETLK, &lock));
	lines_with("/proc/locks", "POSIX", show_lock);
	lock = (struct flock){ F_RDLCK, SEEK_SET, 50, 5, 0 };
	MUST(fcntl(fd, F_OFD_SETLK, &lock));
	lines_with("/proc/locks", "OFDLCK", show_lock);
	MUST(flock(fd, LOCK_SH));
	lines_with("/proc/locks", "FLOCK", show_lock);
	close(fd);
	lines_with("/proc/locks", "POSIX", show_lock);
	lines_with("/proc/locks", "FLOCK", show_lock);
}

static void show_line(char *line)
{
	char *pid = strstr(line, "pid.");

	if (pid)
		strcpy(pid, atoi(pid + 4) == getpid() ? "pid.mine\n" : "pid.other\n");
	line[strcspn(line, "\n")] = 0;
	TEXT(line);
}

SECTION("timers: each with its signal and clock")
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 7 };
	timer_t timer;

	MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
	event.sigev_notify = SIGEV_NONE;
	MUST(syscall(SYS_timer_create, CLOCK_REALTIME, &event, &timer));
	MUST(syscall(SYS_timer_create, CLOCK_BOOTTIME, NULL, &timer));
	lines_with("/proc/self/timers", "", show_line);
}

SECTION("map_files: a link for each mapping of a file")
{
	char name[64], target[256] = "", cwd[256];

	need_root();
	write_file("mapped", "content");
	int fd = MUST(open("mapped", O_RDONLY));
	char *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	sprintf(name, "/proc/self/map_files/%lx-%lx", (long)at, (long)at + 4096);
	RET(readlink(name, target, sizeof target) > 0);
	MUST(getcwd(cwd, sizeof cwd));
	SHOW(!strncmp(target, cwd, strlen(cwd)));
	TEXT(target + strlen(cwd));
	struct stat st;
	MUST(lstat(name, &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	MUST(unlink("mapped"));
	fd = MUST(open(name, O_RDONLY));
	RET(read(fd, target, 7));
	munmap(at, 4096);
	ERR(readlink(name, target, sizeof target));
	ERR(access("/proc/self/map_files/0-1000", F_OK));
	ERR(access("/proc/self/map_files/x", F_OK));
}

SECTION("sys: inotify's limits can be set, and count")
{
	need_root();
	char *text = strdup(read_file("/proc/sys/fs/inotify/max_user_watches"));
	write_file("/proc/sys/fs/inotify/max_user_watches", "1234\n");
	TEXT(read_file("/proc/sys/fs/inotify/max_user_watches"));
	write_file("/proc/sys/fs/inotify/max_user_watches", text);
	int fd = MUST(open("/proc/sys/fs/inotify/max_user_watches", O_WRONLY));
	ERR(write(fd, "x", 1));
	ERR(write(fd, "-1", 2));
}

SECTION("sys: settings that are there")
{
	TEXT(read_file("/proc/sys/kernel/sysctl_writes_strict"));
	TEXT(read_file("/proc/sys/kernel/panic_on_warn"));
	TEXT(read_file("/proc/sys/vm/stat_interval"));
	TEXT(read_file("/proc/sys/vm/compaction_proactiveness"));
	TEXT(read_file("/proc/sys/fs/dir-notify-enable"));
	SHOW(!strncmp(read_file("/proc/softirqs"), "                    CPU0", 24));
}

SECTION("pagemap: which pages are there")
{
	enum { PAGES = 16 };
	char *memory = (char *)MUST(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *hole = (char *)MUST(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *shared = (char *)MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	unsigned long entries[PAGES + 1];

	madvise(memory, PAGES * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i += 3)
		memory[i * 4096] = 1;
	shared[0] = 1;
	munmap(hole, 4096);
	int fd = MUST(open("/proc/self/pagemap", O_RDONLY));
	RET(pread(fd, entries, PAGES * 8, (unsigned long)memory / 512));
	for (int i = 0; i < PAGES; i++)
		say("%d%d%d ", (int)(entries[i] >> 63), (int)(entries[i] >> 62 & 1), (int)(entries[i] >> 61 & 1));
	say("\n");
	RET(pread(fd, entries, 8, (unsigned long)hole / 512));
	HEX(entries[0]);
	RET(pread(fd, entries, 8, (unsigned long)shared / 512));
	HEX(entries[0] >> 61);
	RET(pread(fd, entries, 8, 4));
	RET(pread(fd, entries, 12, 8));
	RET(pread(fd, entries, 0, 8));
	RET(pread(fd, entries, 8, 1L << 60));
	RET(lseek(fd, 0, SEEK_END));
	RET(write(fd, entries, 8));
	RET(open("/proc/self/pagemap", O_RDWR) < 0 ? -1 : 0);
}

SECTION("numa_maps: pages of a mapping")
{
	char *memory = (char *)MUST(mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	char wanted[32], line[512];

	snprintf(wanted, sizeof wanted, "%lx ", (unsigned long)memory);
	FILE *file = fopen("/proc/self/numa_maps", "r");
	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, wanted, strlen(wanted)) == 0)
			say("%s", line + strlen(wanted));
		if (strstr(line, " stack "))
			say("a stack on %s\n", strstr(line, "N0=") ? "node 0" : "no node");
	}
	fclose(file);
}

SECTION("wchan: what a process waits in")
{
	int fds[2];
	char text[64];

	MUST(pipe(fds));
	for (int which = 0; which < 4; which++) {
		pid_t child = fork();
		if (child == 0) {
			if (which == 0)
				pause();
			if (which == 1)
				sleep(100);
			if (which == 2)
				poll(NULL, 0, -1);
			if (which == 3)
				epoll_wait(epoll_create1(0), &(struct epoll_event){ 0 }, 1, -1);
			_exit(0);
		}
		await_state(child, 'S');
		snprintf(text, sizeof text, "/proc/%d/wchan", child);
		int fd = MUST(open(text, O_RDONLY));
		ssize_t got = read(fd, text, sizeof text - 1);
		text[got > 0 ? got : 0] = 0;
		say("%s\n", text);
		close(fd);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

SECTION("files of a process about what it doesn't use")
{
	TEXT(read_file("/proc/self/ksm_merging_pages"));
	TEXT(read_file("/proc/self/ksm_stat"));
	ERR(access("/proc/self/arch_status", R_OK));
	TEXT(read_file("/proc/sys/debug/exception-trace"));
	TEXT(read_file("/proc/sys/abi/vsyscall32"));
}

SECTION("sys: who polls the host's name hears of changes")
{
	need_root();
	MUST(unshare(CLONE_NEWUTS));
	int fd = MUST(open("/proc/sys/kernel/hostname", O_RDONLY));
	int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLERR | EPOLLPRI };
	struct pollfd polled = { fd, POLLIN | POLLPRI, 0 };

	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	RET(epoll_wait(epoll, &event, 1, 0));
	poll(&polled, 1, 0);
	HEX(polled.revents);
	MUST(sethostname("other", 5));
	RET(epoll_wait(epoll, &event, 1, 0));
	poll(&polled, 1, 0);
	HEX(polled.revents);
	write_file("/proc/sys/kernel/hostname", "third\n");
	poll(&polled, 1, 0);
	HEX(polled.revents);
}
