/* /proc: the files of a process, the state of the kernel, and how both behave as files. */
#include "observe.h"
#include <sys/sysmacros.h>

static char *slurp(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY);
	ssize_t used = 0, got;

	text[0] = 0;
	if (fd < 0)
		return NULL;
	while ((got = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += got;
	text[used] = 0;
	close(fd);
	return text;
}

/* The names in front of the colons, one after the other. */
static void show_keys(char *text)
{
	char *save;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		say("  %.*s\n", (int)strcspn(line, ":"), line);
}

static int fields(char *text)
{
	int count = 0;
	char *save;

	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		count++;
	return count;
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return -1;
	int result = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

SECTION("status: the fields and their order")
{
	show_keys(slurp("/proc/self/status"));
}

SECTION("stat: field by field what the process knows of itself")
{
	char comm[64], state;
	int pid, parent, group, session;
	char *text = slurp("/proc/self/stat");

	SHOW(sscanf(text, "%d (%63[^)]) %c %d %d %d", &pid, comm, &state, &parent, &group, &session));
	SHOW(pid == getpid());
	SHOW(state);
	SHOW(parent == getppid());
	SHOW(group == getpgrp());
	SHOW(session == getsid(0));
	SHOW(fields(slurp("/proc/self/stat")));
	SHOW(fields(slurp("/proc/self/statm")));
}

SECTION("comm: renames, cuts, and only for the own process")
{
	MUST(prctl(PR_SET_NAME, "one"));
	TEXT(slurp("/proc/self/comm"));
	RET(write_to("/proc/self/comm", "a name that is far too long"));
	TEXT(slurp("/proc/self/comm"));
	RET(write_to("/proc/self/comm", "line\n"));
	TEXT(slurp("/proc/self/comm"));
	char path[64];
	sprintf(path, "/proc/%d/comm", getppid());
	ERR(write_to(path, "x"));
}

SECTION("the text is made at the first read and kept until the start is read again")
{
	char text[64];
	int fd = MUST(open("/proc/self/comm", O_RDONLY));

	MUST(prctl(PR_SET_NAME, "before"));
	RET(read(fd, text, 3));
	MUST(prctl(PR_SET_NAME, "after"));
	RET(read(fd, text, sizeof text));
	RET(read(fd, text, sizeof text));
	RET(lseek(fd, 0, SEEK_SET));
	RET(read(fd, text, sizeof text));
	RET(pread(fd, text, 2, 1));
	SHOW(text[0]);
	ERR(lseek(fd, 0, SEEK_END));
	ERR(lseek(fd, -1, SEEK_SET));
	RET(lseek(fd, 1000, SEEK_SET));
	RET(read(fd, text, sizeof text));
}

SECTION("stat(2) of files in /proc")
{
	static const char *const paths[] = { "/proc", "/proc/self/", "/proc/self/task", "/proc/stat", "/proc/self/stat",
		"/proc/self/exe", "/proc/self/fdinfo", "/proc/self/ns", "/proc/self/environ", "/proc/sys/kernel/ostype" };
	struct stat st;

	for (size_t i = 0; i < LENGTH(paths); i++) {
		MUST(lstat(paths[i], &st));
		say("%s mode %o size %ld blksize %ld blocks %ld\n", paths[i], st.st_mode, (long)st.st_size, (long)st.st_blksize,
			(long)st.st_blocks);
	}
}

SECTION("nothing can be made, removed or changed in mode")
{
	ERR(open("/proc/new", O_CREAT | O_WRONLY, 0644));
	ERR(open("/proc/self/new", O_CREAT | O_WRONLY, 0644));
	ERR(mkdir("/proc/new", 0755));
	ERR(symlink("a", "/proc/new"));
	ERR(unlink("/proc/version"));
	ERR(rmdir("/proc/self/task"));
	ERR(rename("/proc/version", "/proc/other"));
	ERR(link("/proc/version", "/proc/other"));
	ERR(chmod("/proc/self/comm", 0777));
	ERR(truncate("/proc/self/comm", 0));
	ERR(open("/proc/self/comm/x", O_RDONLY));
	ERR(open("/proc/sys/kernel/ostype", O_WRONLY));
	ERR(open("/proc/01", O_RDONLY));
	ERR(open("/proc/self/fd/01", O_RDONLY));
	ERR(open("/proc/self/task/1x", O_RDONLY));
}

SECTION("fd: links lead to the files themselves")
{
	char path[64], target[256];
	struct stat st;
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_APPEND, 0644));

	MUST(write(fd, "hello", 5));
	MUST(unlink("f"));
	sprintf(path, "/proc/self/fd/%d", fd);
	ssize_t length = MUST(readlink(path, target, sizeof target - 1));
	target[length] = 0;
	SHOW(!strcmp(target + length - 12, "/f (deleted)"));
	MUST(lstat(path, &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	int again = MUST(open(path, O_RDONLY));
	SHOW(lseek(again, 0, SEEK_END));
	SHOW(again != fd);
	MUST(close(fd));
	ERR(open(path, O_RDONLY));
	int ends[2];
	MUST(pipe(ends));
	sprintf(path, "/proc/self/fd/%d", ends[0]);
	MUST(lstat(path, &st));
	HEX(st.st_mode);
	int writer = MUST(open(path, O_WRONLY));
	MUST(write(writer, "x", 1));
	RET(read(ends[0], target, 10));
	MUST(stat("/proc/self/fd", &st));
	SHOW(st.st_size > 3);
}

SECTION("fdinfo: position, flags, and what the file adds")
{
	char path[64];
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));

	MUST(write(fd, "hello", 5));
	sprintf(path, "/proc/self/fdinfo/%d", fd);
	char *text = slurp(path);
	*strstr(text, "mnt_id") = 0;
	TEXT(text);
}

