/*
 * A file system whose server answers nonsense: sizes, kinds, times and names that can't be, errors that are none, answers nobody
 * asked for and too many, notices; while others use it in all ways.
 */
#include "fuzz.h"
#include <dirent.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <poll.h>
#include <sys/ioctl.h>

static int device;
static char place[64];

static void begin(uint64_t *state)
{
	char options[256];

	unshare(CLONE_NEWNS);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mkdir("/tmp/fuzz", 0777);
	snprintf(place, sizeof place, "/tmp/fuzz/fuse%d", getpid());
	mkdir(place, 0777);
	device = open("/dev/fuse", O_RDWR);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0%s%s", device, one_in(state, 2) ? ",default_permissions" : "",
		 one_in(state, 2) ? ",allow_other" : "");
	mount("x", place, "fuse", 0, options);
}

static void fill_attr(uint64_t *state, struct fuse_attr *attr)
{
	static const uint32_t kinds[] = { S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, 0, 0170000 };

	*attr = (struct fuse_attr){ .ino = below(state, 20), .size = one_in(state, 3) ? number(state) : below(state, 10000), .blocks = number(state), .atime = number(state),
				    .mtimensec = (uint32_t)number(state), .mode = kinds[below(state, LENGTH(kinds))] | 0777, .nlink = one_in(state, 5) ? (uint32_t)number(state) : 1,
				    .uid = one_in(state, 5) ? (uint32_t)number(state) : 0, .rdev = 0x103, .blksize = one_in(state, 3) ? (uint32_t)number(state) : 4096 };
}

static void fill_entry(uint64_t *state, struct fuse_entry_out *entry)
{
	memset(entry, 0, sizeof *entry);
	entry->nodeid = one_in(state, 8) ? number(state) : 1 + below(state, 12);
	entry->generation = below(state, 2);
	entry->entry_valid = one_in(state, 3) ? number(state) : below(state, 2);
	entry->attr_valid = one_in(state, 3) ? number(state) : below(state, 2);
	entry->entry_valid_nsec = (uint32_t)number(state);
	fill_attr(state, &entry->attr);
}

/* Entries of a directory: how many bytes. */
static size_t fill_directory(uint64_t *state, unsigned char *at, size_t room, int plus)
{
	size_t used = 0;

	while (used + 300 < room && !one_in(state, 6)) {
		struct fuse_dirent *entry = (void *)(at + used + (plus ? sizeof(struct fuse_entry_out) : 0));

		if (plus)
			fill_entry(state, (void *)(at + used));
		entry->ino = number(state);
		entry->off = one_in(state, 8) ? number(state) : used + 1;
		entry->type = one_in(state, 4) ? (uint32_t)number(state) : 8;
		entry->namelen = one_in(state, 20) ? (uint32_t)number(state) : 1 + below(state, 10);
		memset(entry->name, one_in(state, 10) ? '/' : 'a' + (int)below(state, 4), 12);
		if (one_in(state, 30))
			entry->name[0] = 0;
		used += (plus ? sizeof(struct fuse_entry_out) : 0) + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + (entry->namelen & 255));
	}
	return used;
}

