/* FUSE: file systems that a process serves. */
#include "fuse-server.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static void put(const char *path, const char *text)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	RET(write(fd, text, strlen(text)));
	ERR(close(fd));
}

/* Opens and closes again: 0 or -1. */
static int try_open(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	return fd < 0 ? -1 : close(fd);
}

static void show(const char *path)
{
	char text[256] = "";
	int fd = MUST(open(path, O_RDONLY));

	RET(read(fd, text, sizeof text - 1));
	TEXT(text);
	close(fd);
}

SECTION("fuse: the device before it is mounted")
{
	char buffer[65536];

	need_fuse();
	int fd = MUST(open("/dev/fuse", O_RDWR));
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT, 0 };
	RET(poll(&poll_fd, 1, 0));
	HEX(poll_fd.revents);
	ERR(read(fd, buffer, sizeof buffer));
	ERR(write(fd, buffer, 16));
	ERR(lseek(fd, 0, SEEK_SET));
}

SECTION("fuse: mount options")
{
	need_fuse();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	int fd = MUST(open("/dev/fuse", O_RDWR));
	int other = MUST(open("/dev/null", O_RDWR));
	const char *forms[] = { "", "fd=%d", "fd=%d,rootmode=40755", "fd=%d,rootmode=40755,user_id=0",
		"fd=%d,rootmode=40755,user_id=0,group_id=0,what", "fd=%d,rootmode=40755,user_id=x,group_id=0",
		"fd=%d,rootmode=49,user_id=0,group_id=0" };

	for (unsigned i = 0; i < LENGTH(forms); i++) {
		char text[256];

		snprintf(text, sizeof text, forms[i], fd);
		say("%s\n", forms[i]);
		ERR(mount("s", "m", "fuse", 0, text));
	}
	char text[256];
	snprintf(text, sizeof text, "fd=%d,rootmode=40755,user_id=0,group_id=0", other);
	ERR(mount("s", "m", "fuse", 0, text));
	ERR(mount("s", "m", "fuse", 0, "fd=999,rootmode=40755,user_id=0,group_id=0"));
	snprintf(text, sizeof text, "fd=%d,rootmode=40755,user_id=0,group_id=0,max_read=8192,allow_other", fd);
	ERR(mount("s", "m", "fuse", 0, text));
	ERR(mount("s", "m", "fuse", 0, text));
	ERR(mount("s", "m", "tmpfs.x", 0, NULL));
	FILE *mounts = fopen("/proc/self/mounts", "r");
	char line[1024];
	while (fgets(line, sizeof line, mounts))
		if (strstr(line, "max_read"))
			say("%s", strstr(line, " fuse"));
}

