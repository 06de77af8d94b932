/* statmount(2), listmount(2). */
#include "observe.h"
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define statmount_nr 457
#define listmount_nr 458
#define LSMT_ROOT 0xffffffffffffffffull

struct request {
	uint32_t size, spare;
	uint64_t id, param, ns;
};

struct statm {
	uint32_t size, mnt_opts;
	uint64_t mask;
	uint32_t dev_major, dev_minor;
	uint64_t magic;
	uint32_t sb_flags, fs_type;
	uint64_t mnt_id, mnt_parent_id;
	uint32_t mnt_id_old, mnt_parent_id_old;
	uint64_t attr, propagation, peer_group, master, propagate_from;
	uint32_t mnt_root, mnt_point;
	uint64_t ns_id, spare[49];
	char str[2048];
};

static long statmount(uint64_t id, uint64_t mask, void *buffer, size_t size)
{
	struct request request = { sizeof request, 0, id, mask, 0 };

	return syscall(statmount_nr, &request, buffer, size, 0);
}

static long listmount(uint64_t id, uint64_t last, uint64_t *ids, size_t count, unsigned flags)
{
	struct request request = { sizeof request, 0, id, last, 0 };

	return syscall(listmount_nr, &request, ids, count, flags);
}

static uint64_t id_of(const char *path)
{
	struct statx st;

	MUST(statx(AT_FDCWD, path, 0, 0x4000, &st));
	return ((uint64_t *)&st)[18];
}

/* In a mount namespace of its own, with two file systems in the working directory. */
static void own_mounts(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("outer", 0755));
	MUST(mount("source", "outer", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=700"));
	MUST(mkdir("outer/inner", 0755));
	MUST(mount("source", "outer/inner", "tmpfs", MS_RDONLY | MS_NOATIME, NULL));
}

SECTION("statmount: what a mount is")
{
	struct statm m = { 0 };

	own_mounts();
	ERR(statmount(id_of("outer"), 0x1 | 0x2 | 0x4, &m, sizeof m));
	HEX(m.mask);
	HEX(m.magic);
	SHOW(m.dev_major);
	HEX(m.sb_flags);
	HEX(m.attr);
	HEX(m.propagation);
	SHOW(m.peer_group);
	SHOW(m.master);
	SHOW(m.mnt_id == id_of("outer"));
	SHOW(m.mnt_parent_id == id_of("."));
	SHOW(m.size);
	MUST(mount(NULL, "outer", NULL, MS_SHARED, NULL));
	ERR(statmount(id_of("outer"), 0x2, &m, sizeof m));
	HEX(m.propagation);
	SHOW(m.peer_group != 0);
	ERR(statmount(id_of("outer/inner"), 0x1 | 0x2, &m, sizeof m));
	HEX(m.sb_flags);
	HEX(m.attr);
	SHOW(m.mnt_parent_id == id_of("outer"));
	MUST(mount(NULL, "outer/inner", NULL, MS_REMOUNT | MS_BIND | MS_STRICTATIME, NULL));
	ERR(statmount(id_of("outer/inner"), 0x2, &m, sizeof m));
	HEX(m.attr);
}

SECTION("statmount: strings")
{
	struct statm m = { 0 };
	char cwd[256];

	own_mounts();
	MUST(getcwd(cwd, sizeof cwd));
	ERR(statmount(id_of("outer/inner"), 0x20, &m, sizeof m));
	HEX(m.mask);
	TEXT(m.str + m.fs_type);
	SHOW(m.size);
	ERR(statmount(id_of("outer/inner"), 0x8 | 0x10, &m, sizeof m));
	HEX(m.mask);
	TEXT(m.str + m.mnt_root);
	SHOW(!strncmp(m.str + m.mnt_point, cwd, strlen(cwd)));
	TEXT(m.str + m.mnt_point + strlen(cwd));
	MUST(mkdir("outer/sub", 0755));
	MUST(mkdir("bound", 0755));
	MUST(mount("outer/sub", "bound", NULL, MS_BIND, NULL));
	ERR(statmount(id_of("bound"), 0x8, &m, sizeof m));
	TEXT(m.str + m.mnt_root);
	ERR(statmount(id_of("outer"), 0x20, &m, 512));
	ERR(statmount(id_of("outer"), 0x20, &m, 512 + 6));
	ERR(statmount(id_of("outer"), 0x20, &m, 512 + 5));
	ERR(statmount(id_of("outer"), 0x2, &m, 16));
	SHOW(m.size);
}

SECTION("statmount: wrong arguments")
{
	struct statm m;
	struct request request = { 24, 0, id_of("/"), 2, 0 };

	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0x80));
	ERR(syscall(statmount_nr, NULL, &m, sizeof m, 0));
	ERR(syscall(statmount_nr, &request, (void *)-1, sizeof m, 0));
	request.size = 23;
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
	request.size = 5000;
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
	request.size = 24;
	request.id = 5;
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
	request.id = 0;
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
	request.id = (1ull << 32) + (1ull << 31);
	ERR(syscall(statmount_nr, &request, &m, sizeof m, 0));
}