static size_t body(uint64_t *state, const struct fuse_in_header *request, unsigned char *at, size_t room)
{
	size_t size;

	switch (request->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out *init = (void *)at;

		memset(init, 0, sizeof *init);
		init->major = one_in(state, 30) ? (uint32_t)number(state) : 7;
		init->minor = one_in(state, 6) ? (uint32_t)number(state) : 38;
		init->flags = (uint32_t)next(state);
		init->max_write = one_in(state, 4) ? (uint32_t)number(state) : 65536;
		init->max_readahead = (uint32_t)number(state);
		init->max_pages = (uint16_t)number(state);
		init->max_background = (uint16_t)number(state);
		init->time_gran = one_in(state, 3) ? (uint32_t)number(state) : 1;
		return sizeof *init;
	}
	case FUSE_LOOKUP:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		fill_entry(state, (void *)at);
		return sizeof(struct fuse_entry_out);
	case FUSE_GETATTR:
	case FUSE_SETATTR: {
		struct fuse_attr_out *out = (void *)at;

		memset(out, 0, sizeof *out);
		fill_attr(state, &out->attr);
		if (request->nodeid == 1 && !one_in(state, 10))
			out->attr.mode = S_IFDIR | 0777;
		return sizeof *out;
	}
	case FUSE_CREATE:
		fill_entry(state, (void *)at);
		((struct fuse_entry_out *)at)->attr.mode = S_IFREG | 0666;
		/* fall through */
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		struct fuse_open_out *out = (void *)(at + (request->opcode == FUSE_CREATE ? sizeof(struct fuse_entry_out) : 0));

		*out = (struct fuse_open_out){ .fh = number(state), .open_flags = (uint32_t)below(state, 64) };
		return (unsigned char *)(out + 1) - at;
	}
	case FUSE_READDIR:
		return fill_directory(state, at, room < 4096 ? room : 4096, 0);
	case FUSE_READDIRPLUS:
		return fill_directory(state, at, room < 4096 ? room : 4096, 1);
	case FUSE_WRITE:
		size = ((const struct fuse_write_in *)(request + 1))->size;
		*(struct fuse_write_out *)at = (struct fuse_write_out){ .size = one_in(state, 3) ? (uint32_t)number(state) : (uint32_t)size };
		return sizeof(struct fuse_write_out);
	case FUSE_READ:
		size = ((const struct fuse_read_in *)(request + 1))->size;
		return one_in(state, 4) ? below(state, room) : below(state, size + 1);
	case FUSE_STATFS:
		scramble(state, at, sizeof(struct fuse_statfs_out));
		return sizeof(struct fuse_statfs_out);
	case FUSE_READLINK:
		return below(state, one_in(state, 10) ? 5000 : 30);
	case FUSE_IOCTL:
		*(struct fuse_ioctl_out *)at = (struct fuse_ioctl_out){ .result = (int)number(state), .flags = (uint32_t)below(state, 8), .in_iovs = (uint32_t)number(state), .out_iovs = below(state, 3) };
		return sizeof(struct fuse_ioctl_out) + below(state, 100);
	default:
		scramble(state, at, 200);
		return one_in(state, 3) ? 0 : below(state, 17) * 8;
	}
}

static void notice(uint64_t *state)
{
	unsigned char bytes[256];
	struct fuse_out_header *header = (void *)bytes;

	scramble(state, bytes, sizeof bytes);
	for (size_t i = 0; i < 6; i++)
		((uint64_t *)(header + 1))[i] = one_in(state, 3) ? number(state) : below(state, 12);
	*header = (struct fuse_out_header){ .len = (uint32_t)(sizeof *header + below(state, 100)), .error = (int)below(state, 9), .unique = 0 };
	write(device, bytes, one_in(state, 10) ? sizeof bytes : header->len);
}

static void serve(uint64_t *state)
{
	static unsigned char request[1 << 18], answer[1 << 18];
	const struct fuse_in_header *in = (void *)request;
	struct fuse_out_header *out = (void *)answer;

	for (;;) {
		ssize_t length = read(device, request, sizeof request);

		if (length < (ssize_t)sizeof *in) {
			sched_yield();
			continue;
		}
		if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET)
			continue;
		if (one_in(state, 3))
			scramble(state, answer, 4096);
		out->len = (uint32_t)(sizeof *out + body(state, in, answer + sizeof *out, sizeof answer - sizeof *out));
		out->error = 0;
		out->unique = in->unique;
		if (one_in(state, 12) && in->opcode != FUSE_INIT) {
			out->error = one_in(state, 3) ? (int)number(state) : -(int)below(state, 520);
			out->len = sizeof *out;
		}
		if (one_in(state, 15))
			mutate(state, answer + (one_in(state, 4) ? 0 : sizeof *out), out->len < 256 ? out->len : 256);
		write(device, answer, out->len < sizeof answer ? out->len : sizeof answer);
		if (one_in(state, 20))
			write(device, answer, out->len < sizeof answer ? out->len : sizeof answer);
		if (one_in(state, 10))
			notice(state);
	}
}