SECTION("cwd, root and exe")
{
	char target[4096], here[4096];
	ssize_t length = MUST(readlink("/proc/self/cwd", target, sizeof target - 1));

	target[length] = 0;
	MUST(getcwd(here, sizeof here) ? 0 : -1);
	SHOW(!strcmp(target, here));
	RET(readlink("/proc/self/root", target, sizeof target));
	MUST(mkdir("gone", 0755));
	MUST(chdir("gone"));
	MUST(rmdir("../gone"));
	length = MUST(readlink("/proc/self/cwd", target, sizeof target - 1));
	target[length] = 0;
	SHOW(!strcmp(target + length - 15, "/gone (deleted)"));
	SHOW(access("/proc/self/exe", X_OK));
	ERR(open("/proc/self/exe", O_WRONLY));
}

SECTION("mem: reads and writes where the process could and where it could not")
{
	int fd = MUST(open("/proc/self/mem", O_RDWR));
	char text[] = "abcdef", copy[8] = "";
	char *fixed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	RET(pread(fd, copy, 3, (off_t)(intptr_t)text));
	TEXT(copy);
	RET(pwrite(fd, "XY", 2, (off_t)(intptr_t)text));
	TEXT(text);
	RET(pwrite(fd, "ro", 2, (off_t)(intptr_t)fixed));
	SHOW(fixed[0]);
	ERR(pread(fd, copy, 3, 16));
	ERR(lseek(fd, 0, SEEK_END));
}

SECTION("maps: the line of a mapping")
{
	int fd = MUST(open("name with\nbreak", O_RDWR | O_CREAT, 0644));
	char range[64], *line;

	MUST(ftruncate(fd, 12288));
	char *at = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 4096);
	sprintf(range, "%lx-%lx ", (long)at, (long)at + 8192);
	line = strstr(slurp("/proc/self/maps"), range);
	SHOW(line != NULL);
	char perms[8], name[256];
	unsigned long offset;
	SHOW(sscanf(line, "%*s %7s %lx %*s %*d %255[^\n]", perms, &offset, name));
	TEXT(perms);
	HEX(offset);
	TEXT(strrchr(name, '/'));
	SHOW(strchr(line, '/') - line);
}