SECTION("listmount: what is below a mount")
{
	/* A machine can have many mounts. */
	uint64_t ids[4096];

	own_mounts();
	long all = listmount(LSMT_ROOT, 0, ids, LENGTH(ids), 0);
	SHOW(all > 2);
	SHOW(ids[all - 1] == id_of("outer/inner"));
	SHOW(ids[all - 2] == id_of("outer"));
	RET(listmount(id_of("outer"), 0, ids, LENGTH(ids), 0));
	SHOW(ids[0] == id_of("outer/inner"));
	RET(listmount(id_of("outer/inner"), 0, ids, LENGTH(ids), 0));
	RET(listmount(LSMT_ROOT, id_of("outer"), ids, LENGTH(ids), 0));
	SHOW(ids[0] == id_of("outer/inner"));
	RET(listmount(LSMT_ROOT, 0, ids, 1, 1));
	SHOW(ids[0] == id_of("outer/inner"));
	RET(listmount(LSMT_ROOT, id_of("outer/inner"), ids, 1, 1));
	SHOW(ids[0] == id_of("outer"));
	RET(listmount(LSMT_ROOT, id_of("outer/inner"), ids, LENGTH(ids), 0));
	RET(listmount(LSMT_ROOT, 0, ids, 0, 0));
}

SECTION("listmount: a root that is elsewhere sees what is below it")
{
	uint64_t ids[64];
	struct statm m;

	own_mounts();
	uint64_t outside = id_of(".");
	uint64_t inner = id_of("outer/inner");
	MUST(chroot("outer"));
	RET(listmount(LSMT_ROOT, 0, ids, 64, 0));
	SHOW(ids[1] == inner);
	ERR(statmount(inner, 0x10, &m, sizeof m));
	TEXT(m.str + m.mnt_point);
	ERR(statmount(outside, 0x2, &m, sizeof m));
	MUST(setresuid(1000, 1000, 1000));
	ERR(statmount(outside, 0x2, &m, sizeof m));
	ERR(statmount(inner, 0x2, &m, sizeof m));
	ERR(listmount(outside, 0, ids, 64, 0));
}

SECTION("listmount: wrong arguments")
{
	uint64_t ids[4];

	ERR(listmount(LSMT_ROOT, 0, ids, 4, 2));
	ERR(listmount(LSMT_ROOT, 5, ids, 4, 0));
	ERR(listmount(5, 0, ids, 4, 0));
	ERR(listmount((1ull << 32) + (1ull << 31), 0, ids, 4, 0));
	ERR(listmount(LSMT_ROOT, 0, ids, 2000000, 0));
	ERR(listmount(LSMT_ROOT, 0, NULL, 4, 0));
	ERR(syscall(listmount_nr, NULL, ids, 4, 0));
}

SECTION("ramfs: no limits, no attributes, options that mean nothing")
{
	struct statfs about;
	struct stat st;

	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	ERR(mount("source", "m", "ramfs", MS_NOSUID, "mode=1700,size=4k,nonsense"));
	MUST(statfs("m", &about));
	SHOW(about.f_type == 0x858458f6);
	SHOW(about.f_blocks + about.f_files);
	MUST(stat("m", &st));
	SHOW(st.st_mode & 07777);
	write_file("m/file", "text");
	ERR(setxattr("m/file", "user.x", "y", 1, 0));
	ERR(getxattr("m/file", "user.x", NULL, 0));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, "size=1k"));
	ERR(open("m/other", O_CREAT | O_WRONLY, 0600));
	ERR(umount("m"));
	ERR(mount("source", "m", "ramfs", 0, NULL));
	MUST(stat("m", &st));
	SHOW(st.st_mode & 07777);
	SHOW(access("m/file", F_OK));
}
