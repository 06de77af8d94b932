/* perf_event_open(2): counters by software. */
#include "observe.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>

static long event(struct perf_event_attr *attributes, pid_t pid, int cpu, int group, unsigned long flags)
{
	return syscall(SYS_perf_event_open, attributes, pid, cpu, group, flags);
}

static struct perf_event_attr software(unsigned long config)
{
	return (struct perf_event_attr){ .type = PERF_TYPE_SOFTWARE, .size = sizeof(struct perf_event_attr),
					 .config = config, .exclude_kernel = 1, .exclude_hv = 1 };
}

static int counter(unsigned long config)
{
	struct perf_event_attr attributes = software(config);

	return MUST(event(&attributes, 0, -1, -1, 0));
}

static uint64_t value(int fd)
{
	uint64_t count = 0;

	MUST(read(fd, &count, sizeof count));
	return count;
}

static void burn(long milliseconds)
{
	struct timespec now;
	long end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	end = now.tv_sec * 1000 + now.tv_nsec / 1000000 + milliseconds;
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < end);
}

SECTION("perf_event_open: arguments")
{
	struct perf_event_attr attributes = software(PERF_COUNT_SW_TASK_CLOCK);

	ERR(event(NULL, 0, -1, -1, 0));
	ERR(event(&attributes, 0, -1, -1, 16));
	ERR(event(&attributes, -1, -1, -1, 0));
	ERR(event(&attributes, 0, -1, 99, 0));
	ERR(event(&attributes, 0, -1, MUST(open("/dev/null", O_RDONLY)), 0));
	ERR(event(&attributes, 99999999, -1, -1, 0));
	ERR(event(&attributes, -1, -1, -1, PERF_FLAG_PID_CGROUP));
	ERR(event(&attributes, 0, 99999, -1, 0));
	attributes.size = 8;
	ERR(event(&attributes, 0, -1, -1, 0));
	SHOW(attributes.size > 64);
	attributes.size = 5000;
	ERR(event(&attributes, 0, -1, -1, 0));
	attributes = software(PERF_COUNT_SW_TASK_CLOCK);
	attributes.size = 0;
	ERR(event(&attributes, 0, -1, -1, 0));
	attributes = software(PERF_COUNT_SW_TASK_CLOCK);
	attributes.read_format = 1 << 20;
	ERR(event(&attributes, 0, -1, -1, 0));
	attributes = software(1000);
	ERR(event(&attributes, 0, -1, -1, 0));
	attributes = software(0);
	attributes.type = 0x70000000;
	ERR(event(&attributes, 0, -1, -1, 0));
	int fd = MUST(counter(PERF_COUNT_SW_DUMMY));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
	attributes = software(PERF_COUNT_SW_DUMMY);
	SHOW(fcntl(MUST(event(&attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)), F_GETFD));
}

SECTION("perf_event_open: what the kernel does is not for everybody")
{
	need_root();
	struct perf_event_attr attributes = software(PERF_COUNT_SW_TASK_CLOCK);

	attributes.exclude_kernel = 0;
	ERR(event(&attributes, 0, -1, -1, 0));
	pid_t other = fork();
	if (other == 0) {
		pause();
		_exit(0);
	}
	MUST(setresuid(65534, 65534, 65534));
	ERR(event(&attributes, 0, -1, -1, 0));
	attributes.exclude_kernel = 1;
	ERR(event(&attributes, 0, -1, -1, 0));
	ERR(event(&attributes, -1, 0, -1, 0));
	ERR(event(&attributes, other, -1, -1, 0));
}

