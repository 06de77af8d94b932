/* Files in memory: memfd_create and its seals; tmpfs, where host and sandbox have the same file system (/dev/shm). */
#include "observe.h"
#include <linux/falloc.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 16U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

#define PAGE 4096

/* A file in /dev/shm that has no name any more. */
static int shm_file(void)
{
	char name[] = "/dev/shm/observe.XXXXXX";
	int fd = MUST(mkstemp(name));

	MUST(unlink(name));
	return fd;
}

static long blocks_of(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st));
	return st.st_blocks;
}

static long size_of(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st));
	return st.st_size;
}

SECTION("memfd_create: flags and names")
{
	char name[300];

	ERR(memfd_create("x", 0x20));
	ERR(memfd_create("x", MFD_EXEC | MFD_NOEXEC_SEAL));
	ERR(memfd_create((char *)8, 0));
	memset(name, 'n', sizeof name);
	name[249] = 0;
	ERR(memfd_create(name, 0));
	memset(name, 'n', sizeof name);
	name[250] = 0;
	ERR(memfd_create(name, 0));
	ERR(memfd_create("", 0));
	int fd = MUST(memfd_create("a name/with slash", MFD_CLOEXEC));
	SHOW(fcntl(fd, F_GETFD));
	HEX(fcntl(fd, F_GETFL));
	char link[64], target[300] = "";
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	MUST(readlink(link, target, sizeof target - 1));
	TEXT(target);
}

SECTION("memfd_create: attributes")
{
	struct stat st;
	int fd = MUST(memfd_create("x", 0));

	MUST(fstat(fd, &st));
	HEX(st.st_mode);
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	SHOW(st.st_uid == geteuid());
	ERR(fchmod(fd, 0600));
	MUST(fstat(fd, &st));
	HEX(st.st_mode);
	fd = MUST(memfd_create("x", MFD_NOEXEC_SEAL));
	MUST(fstat(fd, &st));
	HEX(st.st_mode);
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fchmod(fd, 0700));
	ERR(fchmod(fd, 0600));
}

SECTION("seals: who has them")
{
	int fd = MUST(memfd_create("x", 0));

	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	fd = MUST(memfd_create("x", MFD_ALLOW_SEALING));
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fcntl(fd, F_ADD_SEALS, 0x1000));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	HEX(fcntl(fd, F_GET_SEALS));
	int pair[2];
	MUST(pipe(pair));
	ERR(fcntl(pair[0], F_GET_SEALS));
	ERR(fcntl(pair[1], F_ADD_SEALS, F_SEAL_GROW));
	fd = shm_file();
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	fd = MUST(memfd_create("x", MFD_ALLOW_SEALING));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC));
	HEX(fcntl(fd, F_GET_SEALS));
}

SECTION("seals: size")
{
	char bytes[2 * PAGE] = "";
	int fd = MUST(memfd_create("x", MFD_ALLOW_SEALING));

	MUST(ftruncate(fd, PAGE + 100));
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	ERR(ftruncate(fd, PAGE + 101));
	ERR(ftruncate(fd, PAGE + 99));
	ERR(fallocate(fd, 0, 0, 2 * PAGE));
	ERR(fallocate(fd, 0, 0, PAGE));
	ERR(pwrite(fd, bytes, 1, PAGE + 99));
	RET(pwrite(fd, bytes, 10, 100));
	RET(pwrite(fd, bytes, 2 * PAGE, 0));
	SHOW(size_of(fd));
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	ERR(ftruncate(fd, 1));
	ERR(ftruncate(fd, PAGE + 99));
	RET(pwrite(fd, bytes, 10, 0));
}

SECTION("seals: writing")
{
	int fd = MUST(memfd_create("x", MFD_ALLOW_SEALING));

	MUST(write(fd, "hello", 5));
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SHOW(map != MAP_FAILED);
	map[0] = 'J';
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	map[1] = 'E';
	ERR(pwrite(fd, "x", 1, 0));
	MUST(munmap(map, PAGE));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(pwrite(fd, "x", 1, 0));
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	SHOW(errno == EPERM);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SHOW(map != MAP_FAILED);
	map[2] = 'L';
	SHOW(!memcmp(map, "JELlo", 5));
	char bytes[6] = "";
	RET(pread(fd, bytes, 5, 0));
	TEXT(bytes);
}

SECTION("memfd: processes share the pages")
{
	int fd = MUST(memfd_create("x", 0));

	MUST(ftruncate(fd, 100 * PAGE));
	char *map = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t child = fork();
	if (child == 0) {
		strcpy(map + 50 * PAGE, "from the child");
		MUST(pwrite(fd, "written", 8, 99 * PAGE));
		_exit(0);
	}
	STATUS(end_of(child));
	TEXT(map + 50 * PAGE);
	TEXT(map + 99 * PAGE);
	char bytes[16] = "";
	RET(pread(fd, bytes, 15, 50 * PAGE));
	TEXT(bytes);
	SHOW(blocks_of(fd));
	strcpy(map, "the first page");
	SHOW(blocks_of(fd));
}