SECTION("fuse: files")
{
	struct stat st;
	char text[64] = "";

	need_fuse();
	pid_t pid = start("");
	put("m/a", "hello");
	show("m/a");
	MUST(stat("m/a", &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	SHOW(st.st_ino);
	SHOW(st.st_nlink);
	SHOW(st.st_ctime);
	ERR(open("m/a", O_WRONLY | O_CREAT | O_EXCL, 0644));
	ERR(open("m/none", O_RDONLY));
	ERR(open("m/a/b", O_RDONLY));
	int fd = MUST(open("m/a", O_RDWR | O_APPEND));
	RET(write(fd, " world", 6));
	RET(pread(fd, text, sizeof text, 3));
	TEXT(text);
	RET(lseek(fd, 0, SEEK_END));
	RET(lseek(fd, 0, SEEK_DATA));
	RET(lseek(fd, 0, SEEK_HOLE));
	ERR(ftruncate(fd, 4));
	MUST(fstat(fd, &st));
	SHOW(st.st_size);
	ERR(fsync(fd));
	ERR(fallocate(fd, 0, 0, 100));
	ERR(close(fd));
	ERR(truncate("m/a", 2));
	show("m/a");
	ERR(unlink("m/a"));
	ERR(stat("m/a", &st));
	ERR(unlink("m/a"));
	finish(pid);
}

SECTION("fuse: large reads and writes in pieces")
{
	static char data[50000], back[50001];

	need_fuse();
	pid_t pid = start("");
	shared->open_flags = FOPEN_DIRECT_IO;
	for (unsigned i = 0; i < sizeof data; i++)
		data[i] = i * 7;
	int fd = MUST(open("m/a", O_RDWR | O_CREAT, 0644));
	RET(write(fd, data, sizeof data));
	RET(pread(fd, back, sizeof back, 0));
	SHOW(memcmp(data, back, sizeof data));
	RET(pwrite(fd, "x", 1, 60000));
	RET(pread(fd, back, sizeof back, 50000));
	SHOW(back[9999] == 0 && back[10000] == 'x');
	struct iovec iov[] = { { "ab", 2 }, { "cd", 2 } };
	RET(pwritev(fd, iov, 2, 0));
	SHOW(shared->write_size);
	RET(pread(fd, back, 4, 0));
	SHOW(shared->read_size);
	close(fd);
	finish(pid);
}

SECTION("fuse: names")
{
	struct stat st;
	char text[64] = "";

	need_fuse();
	pid_t pid = start("");
	ERR(mkdir("m/d", 0750));
	ERR(mkdir("m/d", 0750));
	put("m/d/f", "one");
	ERR(rmdir("m/d"));
	ERR(rename("m/d/f", "m/g"));
	ERR(stat("m/d/f", &st));
	show("m/g");
	put("m/h", "two");
	ERR(rename("m/h", "m/g"));
	show("m/g");
	put("m/h", "three");
	ERR(syscall(SYS_renameat2, AT_FDCWD, "m/h", AT_FDCWD, "m/g", RENAME_NOREPLACE));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "m/h", AT_FDCWD, "m/g", RENAME_EXCHANGE));
	show("m/g");
	ERR(link("m/g", "m/l"));
	MUST(stat("m/l", &st));
	SHOW(st.st_nlink);
	show("m/l");
	ERR(symlink("g", "m/s"));
	RET(readlink("m/s", text, sizeof text));
	TEXT(text);
	show("m/s");
	ERR(mkfifo("m/p", 0600));
	MUST(stat("m/p", &st));
	SHOW(S_ISFIFO(st.st_mode));
	ERR(rmdir("m/d"));
	ERR(rmdir("m/g"));
	ERR(unlink("m/d"));
	ERR(rename("m/g", "g"));
	ERR(link("m/g", "g"));
	finish(pid);
}

SECTION("fuse: directories are listed")
{
	need_fuse();
	pid_t pid = start("");
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof name, "m/f%d", i);
		close(MUST(open(name, O_WRONLY | O_CREAT, 0644)));
	}
	mkdir("m/d", 0755);
	DIR *dir = opendir("m");
	struct dirent *entry;
	long third = 0;
	int n = 0;
	while ((entry = readdir(dir))) {
		if (++n == 3)
			third = telldir(dir);
		if (n <= 4 || entry->d_type == DT_DIR)
			say("%s %d %ld\n", entry->d_name, entry->d_type, (long)entry->d_ino);
	}
	SHOW(n);
	seekdir(dir, third);
	say("%s\n", readdir(dir)->d_name);
	rewinddir(dir);
	say("%s\n", readdir(dir)->d_name);
	closedir(dir);
	char small[24];
	int fd = MUST(open("m", O_RDONLY | O_DIRECTORY));
	RET(syscall(SYS_getdents64, fd, small, 24));
	RET(syscall(SYS_getdents64, fd, small, 10));
	close(fd);
	finish(pid);
}

SECTION("fuse: how long names and attributes are believed")
{
	struct stat st;

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	MUST(stat("m/a", &st));
	unsigned lookups = shared->count[FUSE_LOOKUP], getattrs = shared->count[FUSE_GETATTR];
	for (int i = 0; i < 5; i++)
		MUST(stat("m/a", &st));
	SHOW(shared->count[FUSE_LOOKUP] - lookups);
	SHOW(shared->count[FUSE_GETATTR] - getattrs);
	shared->name_valid = shared->attr_valid = 0;
	put("m/b", "x");
	lookups = shared->count[FUSE_LOOKUP];
	for (int i = 0; i < 5; i++)
		MUST(stat("m/b", &st));
	SHOW(shared->count[FUSE_LOOKUP] - lookups);
	lookups = shared->count[FUSE_LOOKUP];
	for (int i = 0; i < 5; i++)
		ERR(stat("m/none", &st));
	SHOW(shared->count[FUSE_LOOKUP] - lookups);
	finish(pid);
}

SECTION("fuse: a directory that is looked up anew stays the working directory")
{
	char text[256];

	need_fuse();
	pid_t pid = start("");
	shared->name_valid = 0;
	MUST(mkdir("m/d", 0755));
	MUST(chdir("m/d"));
	ERR(access("../d", F_OK));
	char *cwd = getcwd(text, sizeof text);
	SHOW(cwd != NULL && strcmp(cwd + strlen(cwd) - 4, "/m/d") == 0);
	MUST(chdir("../.."));
	finish(pid);
}

