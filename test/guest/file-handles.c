/* name_to_handle_at(2), open_by_handle_at(2). */
#include "observe.h"

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif

struct handle {
	struct file_handle head;
	unsigned char bytes[128];
};

static int mount_id;

static int name(int dirfd, const char *path, struct handle *handle, int flags)
{
	handle->head.handle_bytes = sizeof handle->bytes;
	return name_to_handle_at(dirfd, path, &handle->head, &mount_id, flags);
}

static bool same(struct handle *a, struct handle *b)
{
	return a->head.handle_bytes == b->head.handle_bytes && a->head.handle_type == b->head.handle_type &&
	       !memcmp(a->head.f_handle, b->head.f_handle, a->head.handle_bytes);
}

SECTION("name_to_handle_at: a file's handle is always the same, another file's is another")
{
	struct handle a, again, b;

	write_file("a", "");
	write_file("b", "");
	ERR(name(AT_FDCWD, "a", &a, 0));
	ERR(name(AT_FDCWD, "a", &again, 0));
	ERR(name(AT_FDCWD, "b", &b, 0));
	SHOW(same(&a, &again));
	SHOW(same(&a, &b));
	MUST(link("a", "c"));
	ERR(name(AT_FDCWD, "c", &b, 0));
	SHOW(same(&a, &b));
	MUST(rename("a", "d"));
	ERR(name(AT_FDCWD, "d", &b, 0));
	SHOW(same(&a, &b));
}

SECTION("name_to_handle_at: the room that is needed is told")
{
	struct handle a;

	write_file("a", "");
	a.head.handle_bytes = 0;
	ERR(name_to_handle_at(AT_FDCWD, "a", &a.head, &mount_id, 0));
	SHOW(a.head.handle_bytes > 0);
	SHOW(a.head.handle_type == 0xff);
	ERR(name_to_handle_at(AT_FDCWD, "a", &a.head, &mount_id, 0));
	SHOW(a.head.handle_type != 0xff);
	a.head.handle_bytes = 129;
	ERR(name_to_handle_at(AT_FDCWD, "a", &a.head, &mount_id, 0));
}

SECTION("name_to_handle_at: symbolic links, empty names and descriptors")
{
	struct handle link, file, other;

	write_file("file", "");
	MUST(symlink("file", "link"));
	ERR(name(AT_FDCWD, "file", &file, 0));
	ERR(name(AT_FDCWD, "link", &link, 0));
	SHOW(same(&link, &file));
	ERR(name(AT_FDCWD, "link", &link, AT_SYMLINK_FOLLOW));
	SHOW(same(&link, &file));
	int fd = MUST(open("file", O_RDONLY));
	ERR(name(fd, "", &other, 0));
	ERR(name(fd, "", &other, AT_EMPTY_PATH));
	SHOW(same(&other, &file));
	int dir = MUST(open(".", O_PATH));
	ERR(name(dir, "file", &other, 0));
	SHOW(same(&other, &file));
}

SECTION("name_to_handle_at: wrong arguments")
{
	struct handle a;

	write_file("a", "");
	ERR(name(AT_FDCWD, "nothing", &a, 0));
	ERR(name(AT_FDCWD, "a/b", &a, 0));
	ERR(name(-1, "a", &a, 0));
	ERR(name(AT_FDCWD, "a", &a, AT_SYMLINK_NOFOLLOW));
	ERR(name(AT_FDCWD, "a", &a, 0x8000));
	ERR(name_to_handle_at(AT_FDCWD, "a", NULL, &mount_id, 0));
	a.head.handle_bytes = sizeof a.bytes;
	ERR(name_to_handle_at(AT_FDCWD, "a", &a.head, NULL, 0));
	ERR(name(AT_FDCWD, "/proc/self", &a, 0));
	ERR(name(AT_FDCWD, "/proc/self/status", &a, AT_HANDLE_FID));
}

SECTION("name_to_handle_at: the mount is that of mountinfo and statx")
{
	struct handle a;
	struct statx st;

	write_file("a", "");
	ERR(name(AT_FDCWD, "a", &a, 0));
	ERR(statx(AT_FDCWD, "a", 0, 0x1000, &st));
	SHOW(((long *)&st)[18] == mount_id);
	int before = mount_id;
	ERR(name(AT_FDCWD, ".", &a, 0));
	SHOW(before == mount_id);
	long unique = 0;
	a.head.handle_bytes = sizeof a.bytes;
	ERR(syscall(SYS_name_to_handle_at, AT_FDCWD, "a", &a, &unique, 1));
	ERR(statx(AT_FDCWD, "a", 0, 0x4000, &st));
	SHOW(((long *)&st)[18] == unique);
	SHOW(unique > 1L << 31);
}

