/*
 * The zygote: a small process of the jail that forks clean stub processes on request.
 *
 * It maps the stub and the info page once; each child inherits them, maps its slots, sets its signal handlers, locks
 * itself in with the filter that the sentry sent, and enters the stub, where it waits for the sentry. What else of
 * the zygote lies in the child's address space the sentry unmaps then.
 *
 * The argument is the oom_score_adj of its children, if that isn't its own: what is killed for want of memory are
 * guest processes, and not the one without which there can be no more of them.
 *
 * Descriptor 3 is a SOCK_SEQPACKET socket to the sentry. The zygote tells the vDSO's range and address, and the stub's
 * entry. The first message that it gets is the seccomp filter, with the info memfd and the eventfd; every other one byte
 * with the slots memfd and the stub's socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "../protocol.h"

#define SENTRY 3

extern const char stub_image[], stub_image_end[];
extern char **environ;

typedef void (*born_t)(void *slot);

struct stub_table {
	void *handler;
	void *restorer;
	void *exit;
	born_t born;
	void *entry;
};

struct kernel_sigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static struct sock_filter filter[4096];
static size_t filter_length;

static void die(const char *what)
{
	dprintf(2, "caisson: zygote: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* Receives a message and exactly two descriptors; the message's length, 0 at the end. */
static ssize_t receive(void *buffer, size_t size, int fds[2])
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buffer, .iov_len = size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	ssize_t n;

	do
		n = recvmsg(SENTRY, &message, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	if (message.msg_controllen < CMSG_LEN(2 * sizeof(int)))
		die("a message without its descriptors");
	memcpy(fds, CMSG_DATA(&control.header), 2 * sizeof(int));
	return n;
}

/* The stub's addresses must be free; the kernel's random layout may have put this stack there: then start anew. */
static void claim_addresses(char **argv)
{
	size_t size = CAISSON_SLOTS + (size_t)CAISSON_SLOT_COUNT * CAISSON_SLOT_SIZE - CAISSON_STUB_TEXT;
	void *at = mmap((void *)CAISSON_STUB_TEXT, size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (at == (void *)CAISSON_STUB_TEXT)
		return;
	execve("/proc/self/exe", argv, environ);
	die("cannot start anew");
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (syscall(SYS_capset, &header, none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("dropping capabilities");
}

static void map_stub(int info)
{
	size_t size = stub_image_end - stub_image;
	void *text = (void *)CAISSON_STUB_TEXT;

	if (mmap(text, CAISSON_STUB_TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	    text)
		die("mmap of the stub");
	memcpy(text, stub_image, size);
	if (mprotect(text, CAISSON_STUB_TEXT_SIZE, PROT_READ | PROT_EXEC))
		die("mprotect of the stub");
	if (mmap((void *)CAISSON_INFO_PAGE, CAISSON_INFO_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, info, 0) !=
	    (void *)CAISSON_INFO_PAGE)
		die("mmap of the info page");
}

/* The vDSO with its data pages, as one range: what /proc/self/maps calls [vvar…] and [vdso]. */
static void report_vdso(void)
{
	const struct stub_table *table = (const void *)stub_image;
	uint64_t range[4] = { 0, 0, getauxval(AT_SYSINFO_EHDR), (uint64_t)table->entry };
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned long from, to;

	while (maps && fgets(line, sizeof line, maps)) {
		if (!strstr(line, "[vvar") && !strstr(line, "[vdso]"))
			continue;
		if (sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		if (!range[0] || from < range[0])
			range[0] = from;
		if (to > range[1])
			range[1] = to;
	}
	if (maps)
		fclose(maps);
	if (send(SENTRY, range, sizeof range, 0) < 0)
		die("send");
}

/* Where the jail has no /proc, and where it would have to be lowered without the right to, it stays what it is. */
static void set_oom_score_adj(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%s", score);
	close(fd);
}

static void become_stub(int slots, int socket, int event)
{
	static const int signals[] = { SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, CAISSON_KICK_SIGNAL };
	const struct stub_table *table = (const void *)CAISSON_STUB_TEXT;
	struct sock_fprog program = { .len = filter_length, .filter = filter };
	struct rlimit no_core = { 0, 0 };

	if (dup2(socket, CAISSON_FD_SOCKET) < 0 || dup2(event, CAISSON_FD_EVENT) < 0)
		die("dup2");
	if (mmap((void *)CAISSON_SLOTS, (size_t)CAISSON_SLOT_COUNT * CAISSON_SLOT_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, slots, 0) != (void *)CAISSON_SLOTS)
		die("mmap of the slots");
	if (syscall(SYS_close_range, 2, ~0u, 0))
		die("close_range");
	setrlimit(RLIMIT_CORE, &no_core);
	/* Until it carries a program, which gives it its own name. */
	prctl(PR_SET_NAME, "caisson-stub");
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
		struct kernel_sigaction action = {
			.handler = table->handler,
			/* SA_RESTART: a late kick must not fail a call that the stub makes for the sentry. */
			.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART | 0x04000000, /* SA_RESTORER */
			.restorer = table->restorer,
			/* Kicks wait until a handler has returned; faults in the stub's copies do not. */
			.mask = 1ull << (CAISSON_KICK_SIGNAL - 1),
		};
		if (syscall(SYS_rt_sigaction, signals[i], &action, NULL, 8))
			die("rt_sigaction");
	}
	/* The host's kernel tells the sentry whose byte it is. */
	if (send(CAISSON_FD_SOCKET, "", 1, 0) != 1)
		die("send");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program))
		die("seccomp");
	table->born((void *)CAISSON_SLOTS);
	__builtin_trap();
}

int main(int argc, char **argv)
{
	int fds[2], event;
	ssize_t n;

	claim_addresses(argv);
	/* Else a descendant's working directory would lie in the host's tree, which pivot_root leaves where it is. */
	if (chdir("/"))
		die("chdir");
	drop_capabilities();
	/* 0 and 1 are the children's own; nothing that is received may get a low number. */
	while ((event = open("/dev/null", O_RDWR)) >= 0 && event < 3)
		;
	close(event);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	report_vdso();
	n = receive(filter, sizeof filter, fds);
	if (n == 0)
		return 0;
	filter_length = (size_t)n / sizeof filter[0];
	event = fds[1];
	map_stub(fds[0]);
	close(fds[0]);
	for (;;) {
		char byte;

		if (receive(&byte, 1, fds) == 0)
			return 0;
		switch (fork()) {
		case -1:
			/* The sentry sees the socket close. */
			break;
		case 0:
			if (argc > 1)
				set_oom_score_adj(argv[1]);
			become_stub(fds[0], fds[1], event);
		}
		close(fds[0]);
		close(fds[1]);
	}
}