SECTION("fuse: who may")
{
	struct stat st;

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	ERR(chmod("m/a", 0));
	show("m/a");
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(setresgid(1000, 1000, 1000));
		MUST(setresuid(1000, 1000, 1000));
		ERR(stat("m", &st));
		ERR(stat("m/a", &st));
		ERR(open("m/a", O_RDONLY));
		ERR(chdir("m"));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	finish(pid);
}

SECTION("fuse: allow_other, with and without default_permissions")
{
	struct stat st;

	need_fuse();
	pid_t pid = start(",allow_other,default_permissions");
	put("m/a", "x");
	put("m/b", "y");
	ERR(chmod("m/a", 0600));
	ERR(chown("m/b", 1000, 1000));
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(setresgid(1000, 1000, 1000));
		MUST(setresuid(1000, 1000, 1000));
		ERR(stat("m/a", &st));
		ERR(open("m/a", O_RDONLY));
		ERR(open("m/b", O_RDWR));
		SHOW(shared->uid);
		SHOW(shared->gid);
		SHOW(shared->pid == getpid());
		ERR(access("m/a", R_OK));
		ERR(unlink("m/a"));
		ERR(mkdir("m/d", 0755));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	finish(pid);
}

SECTION("fuse: extended attributes")
{
	char text[64] = "";

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	ERR(getxattr("m/a", "user.x", text, sizeof text));
	ERR(setxattr("m/a", "user.x", "value", 5, 0));
	RET(getxattr("m/a", "user.x", NULL, 0));
	RET(getxattr("m/a", "user.x", text, sizeof text));
	TEXT(text);
	ERR(getxattr("m/a", "user.x", text, 2));
	RET(listxattr("m/a", NULL, 0));
	RET(listxattr("m/a", text, sizeof text));
	ERR(removexattr("m/a", "user.x"));
	RET(listxattr("m/a", text, sizeof text));
	shared->fail_opcode = FUSE_SETXATTR;
	shared->fail_error = ENOSYS;
	ERR(setxattr("m/a", "user.x", "value", 5, 0));
	finish(pid);
}

SECTION("fuse: statfs")
{
	struct statfs fs;

	need_fuse();
	pid_t pid = start("");
	MUST(statfs("m", &fs));
	HEX(fs.f_type);
	SHOW(fs.f_blocks);
	SHOW(fs.f_bavail);
	SHOW(fs.f_bsize);
	SHOW(fs.f_frsize);
	SHOW(fs.f_namelen);
	finish(pid);
}

SECTION("fuse: errors of the server are the call's")
{
	static const unsigned opcodes[] = { FUSE_LOOKUP, FUSE_OPEN, FUSE_CREATE, FUSE_MKDIR };

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	shared->name_valid = 0;
	for (unsigned i = 0; i < LENGTH(opcodes); i++) {
		shared->fail_opcode = opcodes[i];
		shared->fail_error = EDQUOT;
		ERR(try_open("m/a", O_RDONLY));
		ERR(try_open("m/new", O_RDONLY | O_CREAT));
		ERR(mkdir("m/dir", 0755));
		unlink("m/new");
		rmdir("m/dir");
	}
	shared->fail_opcode = FUSE_FLUSH;
	shared->fail_error = ENOSPC;
	int fd = MUST(open("m/a", O_RDONLY));
	ERR(close(fd));
	ERR(close(fd));
	shared->fail_opcode = FUSE_CREATE;
	shared->fail_error = ENOSYS;
	put("m/made", "by MKNOD and OPEN");
	show("m/made");
	SHOW(shared->count[FUSE_MKNOD]);
	finish(pid);
}

static void nothing(int signo)
{
	(void)signo;
}

SECTION("fuse: a signal interrupts, with the server's consent")
{
	char text[16];
	struct sigaction action = { .sa_handler = nothing };

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	shared->open_flags = FOPEN_DIRECT_IO;
	shared->hold_opcode = FUSE_READ;
	pid_t reader = MUST(fork());
	if (reader == 0) {
		sigaction(SIGUSR1, &action, NULL);
		int fd = MUST(open("m/a", O_RDONLY));
		ERR(read(fd, text, sizeof text));
		_exit(0);
	}
	while (!shared->held)
		sched_yield();
	kill(reader, SIGUSR1);
	waitpid(reader, NULL, 0);
	SHOW(shared->count[FUSE_INTERRUPT]);
	shared->hold_opcode = 0;
	finish(pid);
}

