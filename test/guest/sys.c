/* /sys: processors, their caches, the loopback device, and file systems of pages that aren't there. */
#include "observe.h"
#include <dirent.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static void show_file(const char *directory, const char *name)
{
	char path[512], text[512] = "";
	struct stat stat;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	if (lstat(path, &stat) < 0) {
		say("  %s: %s\n", name, error_name(errno));
		return;
	}
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	text[got > 0 ? got : 0] = 0;
	say("  %s %o %s%s", name, stat.st_mode & 07777, got < 0 ? error_name(errno) : text,
	    got > 0 && text[got - 1] == '\n' ? "" : "\n");
	if (fd >= 0)
		close(fd);
}

static void show_files(const char *directory, const char *const *names)
{
	say("%s\n", directory);
	for (; *names; names++)
		show_file(directory, *names);
}

SECTION("which processors belong together")
{
	static const char *const names[] = { "core_cpus", "core_cpus_list", "core_id", "core_siblings", "core_siblings_list",
		"package_cpus", "package_cpus_list", "physical_package_id", "thread_siblings",
		"thread_siblings_list", NULL };
	for (int cpu = 0; cpu < 2; cpu++) {
		char directory[64];
		snprintf(directory, sizeof directory, "/sys/devices/system/cpu/cpu%d/topology", cpu);
		show_files(directory, names);
	}
	static const char *const smt[] = { "active", "control", NULL };
	show_files("/sys/devices/system/cpu/smt", smt);
	static const char *const sets[] = { "online", "possible", "present", "offline", "isolated", NULL };
	show_files("/sys/devices/system/cpu", sets);
}

SECTION("caches")
{
	static const char *const names[] = { "level", "type", "size", "number_of_sets", "ways_of_associativity",
		"coherency_line_size", "physical_line_partition", "shared_cpu_list", "shared_cpu_map", NULL };
	for (int cpu = 0; cpu < 2; cpu++)
		for (int i = 0; i < 5; i++) {
			char directory[64];
			snprintf(directory, sizeof directory, "/sys/devices/system/cpu/cpu%d/cache/index%d", cpu, i);
			if (access(directory, F_OK) < 0)
				say("%s: %s\n", directory, error_name(errno));
			else
				show_files(directory, names);
		}
}

SECTION("vulnerabilities")
{
	static const char *const names[] = { "meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds",
		"srbds", "retbleed", "nothing", NULL };
	show_files("/sys/devices/system/cpu/vulnerabilities", names);
}

SECTION("the loopback device")
{
	static const char *const names[] = { "addr_assign_type", "addr_len", "address", "broadcast", "carrier_changes",
		"carrier_down_count", "carrier_up_count", "dev_id", "dev_port", "duplex", "gro_flush_timeout", "ifalias",
		"ifindex", "iflink", "link_mode", "mtu", "name_assign_type", "napi_defer_hard_irqs", "netdev_group",
		"operstate", "phys_port_id", "proto_down", "speed", "testing", "threaded", "tx_queue_len", "type", "uevent",
		"tun_flags", "owner", "queues/rx-0/rps_cpus", "queues/tx-0/tx_timeout", "power/control",
		"power/runtime_status", NULL };
	show_files("/sys/class/net/lo", names);
}

SECTION("hugetlbfs can be mounted, and is empty")
{
	need_root();
	struct statfs fs;

	MUST(mkdir("huge", 0755));
	ERR(mount("what", "huge", "hugetlbfs", 0, "pagesize=2M"));
	MUST(statfs("huge", &fs));
	HEX(fs.f_type);
	SHOW(fs.f_bsize);
	SHOW(fs.f_bfree);
	ERR(umount("huge"));
	ERR(mount("what", "huge", "hugetlbfs", 0, "pagesize=3M"));
	ERR(mount("what", "huge", "hugetlbfs", 0, "no"));
	ERR(mount("what", "huge", "hugetlbfs", 0, "mode=700,uid=5"));
	struct stat stat;
	MUST(lstat("huge", &stat));
	say("%o %d\n", stat.st_mode, stat.st_uid);
	ERR(umount("huge"));
}
