/* Moving bytes: read, write and their vector and positioned forms, seeking, sizes, and copies inside the kernel. */
#include "observe.h"
#include <linux/falloc.h>
#include <sys/sendfile.h>

static long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

SECTION("read and write: offsets and the end of the file")
{
	char bytes[16] = "";
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	RET(write(fd, "0123456789", 10));
	RET(read(fd, bytes, 4));
	RET(lseek(fd, 3, SEEK_SET));
	RET(read(fd, bytes, 4));
	TEXT(bytes);
	RET(read(fd, bytes, 16));
	RET(read(fd, bytes, 16));
	RET(read(fd, (char *)8, 4));
	MUST(lseek(fd, 0, SEEK_SET));
	ERR(read(fd, (char *)8, 4));
	RET(lseek(fd, 0, SEEK_CUR));
	ERR(write(fd, (char *)8, 4));
	RET(read(fd, NULL, 0));
	ERR(read(fd, bytes, -1));
}

SECTION("read and write: a buffer that ends at an unmapped page")
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(munmap(page + 4096, 4096));
	memset(page, 'x', 4096);
	RET(write(fd, page + 4086, 10));
	RET(pwrite(fd, page + 4086, 100, 0));
	RET(pread(fd, page + 4090, 6, 0));
	int pair[2];
	MUST(pipe(pair));
	MUST(write(pair[1], "0123456789", 10));
	RET(read(pair[0], page + 4092, 4));
	ERR(write(pair[1], page + 4096, 10));
}

SECTION("lseek: whence and errors")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), pair[2];

	MUST(write(fd, "0123456789", 10));
	RET(lseek(fd, 100, SEEK_SET));
	RET(read(fd, (char[4]){ 0 }, 4));
	RET(lseek(fd, -4, SEEK_END));
	RET(lseek(fd, -2, SEEK_CUR));
	ERR(lseek(fd, -5, SEEK_CUR));
	ERR(lseek(fd, -1, SEEK_SET));
	ERR(lseek(fd, 0, 9));
	MUST(pipe(pair));
	ERR(lseek(pair[0], 0, SEEK_CUR));
	ERR(lseek(99, 0, SEEK_SET));
	MUST(lseek(fd, 20, SEEK_SET));
	RET(write(fd, "end", 3));
	SHOW(size_of("f"));
	char hole[10];
	RET(pread(fd, hole, 10, 10));
	SHOW(hole[0] == 0 && hole[9] == 0);
}

SECTION("lseek: SEEK_DATA and SEEK_HOLE")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(ftruncate(fd, 1 << 20));
	MUST(pwrite(fd, "data", 4, 512 << 10));
	SHOW(lseek(fd, 0, SEEK_DATA) == 512 << 10);
	SHOW(lseek(fd, 0, SEEK_HOLE));
	SHOW(lseek(fd, 512 << 10, SEEK_HOLE) == (512 << 10) + 4096);
	ERR(lseek(fd, (512 << 10) + 8192, SEEK_DATA));
	ERR(lseek(fd, 1 << 20, SEEK_DATA));
	ERR(lseek(fd, 2 << 20, SEEK_HOLE));
	ERR(lseek(fd, -1, SEEK_HOLE));
	SHOW(lseek(fd, (1 << 20) - 1, SEEK_HOLE) == (1 << 20) - 1);
}

SECTION("pread and pwrite leave the offset alone")
{
	char bytes[8] = "";
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), pair[2];

	RET(pwrite(fd, "0123456789", 10, 5));
	RET(lseek(fd, 0, SEEK_CUR));
	RET(pread(fd, bytes, 4, 7));
	TEXT(bytes);
	RET(pread(fd, bytes, 4, 100));
	ERR(pread(fd, bytes, 4, -1));
	ERR(pwrite(fd, bytes, 4, -1));
	MUST(pipe(pair));
	ERR(pread(pair[0], bytes, 4, 0));
	ERR(pwrite(pair[1], bytes, 4, 0));
}