SECTION("fuse: the server dies")
{
	char text[16];
	int status;

	need_fuse();
	pid_t pid = start("");
	put("m/a", "x");
	int fd = MUST(open("m/a", O_RDONLY));
	shared->open_flags = FOPEN_DIRECT_IO;
	shared->hold_opcode = FUSE_READ;
	pid_t reader = MUST(fork());
	if (reader == 0) {
		int own = MUST(open("m/a", O_RDONLY));
		ERR(read(own, text, sizeof text));
		_exit(0);
	}
	while (!shared->held)
		sched_yield();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	waitpid(reader, NULL, 0);
	ERR(open("m/a", O_RDONLY));
	ERR(mkdir("m/d", 0755));
	ERR(close(fd));
	ERR(umount("m"));
}

SECTION("fuse: unmounting while in use")
{
	char text[16] = "";

	need_fuse();
	pid_t pid = start("");
	put("m/a", "data");
	int fd = MUST(open("m/a", O_RDONLY));
	ERR(umount("m"));
	ERR(umount2("m", MNT_DETACH));
	RET(read(fd, text, sizeof text));
	TEXT(text);
	ERR(open("m/a", O_RDONLY));
	close(fd);
	int status;
	MUST(waitpid(pid, &status, 0));
	STATUS(status);
}

SECTION("fuse: an unlinked file that is open")
{
	char text[16] = "";
	struct stat st;

	need_fuse();
	pid_t pid = start("");
	put("m/a", "data");
	int fd = MUST(open("m/a", O_RDWR));
	ERR(unlink("m/a"));
	RET(write(fd, "D", 1));
	RET(pread(fd, text, sizeof text, 0));
	TEXT(text);
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	ERR(close(fd));
	finish(pid);
}

SECTION("fuse: a private mapping, and one to share that only reads")
{
	need_fuse();
	pid_t pid = start("");
	put("m/a", "mapped");
	int fd = MUST(open("m/a", O_RDONLY));
	char *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SHOW(private != MAP_FAILED);
	TEXT(private);
	private[0] = 'M';
	TEXT(private);
	char *same = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	SHOW(same != MAP_FAILED);
	TEXT(same);
	munmap(private, 4096);
	munmap(same, 4096);
	close(fd);
	finish(pid);
}

SECTION("fuse: two processes make the same name")
{
	need_fuse();
	pid_t pid = start("");
	shared->name_valid = 0;
	int made = 0;
	for (int round = 0; round < 10; round++) {
		pid_t children[4];
		char name[16];

		snprintf(name, sizeof name, "m/r%d", round);
		for (unsigned i = 0; i < LENGTH(children); i++) {
			children[i] = MUST(fork());
			if (children[i] == 0)
				_exit(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644) >= 0 ? 0 : errno == EEXIST ? 1 : 2);
		}
		for (unsigned i = 0; i < LENGTH(children); i++) {
			int status;

			waitpid(children[i], &status, 0);
			if (WEXITSTATUS(status) == 2)
				say("another error\n");
			made += WEXITSTATUS(status) == 0;
		}
	}
	SHOW(made);
	finish(pid);
}