SECTION("smaps: fields")
{
	char *text = strchr(slurp("/proc/self/smaps"), '\n') + 1;

	*strstr(text, "VmFlags:") = 0;
	show_keys(text);
	show_keys(strchr(slurp("/proc/self/smaps_rollup"), '\n') + 1);
}

SECTION("a zombie, and a process that is gone")
{
	char path[64];
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	await_state(pid, 'Z');
	sprintf(path, "/proc/%d", pid);
	int dir = MUST(open(path, O_RDONLY | O_DIRECTORY));
	char text[256] = "";
	int stat_fd = MUST(openat(dir, "stat", O_RDONLY));
	int early = MUST(openat(dir, "comm", O_RDONLY));
	MUST(read(early, text, 4));
	SHOW(openat(dir, "maps", O_RDONLY) >= 0);
	ERR(openat(dir, "environ", O_RDONLY));
	ERR(openat(dir, "mem", O_RDONLY));
	ERR(readlinkat(dir, "exe", text, sizeof text));
	ERR(readlinkat(dir, "cwd", text, sizeof text));
	sprintf(path, "/proc/%d/cmdline", pid);
	TEXT(slurp(path));
	sprintf(path, "/proc/%d/statm", pid);
	TEXT(slurp(path));
	MUST(waitpid(pid, NULL, 0));
	ERR(read(stat_fd, text, sizeof text));
	ERR(openat(dir, "status", O_RDONLY));
	ERR(getdents64(dir, text, sizeof text));
	sprintf(path, "/proc/%d", pid);
	ERR(open(path, O_RDONLY));
}

SECTION("settings that a process writes about itself")
{
	RET(write_to("/proc/self/oom_score_adj", "500"));
	TEXT(slurp("/proc/self/oom_score_adj"));
	TEXT(slurp("/proc/self/oom_adj"));
	ERR(write_to("/proc/self/oom_score_adj", "1001"));
	ERR(write_to("/proc/self/oom_score_adj", "text"));
	RET(write_to("/proc/self/coredump_filter", "0x7f"));
	TEXT(slurp("/proc/self/coredump_filter"));
	RET(write_to("/proc/self/timerslack_ns", "1234"));
	TEXT(slurp("/proc/self/timerslack_ns"));
	RET(write_to("/proc/self/timerslack_ns", "0"));
	TEXT(slurp("/proc/self/timerslack_ns"));
	ERR(write_to("/proc/self/clear_refs", "9"));
	ERR(write_to("/proc/self/uid_map", "0 0 1"));
	ERR(write_to("/proc/self/setgroups", "deny"));
	ERR(write_to("/proc/self/loginuid", "text"));
	TEXT(slurp("/proc/self/uid_map"));
	TEXT(slurp("/proc/self/setgroups"));
	TEXT(slurp("/proc/self/personality"));
}

SECTION("user namespaces: what may be written into the maps")
{
	if (MUST(geteuid()) == 0)
		MUST(setresuid(1000, 1000, 1000));
	MUST(prctl(PR_SET_DUMPABLE, 1));
	MUST(unshare(CLONE_NEWUSER));
	TEXT(slurp("/proc/self/uid_map"));
	SHOW(getuid());
	ERR(write_to("/proc/self/uid_map", "0 0 1"));
	ERR(write_to("/proc/self/uid_map", "0 1000 2"));
	ERR(write_to("/proc/self/uid_map", "0 1000"));
	ERR(write_to("/proc/self/uid_map", "0 1000 0"));
	ERR(write_to("/proc/self/uid_map", ""));
	RET(write_to("/proc/self/uid_map", "0 1000 1\n"));
	ERR(write_to("/proc/self/uid_map", "0 1000 1"));
	TEXT(slurp("/proc/self/uid_map"));
	SHOW(getuid());
	ERR(write_to("/proc/self/setgroups", "other"));
	RET(write_to("/proc/self/setgroups", "deny"));
	ERR(write_to("/proc/self/setgroups", "allow"));
	TEXT(slurp("/proc/self/setgroups"));
}

