/* fanotify(7). */
#include "observe.h"
#include <sys/sendfile.h>
#include <linux/fanotify.h>
#include <sys/mount.h>

#ifndef FAN_RENAME
#define FAN_RENAME 0x10000000
#endif
#ifndef FAN_EVENT_INFO_TYPE_OLD_DFID_NAME
#define FAN_EVENT_INFO_TYPE_OLD_DFID_NAME 10
#define FAN_EVENT_INFO_TYPE_NEW_DFID_NAME 12
#endif

#define init(flags, event_flags) syscall(SYS_fanotify_init, flags, event_flags)
#define mark(fd, flags, mask, dirfd, path) syscall(SYS_fanotify_mark, fd, flags, mask, dirfd, path)

static const struct { unsigned bit; const char *name; } names[] = {
	{ FAN_ACCESS, "ACCESS" }, { FAN_MODIFY, "MODIFY" }, { FAN_ATTRIB, "ATTRIB" }, { FAN_CLOSE_WRITE, "CLOSE_WRITE" },
	{ FAN_CLOSE_NOWRITE, "CLOSE_NOWRITE" }, { FAN_OPEN, "OPEN" }, { FAN_MOVED_FROM, "MOVED_FROM" }, { FAN_MOVED_TO, "MOVED_TO" },
	{ FAN_CREATE, "CREATE" }, { FAN_DELETE, "DELETE" }, { FAN_DELETE_SELF, "DELETE_SELF" }, { FAN_MOVE_SELF, "MOVE_SELF" },
	{ FAN_OPEN_EXEC, "OPEN_EXEC" }, { FAN_Q_OVERFLOW, "Q_OVERFLOW" }, { FAN_OPEN_PERM, "OPEN_PERM" },
	{ FAN_ACCESS_PERM, "ACCESS_PERM" }, { FAN_OPEN_EXEC_PERM, "OPEN_EXEC_PERM" }, { FAN_ONDIR, "ONDIR" },
	{ FAN_RENAME, "RENAME" },
};

static pid_t actor;

/* The part of a path behind the section's directory. */
static const char *behind(const char *path)
{
	char cwd[256];

	MUST(getcwd(cwd, sizeof cwd));
	size_t length = strlen(cwd);
	return !strncmp(path, cwd, length) ? path + length : path;
}

static void show_record(const unsigned char *at)
{
	const struct fanotify_event_info_fid *info = (const void *)at;
	const struct file_handle *handle = (const void *)info->handle;
	const char *name = (const char *)handle->f_handle + handle->handle_bytes;

	if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_PIDFD) {
		say("  pidfd %d\n", ((const struct fanotify_event_info_pidfd *)at)->pidfd >= 0);
		return;
	}
	int type = info->hdr.info_type;
	bool named = type == FAN_EVENT_INFO_TYPE_DFID_NAME || type == FAN_EVENT_INFO_TYPE_OLD_DFID_NAME ||
		     type == FAN_EVENT_INFO_TYPE_NEW_DFID_NAME;
	say("  info %d %s\n", type, named ? name : "");
}

/* All events that are there. */
static void drain(int fd)
{
	static char buffer[8192] __attribute__((aligned(8)));
	ssize_t length = read(fd, buffer, sizeof buffer);

	if (length < 0) {
		say("read: %s\n", error_name(errno));
		return;
	}
	struct fanotify_event_metadata *event = (void *)buffer;
	for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) {
		char line[512] = "", link[64], target[256] = "";

		for (size_t i = 0; i < LENGTH(names); i++)
			if (event->mask & names[i].bit)
				sprintf(line + strlen(line), " %s", names[i].name);
		if (event->fd >= 0) {
			sprintf(link, "/proc/self/fd/%d", event->fd);
			MUST(readlink(link, target, sizeof target - 1));
			close(event->fd);
		}
		say("%s%s%s, by %s, version %d\n", event->fd >= 0 ? behind(target) : "no fd", line[0] ? ":" : "", line,
		    event->pid == getpid() ? "me" : event->pid == actor ? "the child" : event->pid ? "another" : "nobody", event->vers);
		for (size_t at = event->metadata_len; at < event->event_len;) {
			const unsigned char *record = (const unsigned char *)event + at;

			show_record(record);
			at += ((const struct fanotify_event_info_header *)record)->len;
		}
	}
}

static void touch(const char *path)
{
	close(MUST(open(path, O_WRONLY | O_CREAT, 0644)));
}

