/* inotify(7). */
#include "observe.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static unsigned last_cookie;

static void say_events(int fd)
{
	char buf[8192] __attribute__((aligned(8)));
	long n = read(fd, buf, sizeof buf);

	if (n < 0)
		say("  %s\n", error_name(errno));
	for (char *at = buf; at < buf + n;) {
		struct inotify_event *e = (void *)at;

		say("  wd %d mask %#x cookie %s name %s\n", e->wd, e->mask,
		    e->cookie == 0 ? "none" : e->cookie == last_cookie ? "same" : "new", e->len ? e->name : "-");
		last_cookie = e->cookie;
		at += sizeof *e + e->len;
	}
}

SECTION("inotify: a directory")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK));

	RET(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
	say_events(fd);
	int f = MUST(open("a", O_CREAT | O_RDWR, 0644));
	MUST(write(f, "x", 1));
	MUST(write(f, "x", 1));
	MUST(pread(f, &(char){ 0 }, 1, 0));
	MUST(ftruncate(f, 0));
	MUST(fchmod(f, 0600));
	close(f);
	say_events(fd);
	MUST(open("a", O_WRONLY | O_TRUNC));
	MUST(rename("a", "b"));
	MUST(mkdir("d", 0755));
	MUST(link("b", "l"));
	MUST(symlink("b", "s"));
	say_events(fd);
	MUST(rename("b", "d/b"));
	MUST(rename("d/b", "c"));
	MUST(unlink("l"));
	MUST(unlink("s"));
	MUST(unlink("c"));
	MUST(rmdir("d"));
	say_events(fd);
	MUST(open(".", O_RDONLY | O_DIRECTORY));
	MUST(chmod(".", 0711));
	say_events(fd);
}

SECTION("inotify: a file")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK)), f;

	write_file("f", "text");
	RET(inotify_add_watch(fd, "f", IN_ALL_EVENTS));
	f = MUST(open("f", O_RDWR));
	MUST(read(f, &(char){ 0 }, 1));
	MUST(link("f", "g"));
	MUST(rename("f", "h"));
	MUST(unlink("h"));
	say_events(fd);
	MUST(unlink("g"));
	say_events(fd);
	close(f);
	say_events(fd);
}

SECTION("inotify: watches")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK)), n;

	write_file("f", "text");
	RET(inotify_add_watch(fd, "f", IN_OPEN));
	RET(inotify_add_watch(fd, "f", IN_CLOSE_NOWRITE | IN_MASK_ADD));
	RET(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE));
	RET(inotify_add_watch(fd, ".", IN_CREATE | IN_ONESHOT));
	RET(inotify_add_watch(fd, "f", 0));
	RET(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE));
	RET(inotify_add_watch(fd, "f", IN_ONLYDIR | IN_OPEN));
	RET(inotify_add_watch(fd, "nothing", IN_OPEN));
	RET(inotify_add_watch(0, ".", IN_OPEN));
	RET(inotify_add_watch(99, ".", IN_OPEN));
	RET(inotify_rm_watch(fd, 77));
	RET(inotify_rm_watch(0, 1));
	RET(inotify_init1(1));
	close(MUST(open("f", O_RDONLY)));
	write_file("x", "");
	write_file("y", "");
	MUST(ioctl(fd, FIONREAD, &n));
	SHOW(n);
	char small[20];
	RET(read(fd, small, 10));
	say_events(fd);
	RET(inotify_rm_watch(fd, 1));
	say_events(fd);
	RET(inotify_add_watch(fd, ".", IN_DELETE));
	MUST(unlink("x"));
	say_events(fd);
	MUST(symlink("f", "s"));
	RET(inotify_add_watch(fd, "s", IN_ALL_EVENTS | IN_DONT_FOLLOW));
	MUST(unlink("s"));
	say_events(fd);
}

SECTION("inotify: moves between watched directories, waiting")
{
	int fd = MUST(inotify_init());

	MUST(mkdir("a", 0755));
	MUST(mkdir("b", 0755));
	write_file("a/f", "");
	MUST(inotify_add_watch(fd, "a", IN_MOVE | IN_DELETE_SELF));
	MUST(inotify_add_watch(fd, "b", IN_MOVE));
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(30);
		rename("a/f", "b/g");
		_exit(0);
	}
	say_events(fd);
	end_of(child);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	say_events(fd);
	MUST(rmdir("a"));
	say_events(fd);
}

SECTION("inotify: names without a file, IN_EXCL_UNLINK")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK));
	int f = MUST(open("f", O_CREAT | O_RDWR, 0644)), g = MUST(open("g", O_CREAT | O_RDWR, 0644));

	MUST(inotify_add_watch(fd, ".", IN_MODIFY));
	MUST(unlink("f"));
	MUST(write(f, "x", 1));
	say_events(fd);
	MUST(inotify_add_watch(fd, ".", IN_MODIFY | IN_EXCL_UNLINK));
	MUST(unlink("g"));
	MUST(write(g, "x", 1));
	say_events(fd);
}