static void show_login(void)
{
	char uid[32];

	strcpy(uid, slurp("/proc/self/loginuid"));
	say("loginuid %s, a session: %d\n", uid, strcmp(slurp("/proc/self/sessionid"), "4294967295") != 0);
}

SECTION("loginuid: is set once, begins a session, is inherited")
{
	int fd;

	need_root();
	MUST(fd = open("/proc/self/loginuid", O_RDWR));
	RET(pwrite(fd, "4294967295", 10, 0));
	show_login();
	RET(pwrite(fd, "x", 1, 0));
	RET(pwrite(fd, " 5", 2, 0));
	RET(pwrite(fd, "4294967296", 10, 0));
	RET(pwrite(fd, "1000\n", 5, 0));
	show_login();
	pid_t pid = fork();
	if (pid == 0) {
		show_login();
		RET(pwrite(fd, "5", 1, 0));
		_exit(0);
	}
	STATUS(end_of(pid));
	RET(pwrite(fd, "1001", 4, 0));
	show_login();
}

SECTION("what another user's process shows")
{
	int ready[2], hold[2];
	char path[64], text[16];

	MUST(pipe(ready));
	MUST(pipe(hold));
	pid_t pid = fork();
	if (pid == 0) {
		write(ready[1], "x", 1);
		read(hold[0], text, 1);
		_exit(0);
	}
	read(ready[0], text, 1);
	MUST(setresuid(1000, 1000, 1000));
	static const char *const names[] = { "stat", "status", "cmdline", "comm", "maps", "environ", "auxv", "mem", "io", "limits", "fd",
		"fdinfo", "ns", "task", "mountinfo", "syscall", "stack", "personality", "cwd", "exe", "smaps" };
	for (size_t i = 0; i < LENGTH(names); i++) {
		sprintf(path, "/proc/%d/%s", pid, names[i]);
		int fd = open(path, O_RDONLY);
		int error = fd < 0 ? errno : 0;
		int result = fd < 0 ? 0 : read(fd, text, 1);
		say("%s: open %s read %s\n", names[i], fd < 0 ? error_name(error) : "ok", result < 0 ? error_name(errno) : "ok");
	}
	sprintf(path, "/proc/%d/ns/pid", pid);
	ERR(readlink(path, text, sizeof text));
	sprintf(path, "/proc/%d/stat", pid);
	char *line = slurp(path), *save;
	int number = 0;
	for (char *word = strtok_r(strrchr(line, ')') + 2, " \n", &save); word; word = strtok_r(NULL, " \n", &save), number++)
		if (number == 23 || number == 24 || number == 25 || number == 42)
			say("field %d = %s\n", number + 3, word);
}

SECTION("task: the threads, and their own files")
{
	char path[64], name[32];
	struct stat st;

	MUST(stat("/proc/self/task", &st));
	SHOW(st.st_nlink);
	sprintf(path, "/proc/self/task/%d/comm", getpid());
	MUST(prctl(PR_SET_NAME, "main"));
	TEXT(slurp(path));
	sprintf(path, "/proc/self/task/%d/children", getpid());
	TEXT(slurp(path));
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	sprintf(name, "%d ", pid);
	SHOW(!strcmp(slurp(path), name));
	MUST(kill(pid, SIGKILL));
	MUST(waitpid(pid, NULL, 0));
	sprintf(path, "/proc/self/task/%d", getppid());
	ERR(open(path, O_RDONLY));
}