SECTION("memfd: an execution")
{
	int fd = MUST(memfd_create("program", MFD_CLOEXEC)), source = MUST(open("/bin/true", O_RDONLY));
	char bytes[8192];
	ssize_t length;

	while ((length = read(source, bytes, sizeof bytes)) > 0)
		MUST(write(fd, bytes, length));
	pid_t child = fork();
	if (child == 0) {
		fexecve(fd, (char *[]){ "true", NULL }, (char *[]){ NULL });
		_exit(77);
	}
	STATUS(end_of(child));
}

SECTION("tmpfs: file system and node")
{
	struct statfs fs;
	struct stat st;
	int fd = shm_file();

	MUST(statfs("/dev/shm", &fs));
	HEX(fs.f_type);
	SHOW(fs.f_bsize);
	SHOW(fs.f_namelen);
	SHOW(fs.f_blocks > 0 && fs.f_bfree > 0 && fs.f_bfree <= fs.f_blocks);
	MUST(stat("/dev/shm", &st));
	HEX(st.st_mode);
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	SHOW(st.st_blksize);
	SHOW(st.st_blocks);
}

SECTION("tmpfs: holes")
{
	for (long far = 8; far <= 100; far += 92) {
		int fd = shm_file();

		SHOW(far);
		RET(pwrite(fd, "a", 1, 0));
		RET(pwrite(fd, "b", 1, far * PAGE));
		SHOW(blocks_of(fd));
		RET(lseek(fd, 0, SEEK_DATA));
		RET(lseek(fd, 0, SEEK_HOLE));
		RET(lseek(fd, PAGE, SEEK_DATA));
		RET(lseek(fd, far * PAGE, SEEK_HOLE));
		RET(lseek(fd, far * PAGE + 1, SEEK_DATA));
		RET(lseek(fd, -1, SEEK_DATA));
		RET(lseek(fd, 0, SEEK_CUR));
		ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
		ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE));
		ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
		SHOW(blocks_of(fd));
		RET(lseek(fd, 0, SEEK_DATA));
		ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 200 * PAGE));
		SHOW(size_of(fd));
		SHOW(blocks_of(fd));
		ERR(ftruncate(fd, 10));
		SHOW(blocks_of(fd));
		ERR(ftruncate(fd, 0));
		SHOW(blocks_of(fd));
		ERR(fallocate(fd, 0, 3 * PAGE, PAGE));
		SHOW(size_of(fd));
		SHOW(blocks_of(fd));
	}
}

SECTION("tmpfs: what was cut off is zero")
{
	int fd = shm_file();
	char bytes[20];

	MUST(pwrite(fd, "0123456789abcdef", 16, 0));
	MUST(ftruncate(fd, 4));
	MUST(ftruncate(fd, 16));
	RET(pread(fd, bytes, 20, 0));
	SHOW(bytes[3]);
	SHOW(bytes[4] | bytes[10] | bytes[15]);
}

SECTION("tmpfs: a file that was mapped small grows")
{
	int fd = shm_file();

	MUST(ftruncate(fd, PAGE));
	char *map = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	strcpy(map, "mapped");
	char bytes[8] = "";
	RET(pread(fd, bytes, 7, 0));
	TEXT(bytes);
	MUST(pwrite(fd, "far", 4, 39 * PAGE));
	TEXT(map + 39 * PAGE);
	MUST(ftruncate(fd, 2 * PAGE));
	pid_t child = fork();
	if (child == 0) {
		*(volatile char *)(map + 39 * PAGE) = 1;
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("tmpfs: extended attributes")
{
	char value[16] = "";
	int fd = shm_file();

	ERR(fgetxattr(fd, "user.a", value, 16));
	ERR(fsetxattr(fd, "user.a", "1", 1, XATTR_REPLACE));
	int set = fsetxattr(fd, "user.a", "1", 1, XATTR_CREATE);
	/* Only since Linux 6.6. */
	if (set < 0)
		return;
	ERR(fsetxattr(fd, "user.a", "2", 1, XATTR_CREATE));
	RET(fgetxattr(fd, "user.a", value, 16));
	TEXT(value);
	RET(fgetxattr(fd, "user.a", NULL, 0));
	RET(flistxattr(fd, NULL, 0));
	ERR(fremovexattr(fd, "user.a"));
	ERR(fremovexattr(fd, "user.a"));
	ERR(fsetxattr(fd, "other.a", "1", 1, 0));
}

SECTION("tmpfs: directory sizes and links")
{
	char name[] = "/dev/shm/observe.XXXXXX";
	struct stat st;

	MUST(mkdtemp(name) ? 0 : -1);
	MUST(chdir(name));
	MUST(stat(".", &st));
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	MUST(mkdir("d", 0755));
	write_file("f", "");
	MUST(stat(".", &st));
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	MUST(rename("d", "e"));
	MUST(unlink("f"));
	MUST(stat(".", &st));
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	MUST(rmdir("e"));
	MUST(rmdir(name));
	ERR(open("late", O_CREAT | O_WRONLY, 0644));
	MUST(stat(".", &st));
	SHOW(st.st_nlink);
}