SECTION("events of a file, with descriptors")
{
	char text[8];

	need_root();
	write_file("f", "content");
	write_file("other", "");
	int fd = MUST(init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_CLOSE, AT_FDCWD, "f"));
	drain(fd);
	int file = MUST(open("f", O_RDWR));
	drain(fd);
	RET(read(file, text, 3));
	drain(fd);
	RET(write(file, "xy", 2));
	RET(ftruncate(file, 3));
	drain(fd);
	close(file);
	touch("other");
	drain(fd);
	touch("f");
	drain(fd);
	MUST(truncate("f", 1));
	drain(fd);
}

SECTION("events of a directory and its files")
{
	need_root();
	MUST(mkdir("d", 0755));
	write_file("d/f", "");
	int fd = MUST(init(FAN_NONBLOCK, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_CLOSE, AT_FDCWD, "d"));
	touch("d/f");
	close(MUST(open("d", O_RDONLY)));
	drain(fd);
	ERR(mark(fd, FAN_MARK_ADD, FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	touch("d/f");
	drain(fd);
	ERR(mark(fd, FAN_MARK_ADD, FAN_ONDIR, AT_FDCWD, "d"));
	close(MUST(open("d", O_RDONLY)));
	drain(fd);
	ERR(mark(fd, FAN_MARK_REMOVE, FAN_OPEN, AT_FDCWD, "d"));
	touch("d/f");
	drain(fd);
	ERR(mark(fd, FAN_MARK_REMOVE, FAN_CLOSE | FAN_ONDIR | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	ERR(mark(fd, FAN_MARK_REMOVE, FAN_CLOSE, AT_FDCWD, "d"));
	touch("d/f");
	drain(fd);
}

SECTION("marks on mounts and file systems")
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	MUST(mkdir("n", 0755));
	MUST(mount("none", "m", "tmpfs", 0, NULL));
	MUST(mkdir("m/d", 0755));
	MUST(mount("m", "n", NULL, MS_BIND, NULL));
	int on_mount = MUST(init(FAN_NONBLOCK, O_RDONLY));
	int on_sb = MUST(init(FAN_NONBLOCK, O_RDONLY));
	ERR(mark(on_mount, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, "m/d"));
	ERR(mark(on_sb, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, AT_FDCWD, "m/d"));
	touch("m/d/a");
	drain(on_mount);
	drain(on_sb);
	touch("n/d/b");
	drain(on_mount);
	drain(on_sb);
	ERR(mark(on_mount, FAN_MARK_FLUSH, 0, AT_FDCWD, NULL));
	touch("m/d/a");
	drain(on_mount);
	ERR(mark(on_mount, FAN_MARK_FLUSH | FAN_MARK_MOUNT, 0, AT_FDCWD, NULL));
	touch("m/d/a");
	drain(on_mount);
}

SECTION("ignored events")
{
	need_root();
	write_file("f", "");
	int fd = MUST(init(FAN_NONBLOCK, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_MODIFY | FAN_CLOSE, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK, FAN_OPEN | FAN_CLOSE, AT_FDCWD, "f"));
	touch("f");
	drain(fd);
	write_file("f", "x");
	drain(fd);
	touch("f");
	drain(fd);
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN | FAN_CLOSE, AT_FDCWD, "f"));
	write_file("f", "x");
	drain(fd);
	ERR(mark(fd, FAN_MARK_REMOVE | FAN_MARK_IGNORED_MASK, FAN_OPEN, AT_FDCWD, "f"));
	touch("f");
	drain(fd);
}

SECTION("events with file handles")
{
	need_root();
	MUST(mkdir("d", 0755));
	int fd = MUST(init(FAN_NONBLOCK | FAN_REPORT_FID, 0));
	ERR(mark(fd, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ONDIR | FAN_ATTRIB, AT_FDCWD, "d"));
	touch("d/a");
	drain(fd);
	MUST(mkdir("d/s", 0755));
	drain(fd);
	MUST(rename("d/a", "d/b"));
	drain(fd);
	MUST(unlink("d/b"));
	MUST(rmdir("d/s"));
	drain(fd);
	MUST(chmod("d", 0700));
	drain(fd);
}

SECTION("events with names")
{
	need_root();
	MUST(mkdir("d", 0755));
	int fd = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME, 0));
	unsigned all = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_MODIFY | FAN_CLOSE_WRITE;
	ERR(mark(fd, FAN_MARK_ADD, all | FAN_ONDIR | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	write_file("d/a", "x");
	drain(fd);
	MUST(mkdir("d/s", 0755));
	drain(fd);
	MUST(rename("d/a", "d/b"));
	drain(fd);
	MUST(unlink("d/b"));
	drain(fd);
	int both = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME | FAN_REPORT_FID, 0));
	ERR(mark(both, FAN_MARK_ADD, FAN_CREATE | FAN_CLOSE_WRITE | FAN_OPEN | FAN_ONDIR | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	write_file("d/c", "x");
	drain(both);
	close(MUST(open("d", O_RDONLY)));
	drain(both);
	int target = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET, 0));
	ERR(mark(target, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE, AT_FDCWD, "d"));
	touch("d/e");
	drain(target);
	ERR(mark(target, FAN_MARK_ADD, FAN_CREATE, AT_FDCWD, "d/e"));
}

