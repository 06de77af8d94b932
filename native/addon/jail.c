/*
 * What src/sandbox/jail.ts needs to lock the sentry in. Three functions: any system call by number (for the dozen of
 * mount calls that are made once), the loss of capabilities in every thread, and the seccomp filter.
 */
#include "caisson.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TEXT = 4096, MAX_ARGUMENTS = 6 };

/* syscall(number, ...): numbers as they are, strings and typed arrays as addresses. The raw result. */
static napi_value jail_syscall(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1 + MAX_ARGUMENTS);
	char texts[MAX_ARGUMENTS][MAX_TEXT];
	long word[MAX_ARGUMENTS] = { 0 };

	for (size_t i = 0; i < MAX_ARGUMENTS && i + 1 < argc; i++) {
		napi_valuetype type;
		size_t length;
		napi_typeof(env, argv[i + 1], &type);
		if (type == napi_string) {
			napi_get_value_string_latin1(env, argv[i + 1], texts[i], MAX_TEXT, &length);
			if (length >= MAX_TEXT - 1)
				return make_number(env, -ENAMETOOLONG);
			word[i] = (long)texts[i];
		} else if (type == napi_object) {
			word[i] = (long)get_bytes(env, argv[i + 1], &length);
		} else {
			word[i] = get_number(env, argv[i + 1]);
		}
	}
	return make_result(env, syscall(get_number(env, argv[0]), word[0], word[1], word[2], word[3], word[4], word[5]));
}

/*
 * Capabilities belong to threads, and V8 and libuv have started some by now. Each is made to give them up by a signal
 * whose handler calls capset(2). There may be no /proc to list them by, but the sentry is process 1 of a new pid
 * namespace, where ids are given out in order: all threads have ids below that of a process started now. A thread
 * started meanwhile by one that still has its capabilities is found by the next round; the last round finds none.
 */
enum { MAX_THREADS = 4096, DROP_TIMEOUT_MS = 2000 };
static struct __user_cap_data_struct kept[2];
static atomic_int answers, failures;

static int drop_own_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	return syscall(SYS_capset, &header, kept);
}

static void on_drop_signal(int signal)
{
	(void)signal;
	int saved = errno;
	if (drop_own_capabilities() < 0)
		atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
	/* Release: who sees the answer sees the failure. */
	atomic_fetch_add_explicit(&answers, 1, memory_order_release);
	errno = saved;
}

/* One more than the highest thread id so far. */
static pid_t next_pid(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid;
}

static int wait_for_answers(int count)
{
	struct timespec moment = { 0, 100 * 1000 };
	for (int tries = 0; tries < DROP_TIMEOUT_MS * 10; tries++) {
		if (atomic_load_explicit(&answers, memory_order_acquire) >= count)
			return 0;
		nanosleep(&moment, NULL);
	}
	return -ETIMEDOUT;
}

static int drop_in_all_threads(void)
{
	static unsigned char dropped[MAX_THREADS];
	int sent = 0, signal = SIGRTMAX, found;
	struct sigaction action = { .sa_handler = on_drop_signal, .sa_flags = SA_RESTART }, before;

	if (getpid() != 1)
		return -EPERM;
	if (drop_own_capabilities() < 0)
		return -errno;
	sigfillset(&action.sa_mask);
	sigaction(signal, &action, &before);
	do {
		pid_t end = next_pid();
		if (end < 0 || end > MAX_THREADS)
			return end < 0 ? -errno : -E2BIG;
		found = 0;
		for (pid_t tid = 2; tid < end; tid++) {
			if (dropped[tid] || syscall(SYS_tgkill, 1, tid, signal) < 0)
				continue;
			dropped[tid] = 1;
			found++;
		}
		sent += found;
		int status = wait_for_answers(sent);
		if (status < 0)
			return status;
	} while (found > 0);
	sigaction(signal, &before, NULL);
	return atomic_load_explicit(&failures, memory_order_relaxed) ? -EPERM : 0;
}

/* dropCapabilities(lo, hi): keeps these in the permitted and effective sets, nothing in the others. */
static napi_value jail_drop_capabilities(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	memset(kept, 0, sizeof kept);
	for (int i = 0; i < 2; i++)
		kept[i].permitted = kept[i].effective = (uint32_t)get_number(env, argv[i]);
	return make_number(env, drop_in_all_threads());
}

/* installFilter(program, flags): seccomp(2) in all threads; a thread id comes back where one can't be synchronised. */
static napi_value jail_install_filter(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	size_t length;
	struct sock_fprog program;
	program.filter = get_bytes(env, argv[0], &length);
	program.len = length / sizeof(struct sock_filter);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return make_number(env, -errno);
	return make_result(env, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		get_number(env, argv[1]) | SECCOMP_FILTER_FLAG_TSYNC, &program));
}

/* Names of system calls: records of NAME_SIZE bytes, by number. Kept for the life of the process. */
enum { NAME_SIZE = 32, LINE_SIZE = 128 };
static const char *call_names;
static size_t call_count;
static int report_fd = STDERR_FILENO;

static size_t append(char *line, size_t at, const char *text, size_t limit)
{
	for (size_t i = 0; i < limit && text[i] && at < LINE_SIZE; i++)
		line[at++] = text[i];
	return at;
}

/*
 * A call that is not on the list was not made. The name of it is written, and that is the end of the sandbox. Nothing is
 * lost by not leaving that to the kernel: whoever can change what happens here could only go on without the call.
 */
static void on_refused_call(int signal, siginfo_t *info, void *context)
{
	char line[LINE_SIZE], digits[12];
	unsigned number = (unsigned)info->si_syscall;
	size_t at = append(line, 0, "caisson: the sandbox ends: its kernel made the host call ", LINE_SIZE);

	(void)context;
	if (number < call_count && call_names[number * NAME_SIZE]) {
		at = append(line, at, call_names + number * NAME_SIZE, NAME_SIZE);
	} else {
		int digit = sizeof digits;
		do
			digits[--digit] = (char)('0' + number % 10);
		while (number /= 10);
		at = append(line, at, digits + digit, sizeof digits - digit);
	}
	at = append(line, at, ", which is not on its list\n", LINE_SIZE);
	if (write(report_fd, line, at) < 0 || signal)
		syscall(SYS_exit_group, 128 + signal);
}

/* reportRefusals(fd, names): for a filter that traps. `names`: records of NAME_SIZE bytes, by number. */
static napi_value jail_report_refusals(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	struct sigaction action = { .sa_sigaction = on_refused_call, .sa_flags = SA_SIGINFO };
	size_t length;
	napi_ref keep;

	call_names = get_bytes(env, argv[1], &length);
	call_count = length / NAME_SIZE;
	napi_create_reference(env, argv[1], 1, &keep);
	report_fd = (int)get_number(env, argv[0]);
	return make_result(env, sigaction(SIGSYS, &action, NULL));
}

static napi_value jail_exit_group(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	syscall(SYS_exit_group, (int)get_number(env, argv[0]));
	return NULL;
}

napi_value jail_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "syscall", jail_syscall },
		{ "dropCapabilities", jail_drop_capabilities },
		{ "installFilter", jail_install_filter },
		{ "exitGroup", jail_exit_group },
		{ "reportRefusals", jail_report_refusals },
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