static const char *name(uint64_t *state)
{
	static char names[4][128];
	static unsigned turn;
	char *at = names[turn++ % 4];
	int used = snprintf(at, 128, "%s", place);

	for (uint64_t i = below(state, 4); i > 0; i--)
		used += snprintf(at + used, 128 - used, "/%c", 'a' + (int)below(state, 4));
	return at;
}

static void step(uint64_t *state)
{
	static char bytes[70000];
	struct stat status;
	int fd;

	switch (below(state, 12)) {
	case 0:
		stat(name(state), &status);
		break;
	case 1: {
		DIR *directory = opendir(name(state));

		for (int i = 0; directory && i < 100 && readdir(directory); i++)
			;
		if (directory)
			closedir(directory);
		break;
	}
	case 2:
		mkdir(name(state), 0777);
		rename(name(state), name(state));
		break;
	case 3:
		unlink(name(state));
		rmdir(name(state));
		break;
	case 4:
		symlink("a/b", name(state));
		link(name(state), name(state));
		mknod(name(state), S_IFIFO | 0666, 0);
		readlink(name(state), bytes, sizeof bytes);
		break;
	case 5:
		setxattr(name(state), "user.a", bytes, below(state, 100), 0);
		getxattr(name(state), "user.a", bytes, below(state, sizeof bytes));
		listxattr(name(state), bytes, below(state, sizeof bytes));
		getxattr(name(state), "system.posix_acl_access", bytes, sizeof bytes);
		break;
	case 6:
		truncate(name(state), one_in(state, 3) ? (off_t)number(state) : (off_t)below(state, 9000));
		chmod(name(state), 0777);
		access(name(state), W_OK);
		break;
	default:
		fd = open(name(state), O_RDWR | O_NONBLOCK | (one_in(state, 2) ? O_CREAT : 0) | (one_in(state, 4) ? O_DIRECT : 0) | (one_in(state, 8) ? O_APPEND : 0) | (one_in(state, 8) ? O_TRUNC : 0), 0666);
		for (uint64_t i = 1 + below(state, 6); i > 0; i--) {
			off_t at = one_in(state, 5) ? (off_t)number(state) : (off_t)below(state, 20000);
			char *mapped;

			switch (below(state, 9)) {
			case 0:
				pread(fd, bytes, below(state, sizeof bytes), at);
				break;
			case 1:
				pwrite(fd, bytes, below(state, sizeof bytes), at);
				break;
			case 2:
				mapped = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, one_in(state, 2) ? MAP_SHARED : MAP_PRIVATE, fd, 0);
				if (mapped != MAP_FAILED) {
					/* Behind the end there may be nothing: the kernel looks for us. */
					pwrite(device, mapped, 0, 0);
					write(open("/dev/null", O_WRONLY), mapped, 3 * PAGE);
					msync(mapped, 3 * PAGE, MS_SYNC);
					munmap(mapped, 3 * PAGE);
				}
				break;
			case 3:
				fallocate(fd, (int)below(state, 4), at, below(state, 10000));
				break;
			case 4:
				flock(fd, (int)below(state, 16) | LOCK_NB);
				fcntl(fd, F_SETLK, &(struct flock){ .l_type = (short)below(state, 3), .l_start = at, .l_len = below(state, 9) });
				break;
			case 5:
				lseek(fd, at, (int)below(state, 5));
				break;
			case 6:
				ioctl(fd, one_in(state, 2) ? (unsigned long)number(state) : _IOC(below(state, 4), 'f', below(state, 40), below(state, 64)), bytes);
				break;
			case 7:
				fsync(fd);
				poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 0);
				break;
			default:
				syscall(SYS_copy_file_range, fd, NULL, fd, NULL, below(state, 5000), 0);
			}
		}
	}
	/* The device is the first of all. */
	syscall(SYS_close_range, device + 1, ~0u, 0);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, serve };

	return run_fuzzer(argc, argv, &fuzzer);
}