SECTION("renames, with both names")
{
	need_root();
	MUST(mkdir("d", 0755));
	MUST(mkdir("e", 0755));
	touch("d/a");
	int old_side = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME, 0));
	int new_side = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME, 0));
	int both = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET, 0));
	ERR(mark(old_side, FAN_MARK_ADD, FAN_RENAME | FAN_MOVED_FROM, AT_FDCWD, "d"));
	ERR(mark(new_side, FAN_MARK_ADD, FAN_RENAME | FAN_ONDIR, AT_FDCWD, "e"));
	ERR(mark(both, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "d"));
	ERR(mark(both, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "e"));
	MUST(rename("d/a", "e/b"));
	drain(old_side);
	drain(new_side);
	drain(both);
	MUST(rename("e/b", "e/c"));
	drain(old_side);
	drain(new_side);
	drain(both);
	MUST(mkdir("d/s", 0755));
	MUST(rename("d/s", "e/s"));
	drain(old_side);
	drain(new_side);
	drain(both);
	touch("d/x");
	MUST(syscall(SYS_renameat2, AT_FDCWD, "d/x", AT_FDCWD, "e/c", RENAME_EXCHANGE));
	drain(old_side);
	drain(both);
	ERR(mark(both, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "d/x"));
	int nameless = MUST(init(FAN_NONBLOCK | FAN_REPORT_DIR_FID, 0));
	ERR(mark(nameless, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "d"));
	int descriptors = MUST(init(FAN_NONBLOCK, 0));
	ERR(mark(descriptors, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "d"));
}

SECTION("renames on a file system that is watched")
{
	need_root();
	MUST(mkdir("m", 0755));
	MUST(mount("tmpfs", "m", "tmpfs", 0, ""));
	touch("m/a");
	int fd = MUST(init(FAN_NONBLOCK | FAN_REPORT_DFID_NAME, 0));
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_RENAME, AT_FDCWD, "m"));
	MUST(rename("m/a", "m/b"));
	MUST(rename("m/b", "m/a"));
	drain(fd);
	ERR(mark(fd, FAN_MARK_ADD, FAN_RENAME, AT_FDCWD, "m"));
	MUST(rename("m/a", "m/c"));
	drain(fd);
	MUST(umount2("m", MNT_DETACH));
}