SECTION("O_APPEND: every write goes to the end")
{
	char bytes[16] = "";

	write_file("f", "0123");
	int fd = MUST(open("f", O_RDWR | O_APPEND)), other = MUST(open("f", O_WRONLY));
	RET(lseek(fd, 0, SEEK_CUR));
	MUST(lseek(other, 4, SEEK_SET));
	RET(write(other, "45", 2));
	RET(write(fd, "67", 2));
	RET(lseek(fd, 0, SEEK_CUR));
	MUST(lseek(fd, 0, SEEK_SET));
	RET(write(fd, "8", 1));
	RET(pwrite(fd, "9", 1, 0));
	RET(pread(fd, bytes, 15, 0));
	TEXT(bytes);
}

SECTION("readv and writev")
{
	char one[4] = "", two[4] = "", three[8] = "";
	struct iovec out[3] = { { "abc", 3 }, { NULL, 0 }, { "defgh", 5 } };
	struct iovec in[3] = { { one, 2 }, { two, 3 }, { three, 7 } };
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	RET(writev(fd, out, 3));
	MUST(lseek(fd, 0, SEEK_SET));
	RET(readv(fd, in, 3));
	TEXT(one);
	TEXT(two);
	TEXT(three);
	RET(readv(fd, in, 0));
	ERR(readv(fd, in, -1));
	ERR(readv(fd, in, 1025));
	ERR(writev(fd, NULL, 1));
	out[0].iov_len = -1;
	ERR(writev(fd, out, 3));
	out[0].iov_len = 3;
	out[2].iov_base = (char *)8;
	RET(writev(fd, out, 3));
	out[0].iov_base = (char *)8;
	ERR(writev(fd, out, 3));
}

SECTION("preadv2 and pwritev2: flags")
{
	char bytes[8] = "";
	struct iovec out = { "text", 4 }, in = { bytes, 4 };
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	RET(pwritev2(fd, &out, 1, 2, 0));
	RET(preadv2(fd, &in, 1, 2, 0));
	TEXT(bytes);
	RET(pwritev2(fd, &out, 1, -1, 0));
	RET(lseek(fd, 0, SEEK_CUR));
	RET(pwritev2(fd, &out, 1, 0, RWF_APPEND));
	SHOW(size_of("f"));
	RET(pwritev2(fd, &out, 1, 0, RWF_DSYNC));
	ERR(pwritev2(fd, &out, 1, 0, 0x4000));
	ERR(preadv(fd, &in, 1, -5));
}

SECTION("truncate and ftruncate")
{
	write_file("f", "0123456789");
	mkdir("d", 0755);
	ERR(truncate("f", 4));
	TEXT(read_file("f"));
	ERR(truncate("f", 8));
	TEXT(read_file("f"));
	SHOW(size_of("f"));
	ERR(truncate("f", -1));
	ERR(truncate("d", 0));
	ERR(truncate("nothing", 0));
	ERR(ftruncate(MUST(open("f", O_RDONLY)), 0));
	ERR(ftruncate(99, 0));
	int pair[2];
	MUST(pipe(pair));
	ERR(ftruncate(pair[1], 0));
	int fd = MUST(open("f", O_RDWR));
	MUST(lseek(fd, 100, SEEK_SET));
	ERR(ftruncate(fd, 2));
	RET(lseek(fd, 0, SEEK_CUR));
}

SECTION("fallocate: grow, keep the size, punch a hole, zero a range")
{
	char bytes[16] = "";
	struct stat st;
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	ERR(fallocate(fd, 0, 0, 10000));
	SHOW(size_of("f"));
	MUST(fstat(fd, &st));
	SHOW(st.st_blocks >= 20);
	ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	SHOW(size_of("f"));
	MUST(pwrite(fd, "0123456789", 10, 0));
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3));
	MUST(pread(fd, bytes, 10, 0));
	SHOW(bytes[1] == '1' && bytes[2] == 0 && bytes[4] == 0 && bytes[5] == '5');
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 3));
	ERR(fallocate(fd, 0, 0, 0));
	ERR(fallocate(fd, 0, -1, 10));
	ERR(fallocate(MUST(open("f", O_RDONLY)), 0, 0, 10));
	int pair[2];
	MUST(pipe(pair));
	ERR(fallocate(pair[1], 0, 0, 10));
	ERR(posix_fallocate(fd, 0, 20000) ? -1 : 0);
	SHOW(size_of("f"));
}