SECTION("namespaces: links that can be held")
{
	struct stat a, b;
	int fd = MUST(open("/proc/self/ns/uts", O_RDONLY));

	MUST(fstat(fd, &a));
	MUST(stat("/proc/self/ns/uts", &b));
	SHOW(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	HEX(a.st_mode);
	char text[64];
	ssize_t length = MUST(readlink("/proc/self/ns/uts", text, sizeof text - 1));
	text[length] = 0;
	char expected[64];
	sprintf(expected, "uts:[%lu]", (unsigned long)a.st_ino);
	SHOW(!strcmp(text, expected));
	ERR(read(fd, text, 1));
	ERR(open("/proc/self/ns/uts", O_RDWR));
}

SECTION("the system's files have the lines that programs look for")
{
	static const char *const pairs[][2] = { { "/proc/meminfo", "MemAvailable:" }, { "/proc/stat", "btime " }, { "/proc/stat", "cpu0 " },
		{ "/proc/stat", "procs_running " }, { "/proc/cpuinfo", "model name" }, { "/proc/filesystems", "nodev\ttmpfs" },
		{ "/proc/version", "Linux version " }, { "/proc/mounts", " / " }, { "/proc/devices", "136 pts" },
		{ "/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority" }, { "/proc/partitions", "major minor  #blocks  name" },
		{ "/proc/net/unix", "Num       RefCount Protocol Flags    Type St Inode Path" },
		{ "/proc/net/tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode" },
		{ "/proc/sysvipc/shm", "       key      shmid perms" } };

	for (size_t i = 0; i < LENGTH(pairs); i++) {
		char *text = slurp(pairs[i][0]);
		say("%s %s: %s\n", pairs[i][0], pairs[i][1], text && strstr(text, pairs[i][1]) ? "there" : "missing");
	}
	SHOW(fields(slurp("/proc/loadavg")));
	SHOW(fields(slurp("/proc/uptime")));
	SHOW(sysconf(_SC_NPROCESSORS_ONLN) == sysconf(_SC_NPROCESSORS_CONF));
}

SECTION("sysctls")
{
	static const char *const names[] = { "kernel/ostype", "kernel/cap_last_cap", "kernel/ngroups_max", "kernel/overflowuid",
		"kernel/randomize_va_space", "kernel/msgmax", "kernel/shmmni", "kernel/sem", "kernel/random/poolsize", "vm/overcommit_memory",
		"vm/max_map_count", "vm/mmap_min_addr", "vm/swappiness", "fs/pipe-max-size", "fs/nr_open", "fs/mqueue/msg_max",
		"fs/inotify/max_user_instances", "net/core/somaxconn", "net/unix/max_dgram_qlen" };
	char path[128], first[64];

	for (size_t i = 0; i < LENGTH(names); i++) {
		sprintf(path, "/proc/sys/%s", names[i]);
		char *text = slurp(path);
		say("%s = %s", names[i], text ? text : "missing\n");
	}
	strcpy(first, slurp("/proc/sys/kernel/random/uuid"));
	SHOW(strlen(first));
	SHOW(!strcmp(first, slurp("/proc/sys/kernel/random/uuid")));
	strcpy(first, slurp("/proc/sys/kernel/random/boot_id"));
	SHOW(!strcmp(first, slurp("/proc/sys/kernel/random/boot_id")));
}

SECTION("devices: null, zero, full, random, tty")
{
	char text[16] = "xxxxxxx";
	struct stat st;
	int fd = MUST(open("/dev/null", O_RDWR));

	RET(read(fd, text, 4));
	RET(write(fd, (void *)8, 4));
	RET(lseek(fd, 100, SEEK_SET));
	RET(pread(fd, text, 1, 5));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
	fd = MUST(open("/dev/zero", O_RDWR));
	RET(read(fd, text, 4));
	SHOW(text[0] == 0 && text[3] == 0 && text[4] == 'x');
	char *zero = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SHOW(zero[4096]);
	zero[0] = 1;
	char *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fork() == 0) {
		both[0] = 9;
		_exit(0);
	}
	wait(NULL);
	SHOW(both[0]);
	fd = MUST(open("/dev/full", O_RDWR));
	ERR(write(fd, "x", 1));
	RET(read(fd, text, 4));
	fd = MUST(open("/dev/urandom", O_RDWR));
	RET(read(fd, text, 16));
	RET(write(fd, "x", 1));
	RET(lseek(fd, 3, SEEK_SET));
	RET(read(fd, text, 0));
	ERR(read(fd, (void *)8, 4));
	ERR(open("/dev/tty", O_RDWR));
	MUST(stat("/dev/null", &st));
	SHOW(major(st.st_rdev) * 1000 + minor(st.st_rdev));
	HEX(st.st_mode);
}