SECTION("events with handles of directories, without names")
{
	need_root();
	MUST(mkdir("d", 0755));
	int fd = MUST(init(FAN_NONBLOCK | FAN_REPORT_DIR_FID, 0));
	ERR(mark(fd, FAN_MARK_ADD, FAN_CREATE | FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	touch("d/a");
	drain(fd);
	fd = MUST(init(FAN_NONBLOCK | FAN_REPORT_DIR_FID | FAN_REPORT_FID, 0));
	ERR(mark(fd, FAN_MARK_ADD, FAN_CREATE | FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	touch("d/b");
	drain(fd);
}

SECTION("whose doing it is")
{
	need_root();
	write_file("f", "");
	int fd = MUST(init(FAN_NONBLOCK, O_RDONLY));
	int with = MUST(init(FAN_NONBLOCK | FAN_REPORT_PIDFD, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(with, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	actor = MUST(fork());
	if (actor == 0) {
		touch("f");
		pause();
	}
	await_state(actor, 'S');
	touch("f");
	drain(fd);
	drain(with);
	kill(actor, SIGKILL);
	waitpid(actor, NULL, 0);
}

SECTION("execution")
{
	need_root();
	MUST(system("cp /bin/true ./program"));
	int fd = MUST(init(FAN_NONBLOCK, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN_EXEC, AT_FDCWD, "program"));
	touch("other");
	close(MUST(open("program", O_RDONLY)));
	drain(fd);
	actor = MUST(fork());
	if (actor == 0) {
		execl("./program", "program", NULL);
		_exit(1);
	}
	STATUS(end_of(actor));
	drain(fd);
}

SECTION("permission to open and to read")
{
	struct fanotify_event_metadata event;
	char text[8];

	need_root();
	write_file("f", "content");
	int fd = MUST(init(FAN_CLASS_CONTENT, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_ACCESS_PERM, AT_FDCWD, "f"));
	for (int round = 0; round < 3; round++) {
		actor = MUST(fork());
		if (actor == 0) {
			int file = open("f", O_RDONLY);
			if (file < 0)
				say("open: %s\n", error_name(errno));
			else if (read(file, text, sizeof text) < 0)
				say("read: %s\n", error_name(errno));
			else
				say("read it\n");
			_exit(0);
		}
		for (int i = 0; i < (round ? 2 : 1); i++) {
			MUST(read(fd, &event, sizeof event));
			say("asked for %llx, by the child %d, fd %d\n", (unsigned long long)event.mask, event.pid == actor, event.fd >= 0);
			struct fanotify_response response = { event.fd, 0 };
			ERR(write(fd, &response, sizeof response));
			response.response = round == 0 || (round == 1 && i == 1) ? FAN_DENY : FAN_ALLOW;
			response.fd = 999;
			ERR(write(fd, &response, sizeof response));
			response.fd = event.fd;
			MUST(write(fd, &response, sizeof response));
			close(event.fd);
		}
		STATUS(end_of(actor));
	}
	actor = MUST(fork());
	if (actor == 0) {
		close(fd);
		open("f", O_RDONLY);
		_exit(0);
	}
	MUST(read(fd, &event, sizeof event));
	close(fd);
	STATUS(end_of(actor));
}

/* In a child, while the listener answers: yes to the first question, no to the others. */
static void judged(int fd, void (*act)(void), int questions)
{
	struct fanotify_event_metadata event;

	actor = MUST(fork());
	if (actor == 0) {
		act();
		_exit(0);
	}
	for (int i = 0; i < questions; i++) {
		MUST(read(fd, &event, sizeof event));
		struct fanotify_response response = { event.fd, i ? FAN_DENY : FAN_ALLOW };
		say("asked for %llx: %s\n", (unsigned long long)event.mask, i ? "no" : "yes");
		MUST(write(fd, &response, sizeof response));
		close(event.fd);
	}
	STATUS(end_of(actor));
}

static int source, sink, pipes[2];

static void by_sendfile(void)
{
	off_t at = 0;

	RET(sendfile(pipes[1], source, &at, 4));
	RET(sendfile(pipes[1], source, &at, 4));
}
static void by_splice(void)
{
	loff_t at = 0;

	RET(splice(source, &at, pipes[1], NULL, 4, 0));
	RET(splice(source, &at, pipes[1], NULL, 4, 0));
}
static void by_copy(void)
{
	loff_t at = 0;

	RET(copy_file_range(source, &at, sink, NULL, 4, 0));
	RET(copy_file_range(source, &at, sink, NULL, 4, 0));
}
static void by_pread(void)
{
	char text[4];

	RET(pread(source, text, 4, 0));
	RET(pread(source, text, 4, 4));
}
static void by_getdents(void)
{
	char buffer[4096];
	int dir = MUST(open("d", O_RDONLY));

	SHOW(syscall(SYS_getdents64, dir, buffer, sizeof buffer) > 0);
	RET(syscall(SYS_getdents64, dir, buffer, sizeof buffer));
}

static void by_making(void)
{
	char text[4];

	ERR(open("d/made", O_RDWR | O_CREAT | O_EXCL, 0600));
	ERR(access("d/made", F_OK));
	ERR(open("d/made", O_RDWR | O_CREAT | O_EXCL, 0600));
	int file = open("d/again", O_RDWR | O_CREAT, 0400);
	SHOW(file >= 0);
	RET(write(file, "text", 4));
	RET(pread(file, text, sizeof text, 0));
	ERR(access("d/again", F_OK));
}

static void by_making_unnamed(void)
{
	int file = open("d", O_TMPFILE | O_RDWR, 0600);

	SHOW(file >= 0);
	RET(write(file, "text", 4));
	ERR(open("d", O_TMPFILE | O_RDWR, 0600));
}

SECTION("permission to open what the open has made")
{
	need_root();
	MUST(mkdir("d", 0777));
	/* A mount of its own: nobody else is to be asked about. */
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("d", "d", NULL, MS_BIND, NULL));
	int fd = MUST(init(FAN_CLASS_CONTENT, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	judged(fd, by_making, 2);
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_PERM, AT_FDCWD, "d"));
	judged(fd, by_making_unnamed, 2);
}

SECTION("permission to read, for all that reads")
{
	need_root();
	write_file("f", "contents");
	MUST(mkdir("d", 0755));
	sink = MUST(open("s", O_RDWR | O_CREAT, 0644));
	MUST(pipe(pipes));
	int fd = MUST(init(FAN_CLASS_CONTENT, O_RDONLY));
	ERR(mark(fd, FAN_MARK_ADD, FAN_ACCESS_PERM, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_ACCESS_PERM | FAN_ONDIR, AT_FDCWD, "d"));
	/* Who was open before anybody listened is not asked about. */
	source = MUST(open("f", O_RDONLY));
	judged(fd, by_pread, 2);
	judged(fd, by_sendfile, 2);
	judged(fd, by_splice, 2);
	judged(fd, by_copy, 2);
	judged(fd, by_getdents, 2);
}

SECTION("who is not privileged")
{
	need_root();
	MUST(chmod(".", 0777));
	write_file("f", "");
	MUST(chmod("f", 0644));
	MUST(setresuid(1000, 1000, 1000));
	ERR(init(0, O_RDONLY));
	ERR(init(FAN_CLASS_CONTENT, O_RDONLY));
	ERR(init(FAN_REPORT_FID | FAN_UNLIMITED_QUEUE, 0));
	int fd = init(FAN_REPORT_FID | FAN_NONBLOCK, 0);
	ERR(fd);
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, "."));
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, AT_FDCWD, "."));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/etc/shadow"));
	close(MUST(open("f", O_RDONLY)));
	actor = MUST(fork());
	if (actor == 0) {
		close(MUST(open("f", O_RDONLY)));
		_exit(0);
	}
	waitpid(actor, NULL, 0);
	drain(fd);
}

SECTION("fanotify_init: wrong arguments")
{
	need_root();
	ERR(init(0x80000000, O_RDONLY));
	ERR(init(FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT, O_RDONLY));
	ERR(init(FAN_CLASS_CONTENT | FAN_REPORT_FID, O_RDONLY));
	ERR(init(FAN_REPORT_NAME, O_RDONLY));
	ERR(init(FAN_REPORT_NAME | FAN_REPORT_FID, O_RDONLY));
	ERR(init(FAN_REPORT_DFID_NAME | FAN_REPORT_TARGET_FID, O_RDONLY));
	ERR(init(FAN_REPORT_PIDFD | FAN_REPORT_TID, O_RDONLY));
	ERR(init(0, 3));
	ERR(init(0, O_CREAT));
	int fd = MUST(init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_LARGEFILE));
	RET(fcntl(fd, F_GETFD));
	HEX(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
	ERR(lseek(fd, 0, SEEK_CUR));
}

SECTION("fanotify_mark: wrong arguments")
{
	need_root();
	write_file("f", "");
	int fd = MUST(init(FAN_NONBLOCK, O_RDONLY));
	int handles = MUST(init(FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY));
	ERR(mark(-1, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(0, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, 0, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_REMOVE, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, 0, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, 1ull << 32, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, 1 << 25, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD | 0x80000, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_CREATE, AT_FDCWD, "."));
	ERR(mark(fd, FAN_MARK_ADD, FAN_ATTRIB, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "none"));
	ERR(mark(fd, FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, -1, NULL));
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, NULL));
	ERR(mark(fd, FAN_MARK_REMOVE, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(fd, FAN_MARK_FLUSH | FAN_MARK_ONLYDIR, 0, AT_FDCWD, NULL));
	ERR(mark(handles, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_CREATE, AT_FDCWD, "."));
	ERR(mark(handles, FAN_MARK_ADD | FAN_MARK_IGNORE | FAN_MARK_IGNORED_MASK, FAN_OPEN, AT_FDCWD, "f"));
	ERR(mark(handles, FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_EVICTABLE, FAN_OPEN, AT_FDCWD, "f"));
	char small[8];
	ERR(mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	touch("f");
	ERR(read(fd, small, sizeof small));
	ERR(write(fd, small, 4));
}