SECTION("RLIMIT_FSIZE: SIGXFSZ or EFBIG")
{
	struct rlimit limit = { 10, 10 };
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	signal(SIGXFSZ, SIG_IGN);
	MUST(setrlimit(RLIMIT_FSIZE, &limit));
	/* Standard output must not be hit by the limit: it is a pipe. */
	RET(write(fd, "0123456", 7));
	RET(write(fd, "0123456", 7));
	ERR(write(fd, "x", 1));
	ERR(ftruncate(fd, 11));
	RET(pwrite(fd, "x", 1, 0));
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGXFSZ, SIG_DFL);
		write(fd, "x", 1);
		_exit(0);
	}
	STATUS(end_of(pid));
}

SECTION("sendfile: between files and into a pipe")
{
	char bytes[32] = "";
	int pair[2];
	off_t offset = 2;

	write_file("in", "0123456789");
	int in = MUST(open("in", O_RDONLY)), out = MUST(open("out", O_RDWR | O_CREAT, 0644));
	RET(sendfile(out, in, NULL, 4));
	RET(lseek(in, 0, SEEK_CUR));
	RET(sendfile(out, in, &offset, 100));
	SHOW(offset);
	RET(lseek(in, 0, SEEK_CUR));
	TEXT(read_file("out"));
	RET(sendfile(out, in, &offset, 100));
	MUST(pipe(pair));
	RET(sendfile(pair[1], in, NULL, 3));
	RET(read(pair[0], bytes, 31));
	TEXT(bytes);
	ERR(sendfile(in, out, NULL, 4));
	ERR(sendfile(out, pair[0], NULL, 4));
	offset = -1;
	ERR(sendfile(out, in, &offset, 4));
	ERR(sendfile(99, in, NULL, 4));
	ERR(sendfile(MUST(open("in", O_WRONLY | O_APPEND)), in, NULL, 4));
}

SECTION("copy_file_range")
{
	off_t from = 2, to = 20;

	write_file("in", "0123456789");
	mkdir("d", 0755);
	int in = MUST(open("in", O_RDWR)), out = MUST(open("out", O_RDWR | O_CREAT, 0644));
	RET(copy_file_range(in, NULL, out, NULL, 4, 0));
	RET(copy_file_range(in, NULL, out, NULL, 100, 0));
	RET(copy_file_range(in, NULL, out, NULL, 100, 0));
	TEXT(read_file("out"));
	RET(copy_file_range(in, &from, out, &to, 3, 0));
	SHOW(from);
	SHOW(to);
	SHOW(size_of("out"));
	ERR(copy_file_range(in, NULL, out, NULL, 4, 1));
	ERR(copy_file_range(MUST(open("d", O_RDONLY)), NULL, out, NULL, 4, 0));
	from = 0;
	to = 2;
	ERR(copy_file_range(in, &from, in, &to, 4, 0));
	int pair[2];
	MUST(pipe(pair));
	ERR(copy_file_range(pair[0], NULL, out, NULL, 4, 0));
	ERR(copy_file_range(in, NULL, MUST(open("out", O_RDONLY)), NULL, 4, 0));
	ERR(copy_file_range(in, NULL, MUST(open("out", O_WRONLY | O_APPEND)), NULL, 4, 0));
}

SECTION("splice: file to pipe to file")
{
	int pair[2], other[2];
	loff_t offset = 3;

	write_file("in", "0123456789");
	int in = MUST(open("in", O_RDONLY)), out = MUST(open("out", O_RDWR | O_CREAT, 0644));
	MUST(pipe(pair));
	MUST(pipe(other));
	RET(splice(in, &offset, pair[1], NULL, 5, 0));
	SHOW(offset);
	RET(splice(pair[0], NULL, out, NULL, 3, 0));
	RET(splice(pair[0], NULL, other[1], NULL, 100, 0));
	RET(splice(other[0], NULL, out, NULL, 100, 0));
	TEXT(read_file("out"));
	ERR(splice(in, NULL, out, NULL, 5, 0));
	ERR(splice(pair[0], NULL, out, NULL, 5, SPLICE_F_NONBLOCK));
	ERR(splice(pair[0], &offset, out, NULL, 5, 0));
	ERR(splice(pair[0], NULL, pair[1], NULL, 5, 0));
	close(pair[1]);
	RET(splice(pair[0], NULL, out, NULL, 5, 0));
	ERR(splice(in, NULL, other[1], NULL, 5, 64));
}

