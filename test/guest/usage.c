/* getrusage(2), times(2), /proc/PID/stat and io: what a process has used. */
#include "observe.h"
#include <sys/times.h>

static struct rusage use(int who)
{
	struct rusage usage;

	MUST(getrusage(who, &usage));
	return usage;
}

SECTION("getrusage: pages that are touched are minor faults")
{
	size_t pages = 2000;
	struct rusage before = use(RUSAGE_SELF);
	char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(madvise(memory, pages * 4096, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < pages; i++)
		memory[i * 4096] = 1;
	struct rusage after = use(RUSAGE_SELF);
	SHOW(after.ru_minflt - before.ru_minflt >= 2000);
	SHOW(after.ru_minflt - before.ru_minflt < 2200);
	SHOW(after.ru_maxrss >= 8000);
	SHOW(after.ru_majflt == before.ru_majflt);
	SHOW(after.ru_nvcsw >= before.ru_nvcsw);
}

SECTION("getrusage: a child's faults count when it has been waited for")
{
	struct rusage usage;
	pid_t child = MUST(fork());

	if (child == 0) {
		size_t pages = 1500;
		char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(memory, pages * 4096, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < pages; i++)
			memory[i * 4096] = 1;
		_exit(0);
	}
	SHOW(use(RUSAGE_CHILDREN).ru_minflt);
	MUST(wait4(child, NULL, 0, &usage));
	SHOW(usage.ru_minflt >= 1500 && usage.ru_minflt < 1800);
	SHOW(use(RUSAGE_CHILDREN).ru_minflt == usage.ru_minflt);
	SHOW(use(RUSAGE_CHILDREN).ru_maxrss == usage.ru_maxrss);
}

SECTION("getrusage: time never goes back, and user time grows by what is computed")
{
	struct rusage last = use(RUSAGE_SELF);
	volatile unsigned sum = 0;
	bool back = false;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 5000000; i++)
			sum += i;
		struct rusage now = use(RUSAGE_SELF);
		back |= timercmp(&now.ru_utime, &last.ru_utime, <) || timercmp(&now.ru_stime, &last.ru_stime, <);
		last = now;
	}
	SHOW(back);
	SHOW(last.ru_utime.tv_sec * 1000000 + last.ru_utime.tv_usec > 20000);
	struct tms all;
	MUST(times(&all));
	SHOW(all.tms_utime > 0);
}

SECTION("proc: io counts what was read and written")
{
	char buffer[1000] = "", line[64];
	long before[4], after[4];
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	for (int round = 0; round < 2; round++) {
		FILE *io = fopen("/proc/self/io", "re");
		long *values = round ? after : before;

		for (int i = 0; i < 4; i++) {
			MUST(fgets(line, sizeof line, io) ? 0 : -1);
			values[i] = atol(strchr(line, ':') + 1);
			if (!round)
				TEXT(strtok(line, ":"));
		}
		fclose(io);
		if (round)
			break;
		MUST(write(fd, buffer, sizeof buffer));
		MUST(pwrite(fd, buffer, 500, 0));
		MUST(lseek(fd, 0, SEEK_SET));
		MUST(read(fd, buffer, 300));
		struct iovec two[] = { { buffer, 100 }, { buffer + 200, 200 } };
		MUST(preadv(fd, two, 2, 0));
		read(-1, buffer, 1);
	}
	SHOW(after[0] - before[0] >= 600);
	SHOW(after[0] - before[0] < 2000);
	SHOW(after[1] - before[1] >= 1500);
	SHOW(after[2] - before[2] >= 3);
	SHOW(after[3] - before[3] >= 2);
}