SECTION("fuse: processes append to one file")
{
	char text[300] = "";

	need_fuse();
	pid_t pid = start("");
	shared->attr_valid = 0;
	put("m/log", "");
	pid_t children[4];
	for (unsigned i = 0; i < LENGTH(children); i++) {
		children[i] = MUST(fork());
		if (children[i] == 0) {
			int fd = open("m/log", O_WRONLY | O_APPEND);

			for (int k = 0; k < 10; k++)
				if (write(fd, "12345", 5) != 5)
					_exit(1);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < LENGTH(children); i++)
		waitpid(children[i], NULL, 0);
	int fd = MUST(open("m/log", O_RDONLY));
	RET(read(fd, text, sizeof text));
	SHOW(strspn(text, "12345"));
	close(fd);
	finish(pid);
}

SECTION("fuse: writes that are to be on the disk")
{
	char text[32] = "";

	need_fuse();
	pid_t pid = start("");
	shared->attr_valid = 0;
	put("m/a", "");
	unsigned writes = shared->count[FUSE_WRITE], syncs = shared->count[FUSE_FSYNC];
	int fd = MUST(open("m/a", O_RDWR | O_APPEND | O_SYNC));
	RET(write(fd, "one ", 4));
	RET(write(fd, "two ", 4));
	close(fd);
	fd = MUST(open("m/a", O_RDWR | O_DSYNC));
	RET(write(fd, "ONE ", 4));
	RET(lseek(fd, 0, SEEK_CUR));
	RET(pwrite(fd, "T", 1, 4));
	close(fd);
	fd = MUST(open("m/a", O_RDWR));
	MUST(lseek(fd, 5, SEEK_SET));
	RET(pwritev2(fd, &(struct iovec){ "W", 1 }, 1, -1, RWF_SYNC));
	RET(pwritev2(fd, &(struct iovec){ "O", 1 }, 1, -1, RWF_DSYNC));
	RET(lseek(fd, 0, SEEK_CUR));
	RET(pwritev2(fd, &(struct iovec){ "end", 3 }, 1, 0, RWF_APPEND | RWF_SYNC));
	close(fd);
	SHOW(shared->count[FUSE_WRITE] - writes);
	SHOW(shared->count[FUSE_FSYNC] - syncs);
	fd = MUST(open("m/a", O_RDONLY));
	RET(read(fd, text, sizeof text));
	TEXT(text);
	close(fd);
	finish(pid);
}

SECTION("fuse: from and to pipes and other files")
{
	static char data[60000], back[60000];
	int pipes[2];

	need_fuse();
	pid_t pid = start("");
	MUST(pipe(pipes));
	put("m/a", "spliced");
	int fd = MUST(open("m/a", O_RDWR));
	RET(splice(fd, NULL, pipes[1], NULL, 100, 0));
	RET(splice(pipes[0], NULL, fd, NULL, 100, 0));
	RET(read(pipes[0], back, 0));
	RET(pread(fd, back, sizeof back, 0));
	SHOW(memcmp(back, "splicedspliced", 14));
	memset(data, 'd', sizeof data);
	int plain = MUST(open("plain", O_RDWR | O_CREAT, 0644));
	MUST(write(plain, data, sizeof data));
	lseek(plain, 0, SEEK_SET);
	lseek(fd, 0, SEEK_SET);
	long total = 0, n;
	while ((n = syscall(SYS_sendfile, fd, plain, NULL, sizeof data)) > 0)
		total += n;
	SHOW(total);
	RET(pread(fd, back, sizeof data - 8, 8));
	SHOW(memcmp(back, data, 50000));
	loff_t from = 0;
	int copy = MUST(open("m/copy", O_RDWR | O_CREAT, 0644));
	total = 0;
	while ((n = syscall(SYS_copy_file_range, fd, &from, copy, NULL, 65536, 0)) > 0)
		total += n;
	SHOW(total);
	close(copy);
	close(fd);
	finish(pid);
}

SECTION("fuse: the control file system ends a connection")
{
	char path[64];
	struct stat st;
	int status;

	need_fuse();
	pid_t pid = start("");
	MUST(mkdir("c", 0755));
	MUST(mount("c", "c", "fusectl", 0, NULL));
	MUST(stat("m", &st));
	snprintf(path, sizeof path, "c/%u/waiting", minor(st.st_dev));
	show(path);
	snprintf(path, sizeof path, "c/%u/abort", minor(st.st_dev));
	int fd = MUST(open(path, O_WRONLY));
	RET(write(fd, "1", 1));
	close(fd);
	ERR(mkdir("m/x", 0755));
	ERR(umount("c"));
	ERR(umount("m"));
	MUST(waitpid(pid, &status, 0));
	STATUS(status);
}

SECTION("fuse: a directory that is listed with its entries' attributes needs no lookups")
{
	need_fuse();
	more_init_flags = FUSE_DO_READDIRPLUS;
	pid_t pid = start("");
	MUST(mkdir("m/d", 0755));
	MUST(mkdir("m/d/e", 0755));
	put("m/d/f", "12345");
	unsigned lookups = shared->count[FUSE_LOOKUP];
	DIR *dir = opendir("m/d");
	struct dirent *entry;
	while ((entry = readdir(dir))) {
		struct stat st;

		if (*entry->d_name == '.')
			continue;
		MUST(fstatat(dirfd(dir), entry->d_name, &st, 0));
		say("%s %o %ld\n", entry->d_name, st.st_mode, (long)st.st_size);
	}
	closedir(dir);
	SHOW(shared->count[FUSE_LOOKUP] - lookups);
	SHOW(shared->count[FUSE_READDIR]);
	finish(pid);
}
