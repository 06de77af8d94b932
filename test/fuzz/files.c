/*
 * Texts and numbers written to every file of /proc, /sys and the cgroups that takes them; mounts of all kinds with right and
 * wrong options; attributes, handles, keys, rules, programs: what is given to the kernel by name or in structures.
 */
#include "fuzz.h"
#include <dirent.h>
#include <linux/bpf.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/xattr.h>

#define MAX_FILES 2000
#define MAX_DEPTH 7

static char *files[MAX_FILES];
static size_t count;
static char place[64];

static int left_alone(const char *path)
{
	/* The end of the run, or of its input and output. */
	static const char *const names[] = { "sysrq", "/fd/", "/task/", "core_pattern", "cgroup.kill", "cgroup.freeze", "/proc/1/", "/mem", "cad_pid", "memory.max", "pids.max",
					     "memory.high", "pid_max", "threads-max", "/proc/kmsg", "cgroup.procs", "/user/max_", "reclaim", "freezer.state", "limit_in_bytes" };

	for (size_t i = 0; i < LENGTH(names); i++)
		if (strstr(path, names[i]))
			return 1;
	return 0;
}

static void collect(const char *path, int depth)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	char name[512];

	if (!directory)
		return;
	while ((entry = readdir(directory)) && count < MAX_FILES) {
		struct stat status;

		if (entry->d_name[0] == '.' || snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name || lstat(name, &status))
			continue;
		/* Of the processes our own is enough. */
		if (!strcmp(path, "/proc") && entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			continue;
		if (S_ISDIR(status.st_mode) && depth < MAX_DEPTH)
			collect(name, depth + 1);
		else if (S_ISREG(status.st_mode) && (status.st_mode & 0222) && !left_alone(name))
			files[count++] = strdup(name);
	}
	closedir(directory);
}

static void begin(uint64_t *state)
{
	snprintf(place, sizeof place, "/sys/fs/cgroup/fuzz%d", getpid());
	mkdir(place, 0755);
	collect(place, 0);
	snprintf(place, sizeof place, "/proc/%d", getpid());
	collect(place, 0);
	collect("/proc/sys", 0);
	collect("/sys", 0);
	if (one_in(state, 2))
		unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET);
	else
		unshare(CLONE_NEWNS);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mkdir("/tmp/fuzz", 0777);
	snprintf(place, sizeof place, "/tmp/fuzz/%d", getpid());
	mkdir(place, 0777);
	chdir(place);
	mkdir("a", 0777);
	mkdir("b", 0777);
	mkdir("c", 0777);
	close(open("f", O_CREAT | O_RDWR, 0666));
}

static size_t text(uint64_t *state, char *at, size_t room)
{
	static const char *const words[] = {
		"0", "1", "-1", "max", "all", "none", "memory", "+memory", "-cpu", "+pids +cpu", "0-3", "0,2-5/3", "default", "root", "member", "threaded", "some 500000 1000000",
		"full", "100000 50000", "4096", "18446744073709551616", "0x10", "0 0 4294967295", "1000 0 1", "deny", "allow", "::1", "127.0.0.1", "lo", "\n", " ", "/",
		"c 1:3 rwm", "8:0 rbps=1", "a", "reno cubic", "bbr", "32768 60999", "4096 16384 4194304", "\\x41", "%p %s", "|/bin/true", "on", "off", "Y", "exec ", "changeprofile x", ":fuzz:M::ABC::/bin/true:", "fuzz",
	};
	size_t used = 0;

	for (uint64_t pieces = 1 + below(state, 4); pieces > 0; pieces--) {
		const char *word = words[below(state, LENGTH(words))];
		char number_text[32];

		snprintf(number_text, sizeof number_text, one_in(state, 2) ? "%lld" : "%llu", (long long)number(state));
		if (one_in(state, 3))
			word = number_text;
		if (used + strlen(word) + 2 > room)
			break;
		used += sprintf(at + used, "%s%s", word, one_in(state, 3) ? "\n" : " ");
	}
	if (one_in(state, 5) && used > 0)
		at[below(state, used)] = next(state);
	if (one_in(state, 50)) {
		scramble(state, at, room);
		used = room;
	}
	return one_in(state, 2) && used > 0 ? used - 1 : used;
}