SECTION("perf_event_open: a clock counts while it is enabled")
{
	struct perf_event_attr attributes = software(PERF_COUNT_SW_TASK_CLOCK);
	uint64_t words[5] = { 0 };

	attributes.disabled = 1;
	attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING | PERF_FORMAT_ID;
	int fd = MUST(event(&attributes, 0, -1, -1, 0));
	burn(5);
	RET(read(fd, words, sizeof words));
	SHOW(words[0]);
	SHOW(words[1]);
	SHOW(words[3] != 0);
	ERR(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	burn(10);
	ERR(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	MUST(read(fd, words, sizeof words));
	uint64_t before = words[0];
	SHOW(before >= 9000000 && before < 1000000000);
	SHOW(words[1] == words[2]);
	SHOW(words[1] >= 9000000);
	burn(5);
	MUST(read(fd, words, sizeof words));
	SHOW(words[0] == before);
	ERR(ioctl(fd, PERF_EVENT_IOC_RESET, 0));
	MUST(read(fd, words, sizeof words));
	SHOW(words[0]);
	SHOW(words[1] > 0);
	ERR(read(fd, words, 24));
	ERR(read(fd, words, 0));
	ERR(write(fd, words, 8));
	uint64_t id = 0;
	ERR(ioctl(fd, PERF_EVENT_IOC_ID, &id));
	SHOW(id == words[3]);
	ERR(ioctl(fd, PERF_EVENT_IOC_ID, NULL));
	ERR(ioctl(fd, PERF_EVENT_IOC_REFRESH, 1));
	ERR(ioctl(fd, 0x1234, 0));
	struct pollfd poller = { fd, POLLIN, 0 };
	SHOW(poll(&poller, 1, 0));
	HEX(poller.revents);
}

SECTION("perf_event_open: page faults and what never happens")
{
	int fd = counter(PERF_COUNT_SW_PAGE_FAULTS), minor = counter(PERF_COUNT_SW_PAGE_FAULTS_MIN);
	size_t size = 64 * 4096;
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t before = value(fd), minors = value(minor);

	madvise(at, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += 4096)
		at[i] = 1;
	SHOW(value(fd) - before >= 64);
	SHOW(value(minor) - minors >= 64);
	SHOW(value(counter(PERF_COUNT_SW_DUMMY)));
	SHOW(value(counter(PERF_COUNT_SW_ALIGNMENT_FAULTS)));
}

SECTION("perf_event_open: sleeping is a context switch")
{
	int fd = counter(PERF_COUNT_SW_CONTEXT_SWITCHES);
	struct perf_event_attr attributes = software(PERF_COUNT_SW_CONTEXT_SWITCHES);

	/* They happen in the kernel. */
	SHOW(value(fd));
	attributes.exclude_kernel = 0;
	if (geteuid() == 0) {
		int all = MUST(event(&attributes, 0, -1, -1, 0));
		for (int i = 0; i < 5; i++)
			sleep_ms(1);
		SHOW(value(all) >= 5);
		SHOW(value(fd));
	}
}

SECTION("perf_event_open: groups")
{
	struct perf_event_attr attributes = software(PERF_COUNT_SW_TASK_CLOCK);
	uint64_t words[8] = { 0 };

	attributes.disabled = 1;
	attributes.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID;
	int leader = MUST(event(&attributes, 0, -1, -1, 0));
	attributes.config = PERF_COUNT_SW_DUMMY;
	attributes.disabled = 0;
	int member = MUST(event(&attributes, 0, -1, leader, 0));
	ERR(event(&attributes, 0, -1, member, 0));
	attributes.inherit = 1;
	ERR(event(&attributes, 0, -1, leader, 0));
	ERR(ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP));
	burn(2);
	RET(read(leader, words, sizeof words));
	SHOW(words[0]);
	SHOW(words[1] > 0);
	SHOW(words[2] != words[4]);
	SHOW(words[3]);
	MUST(close(member));
	RET(read(leader, words, sizeof words));
	SHOW(words[0]);
}

SECTION("perf_event_open: inherited counters have what children did; enable_on_exec begins with the program")
{
	struct perf_event_attr attributes = software(PERF_COUNT_SW_TASK_CLOCK);
	int own = counter(PERF_COUNT_SW_TASK_CLOCK);

	attributes.inherit = 1;
	int family = MUST(event(&attributes, 0, -1, -1, 0));
	pid_t child = fork();
	if (child == 0) {
		burn(30);
		pid_t grandchild = fork();
		if (grandchild == 0) {
			burn(30);
			_exit(0);
		}
		waitpid(grandchild, NULL, 0);
		_exit(0);
	}
	STATUS(end_of(child));
	SHOW(value(family) >= 58000000);
	SHOW(value(own) < 58000000);
	int hold[2];
	char byte;
	MUST(pipe2(hold, O_CLOEXEC));
	child = fork();
	if (child == 0) {
		read(hold[0], &byte, 1);
		burn(30);
		execlp("true", "true", NULL);
		_exit(1);
	}
	attributes.disabled = 1;
	attributes.enable_on_exec = 1;
	int program = MUST(event(&attributes, child, -1, -1, 0));
	SHOW(value(program));
	MUST(write(hold[1], "x", 1));
	STATUS(end_of(child));
	SHOW(value(program) > 0);
	SHOW(value(program) < 28000000);
}