SECTION("open_by_handle_at: leads to the file whatever it is called now")
{
	struct handle a;
	char text[16] = "";

	need_root();
	write_file("a", "content");
	MUST(mkdir("d", 0755));
	ERR(name(AT_FDCWD, "a", &a, 0));
	int here = MUST(open(".", O_RDONLY));
	int fd = open_by_handle_at(here, &a.head, O_RDONLY);
	ERR(fd);
	RET(read(fd, text, sizeof text));
	TEXT(text);
	close(fd);
	MUST(rename("a", "d/b"));
	fd = open_by_handle_at(here, &a.head, O_RDWR);
	ERR(fd);
	RET(write(fd, "C", 1));
	close(fd);
	TEXT(read_file("d/b"));
	fd = open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY | O_CLOEXEC);
	ERR(fd);
	RET(fcntl(fd, F_GETFD));
	close(fd);
	fd = open_by_handle_at(here, &a.head, O_WRONLY | O_TRUNC);
	ERR(fd);
	struct stat st;
	MUST(stat("d/b", &st));
	SHOW(st.st_size);
}

SECTION("open_by_handle_at: directories and links")
{
	struct handle dir, link;

	need_root();
	MUST(mkdir("d", 0755));
	write_file("d/x", "inside");
	MUST(symlink("d", "link"));
	ERR(name(AT_FDCWD, "d", &dir, 0));
	ERR(name(AT_FDCWD, "link", &link, 0));
	int fd = open_by_handle_at(AT_FDCWD, &dir.head, O_RDONLY | O_DIRECTORY);
	ERR(fd);
	ERR(faccessat(fd, "x", F_OK, 0));
	close(fd);
	ERR(open_by_handle_at(AT_FDCWD, &dir.head, O_RDWR));
	ERR(open_by_handle_at(AT_FDCWD, &dir.head, O_CREAT | O_RDWR));
	ERR(open_by_handle_at(AT_FDCWD, &link.head, O_RDONLY));
	fd = open_by_handle_at(AT_FDCWD, &link.head, O_PATH);
	ERR(fd);
	char target[16] = "";
	RET(readlinkat(fd, "", target, sizeof target));
	TEXT(target);
}

SECTION("open_by_handle_at: a file that is gone is stale")
{
	struct handle a, b;

	need_root();
	write_file("a", "1");
	write_file("b", "2");
	ERR(name(AT_FDCWD, "a", &a, 0));
	MUST(unlink("a"));
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	ERR(name(AT_FDCWD, "b", &b, 0));
	MUST(link("b", "c"));
	MUST(unlink("b"));
	struct stat st;
	MUST(stat("c", &st));
	int fd = open_by_handle_at(AT_FDCWD, &b.head, O_RDONLY);
	ERR(fd);
	char text[4] = "";
	RET(read(fd, text, 4));
	TEXT(text);
}

SECTION("open_by_handle_at: wrong arguments")
{
	struct handle a;

	need_root();
	write_file("a", "");
	ERR(name(AT_FDCWD, "a", &a, 0));
	ERR(open_by_handle_at(-1, &a.head, O_RDONLY));
	ERR(open_by_handle_at(AT_FDCWD, NULL, O_RDONLY));
	unsigned bytes = a.head.handle_bytes;
	a.head.handle_bytes = 0;
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	a.head.handle_bytes = 129;
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	a.head.handle_bytes = bytes;
	a.head.handle_type = 0x77;
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	a.head.handle_type = 1;
	memset(a.head.f_handle, 0x5a, bytes);
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	int proc = MUST(open("/proc", O_RDONLY));
	ERR(open_by_handle_at(proc, &a.head, O_RDONLY));
}

SECTION("open_by_handle_at: needs CAP_DAC_READ_SEARCH")
{
	struct handle a;

	need_root();
	write_file("a", "");
	MUST(chmod("a", 0666));
	ERR(name(AT_FDCWD, "a", &a, 0));
	MUST(setresuid(1000, 1000, 1000));
	ERR(open_by_handle_at(AT_FDCWD, &a.head, O_RDONLY));
	ERR(name(AT_FDCWD, "a", &a, 0));
}