SECTION("tee and vmsplice")
{
	char bytes[16] = "";
	int pair[2], other[2];
	struct iovec vector[2] = { { "abc", 3 }, { "def", 3 } };

	MUST(pipe(pair));
	MUST(pipe(other));
	RET(vmsplice(pair[1], vector, 2, 0));
	RET(tee(pair[0], other[1], 4, 0));
	RET(read(other[0], bytes, 15));
	TEXT(bytes);
	memset(bytes, 0, sizeof bytes);
	RET(read(pair[0], bytes, 15));
	TEXT(bytes);
	ERR(tee(pair[0], other[1], 4, SPLICE_F_NONBLOCK));
	ERR(tee(pair[0], pair[1], 4, 0));
	write_file("f", "x");
	ERR(tee(MUST(open("f", O_RDONLY)), pair[1], 4, 0));
	ERR(vmsplice(MUST(open("f", O_RDONLY)), vector, 2, 0));
}

SECTION("fsync, fdatasync, sync_file_range, posix_fadvise, readahead")
{
	int pair[2];

	write_file("f", "x");
	int fd = MUST(open("f", O_RDWR));
	MUST(pipe(pair));
	ERR(fsync(fd));
	ERR(fdatasync(fd));
	ERR(fsync(pair[0]));
	ERR(fsync(99));
	ERR(syncfs(fd));
	ERR(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	ERR(sync_file_range(fd, 0, 0, 64));
	NUMBERED(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	NUMBERED(posix_fadvise(fd, 0, 0, 77));
	NUMBERED(posix_fadvise(pair[0], 0, 0, POSIX_FADV_NORMAL));
	ERR(readahead(fd, 0, 10));
	ERR(readahead(pair[0], 0, 10));
}

SECTION("large offsets")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	char byte = 0;

	RET(pwrite(fd, "x", 1, 5ll << 30));
	SHOW(size_of("f") == (5ll << 30) + 1);
	RET(lseek(fd, 0, SEEK_END) == (5ll << 30) + 1);
	RET(pread(fd, &byte, 1, 5ll << 30));
	SHOW(byte == 'x');
	ERR(lseek(fd, INT64_MAX, SEEK_SET) < 0 ? -1 : 0);
	ERR(ftruncate(fd, 0));
}

SECTION("FIONREAD and other ioctls on files")
{
	int count = 0;

	write_file("f", "0123456789");
	int fd = MUST(open("f", O_RDONLY));
	MUST(lseek(fd, 4, SEEK_SET));
	ERR(syscall(SYS_ioctl, fd, 0x541b, &count));
	SHOW(count);
	ERR(syscall(SYS_ioctl, fd, 0x5401, NULL));
	ERR(syscall(SYS_ioctl, fd, 0x5413, NULL));
	ERR(syscall(SYS_ioctl, 99, 0x5401, NULL));
	ERR(syscall(SYS_ioctl, fd, 0x5451));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(isatty(fd));
}

SECTION("large sparse files: mapped at the end, punched, preallocated beyond what there is")
{
	int fd = MUST(open("/dev/shm", O_TMPFILE | O_RDWR, 0600));
	const off_t size = 4ll << 30;

	ERR(ftruncate(fd, size));
	char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, size - 8192);
	SHOW(end != MAP_FAILED);
	strcpy(end + 4096, "at the end");
	char text[16];
	RET(pread(fd, text, 11, size - 4096));
	TEXT(text);
	struct stat st;
	MUST(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(st.st_blocks);
	long start = now_ms();
	ERR(fallocate(fd, 0, 0, 1ll << 50));
	SHOW(now_ms() - start < 2000);
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size - 8192, 8192));
	SHOW(end[4096]);
	MUST(fstat(fd, &st));
	SHOW(st.st_blocks);
}