static void write_file(uint64_t *state)
{
	const char *path = files[below(state, count)];
	char before[4096], bytes[512];
	int fd = open(path, O_RDWR | O_NONBLOCK);
	ssize_t length;

	if (fd < 0)
		fd = open(path, O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return;
	length = pread(fd, before, sizeof before, 0);
	pwrite(fd, bytes, text(state, bytes, sizeof bytes), one_in(state, 10) ? (off_t)number(state) : 0);
	if (one_in(state, 3))
		pread(fd, bytes, below(state, sizeof bytes), one_in(state, 3) ? (off_t)number(state) : (off_t)below(state, 600));
	/* So that the run goes on as it began. */
	if (length > 0 && strstr(path, "/proc/sys/"))
		pwrite(fd, before, length, 0);
	close(fd);
}

static const char *const types[] = { "tmpfs", "ramfs", "proc", "sysfs", "overlay", "devpts", "mqueue", "cgroup2", "cgroup", "devtmpfs", "bpf", "fuse", "ext4", "binfmt_misc", "securityfs", "tracefs", "debugfs", "hugetlbfs", "nsfs" };
static const char *const options[] = {
	"size=1m", "size=50%", "size=-1", "nr_inodes=5", "mode=0700", "mode=99999", "uid=0", "gid=-1", "lowerdir=a:b", "lowerdir=a,upperdir=b,workdir=c", "upperdir=b", "workdir=c",
	"lowerdir+=a", "datadir+=b", "redirect_dir=on", "metacopy=on", "userxattr", "index=on", "xino=on", "volatile", "hidepid=2", "subset=pid", "newinstance", "ptmxmode=0666",
	"max=3", "nsdelegate", "memory_recursiveprot", "fd=3", "rootmode=40000", "user_id=0", "group_id=0", "huge=always", "noswap", "inode64", "ro", "rw", "nosuid", "name=x", "none",
	"cpu,cpuacct", "source=x", "default_permissions", "allow_other", "max_read=5", "lowerdir=a:b:c::f", "lowerdir=\\:a", "=", ",,,", "delegate_cmds=any",
};

static const char *entry(uint64_t *state)
{
	static const char *const entries[] = { "a", "b", "c", "f", "a/x", "b/y", ".", "/", "a/..", "/proc/self/fd/3", "/proc", "/sys", "/tmp", "g", "" };

	return entries[below(state, LENGTH(entries))];
}

static void old_mount(uint64_t *state)
{
	char joined[256] = "";

	for (uint64_t i = below(state, 4); i > 0; i--) {
		strncat(joined, options[below(state, LENGTH(options))], 50);
		if (i > 1)
			strcat(joined, ",");
	}
	if (one_in(state, 6))
		mutate(state, joined, sizeof joined - 1);
	mount(one_in(state, 2) ? entry(state) : "x", entry(state), one_in(state, 3) ? NULL : types[below(state, LENGTH(types))],
	      one_in(state, 2) ? 0 : 1ul << below(state, 26) | (one_in(state, 2) ? 1ul << below(state, 26) : 0), one_in(state, 8) ? (void *)number(state) : joined);
	if (one_in(state, 3))
		umount2(entry(state), (int)below(state, 16));
	if (one_in(state, 20))
		syscall(SYS_pivot_root, entry(state), entry(state));
}

static void new_mount(uint64_t *state)
{
	int context = syscall(SYS_fsopen, types[below(state, LENGTH(types))], below(state, 2)), tree;
	struct mount_attr attributes = { 1ull << below(state, 24), one_in(state, 2) ? 1ull << below(state, 24) : 0, 1ull << below(state, 22), one_in(state, 2) ? 0 : below(state, 20) };

	for (uint64_t i = below(state, 5); i > 0; i--) {
		char key[64], *value;

		strncpy(key, options[below(state, LENGTH(options))], sizeof key - 1);
		key[sizeof key - 1] = 0;
		value = strchr(key, '=');
		if (value)
			*value++ = 0;
		syscall(SYS_fsconfig, context, one_in(state, 5) ? (int)number(state) : value ? 1 : 0, key, value, one_in(state, 5) ? (int)number(state) : 0);
	}
	syscall(SYS_fsconfig, context, one_in(state, 8) ? 7 : 6, NULL, NULL, 0);
	tree = one_in(state, 3) ? syscall(SYS_open_tree, AT_FDCWD, entry(state), one_in(state, 4) ? (unsigned)number(state) : 1 | (unsigned)below(state, 2) << 15) :
				  syscall(SYS_fsmount, context, below(state, 2), one_in(state, 3) ? 1u << below(state, 22) : 0);
	if (one_in(state, 2))
		syscall(SYS_mount_setattr, tree, one_in(state, 2) ? "" : entry(state), AT_EMPTY_PATH | (one_in(state, 2) ? AT_RECURSIVE : 0), &attributes,
			one_in(state, 8) ? number(state) : sizeof attributes);
	syscall(SYS_move_mount, tree, "", AT_FDCWD, entry(state), one_in(state, 4) ? (unsigned)below(state, 1024) : 4);
	openat(tree, one_in(state, 2) ? "a" : "..", O_CREAT | O_RDWR, 0644);
	syscall(SYS_fspick, AT_FDCWD, entry(state), below(state, 16));
}

static void attribute(uint64_t *state)
{
	static const char *const names[] = { "user.a", "security.capability", "system.posix_acl_access", "system.posix_acl_default", "trusted.overlay.opaque", "user.overlay.redirect", "security.selinux", "", "user.",
					     "trusted.overlay.metacopy", "system.nfs4_acl" };
	static unsigned char value[70000];
	const char *name = names[below(state, LENGTH(names))], *path = entry(state);
	size_t length = one_in(state, 10) ? below(state, sizeof value) : below(state, 60);

	scramble(state, value, 64);
	if (strstr(name, "acl"))
		memcpy(value, &(uint32_t){ 2 }, 4);
	if (strstr(name, "capability"))
		memcpy(value, &(uint32_t){ (1 + below(state, 3)) << 24 | below(state, 2) }, 4);
	setxattr(path, name, value, length, (int)below(state, 4));
	getxattr(path, name, value, one_in(state, 3) ? number(state) : sizeof value);
	listxattr(path, (char *)value, one_in(state, 3) ? number(state) : sizeof value);
	if (one_in(state, 4))
		removexattr(path, name);
	chmod(path, (mode_t)number(state));
	chown(path, (uid_t)number(state), (gid_t)number(state));
	truncate(path, one_in(state, 4) ? (off_t)number(state) : (off_t)below(state, 9000));
	rename(entry(state), entry(state));
	link(entry(state), entry(state));
	symlink(entry(state), entry(state));
}

static void handle(uint64_t *state)
{
	uint32_t bytes[64] = { one_in(state, 4) ? (uint32_t)number(state) : 128 };
	int mount_id;

	syscall(SYS_name_to_handle_at, AT_FDCWD, entry(state), bytes, &mount_id, one_in(state, 4) ? (int)number(state) : AT_EMPTY_PATH);
	mutate(state, bytes, 64);
	syscall(SYS_open_by_handle_at, open(".", O_RDONLY), bytes, O_RDONLY);
	syscall(457, bytes, bytes, one_in(state, 3) ? number(state) : sizeof bytes, 0);
	syscall(458, bytes, bytes, below(state, 32), 0);
}

static void rules(uint64_t *state)
{
	uint64_t words[32];

	for (size_t i = 0; i < LENGTH(words); i++)
		words[i] = one_in(state, 3) ? number(state) : one_in(state, 3) ? (uintptr_t)words : below(state, 10) | below(state, 10) << 32;
	switch (below(state, 7)) {
	case 0: {
		union bpf_attr *attribute = (void *)words;

		syscall(SYS_bpf, below(state, 40), attribute, one_in(state, 3) ? number(state) : sizeof words);
		break;
	}
	case 1:
		syscall(SYS_keyctl, below(state, 33), words[0], words[1], (uintptr_t)words, words[2]);
		break;
	case 2:
		syscall(SYS_add_key, one_in(state, 2) ? "user" : "keyring", "x", words, one_in(state, 4) ? number(state) : 40, -(int)below(state, 9));
		break;
	case 3: {
		int set = syscall(SYS_landlock_create_ruleset, words, 8 * below(state, 4), 0);

		syscall(SYS_landlock_add_rule, set, below(state, 4), words, 0);
		close(set);
		break;
	}
	case 4: {
		int fd = fanotify_init((unsigned)below(state, 4096), O_RDONLY);

		fanotify_mark(fd, (unsigned)below(state, 2048), number(state), AT_FDCWD, entry(state));
		write(fd, words, below(state, 64));
		close(fd);
		break;
	}
	case 5: {
		int fd = inotify_init1(IN_NONBLOCK);

		inotify_add_watch(fd, entry(state), (uint32_t)number(state));
		attribute(state);
		read(fd, words, below(state, sizeof words));
		close(fd);
		break;
	}
	default:
		syscall(SYS_quotactl, (int)number(state), entry(state), below(state, 10), words);
		syscall(SYS_statx, AT_FDCWD, entry(state), (int)below(state, 1 << 16), (unsigned)number(state), words);
		swapon(entry(state), (int)number(state));
	}
}

static void step(uint64_t *state)
{
	switch (below(state, 10)) {
	case 0:
		new_mount(state);
		break;
	case 1:
		old_mount(state);
		break;
	case 2:
		attribute(state);
		break;
	case 3:
		handle(state);
		break;
	case 4:
		rules(state);
		break;
	default:
		if (count > 0)
			write_file(state);
	}
	syscall(SYS_close_range, 16, ~0u, 0);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
