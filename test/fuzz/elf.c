/*
 * Programs that are not what they should be: this one with a few bytes changed in its headers, its segments, its interpreter's
 * name, its code; scripts with all kinds of first lines; arguments and environments of all sizes.
 */
#include "fuzz.h"
#include <elf.h>
#include <sys/personality.h>

#define MAX_PROGRAM (1 << 20)

static unsigned char *program, *copy;
static size_t length;
static char path[64];

static void begin(uint64_t *state)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	program = malloc(MAX_PROGRAM);
	copy = malloc(MAX_PROGRAM);
	length = read(fd, program, MAX_PROGRAM);
	close(fd);
	mkdir("/tmp/fuzz", 0777);
	snprintf(path, sizeof path, "/tmp/fuzz/program%d", getpid());
}

static size_t broken_elf(uint64_t *state)
{
	Elf64_Ehdr *header = (void *)copy;
	Elf64_Phdr *segments = (void *)(copy + header->e_phoff);
	size_t headers = header->e_phoff + header->e_phnum * sizeof *segments;

	for (uint64_t i = 1 + below(state, 3); i > 0; i--) {
		Elf64_Phdr *segment = &segments[below(state, header->e_phnum)];
		uint64_t *fields = (void *)&segment->p_offset;

		switch (below(state, 5)) {
		case 0:
			mutate(state, copy, headers);
			return length;
		case 1:
			segment->p_type = one_in(state, 2) ? below(state, 8) : 0x6474e550 + below(state, 5);
			break;
		case 2:
			segment->p_flags = below(state, 8);
			break;
		case 3:
			fields[below(state, 6)] = one_in(state, 2) ? number(state) : number(state) & ~4095ull;
			break;
		default:
			fields[below(state, 6)] += one_in(state, 2) ? below(state, 5) * 4096 : -(below(state, 5) * 4096);
		}
	}
	if (one_in(state, 4))
		return below(state, length);
	return length;
}

static size_t script(uint64_t *state)
{
	static const char *const lines[] = { "#!/bin/true\n", "#!", "#! \n", "#!/bin/sh -c exit\n", "#!/no/such\n", "#!/tmp/fuzz\n", "#!\t/bin/true\targument  \n", "#!/proc/self/exe\n", "#!\0\n", "#!/bin/true" };
	size_t used = sprintf((char *)copy, "%s", lines[below(state, LENGTH(lines))]);

	if (one_in(state, 3))
		used = sprintf((char *)copy, "#!%s x\n", path);
	mutate(state, copy, used);
	if (one_in(state, 6)) {
		memset(copy + 2, 'x', 600);
		used = below(state, 600);
	}
	return used;
}

static void step(uint64_t *state)
{
	static char *strings[2048];
	char *text = (char *)program;
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0755);
	size_t many = one_in(state, 4) ? below(state, LENGTH(strings)) : 1 + below(state, 3);
	pid_t pid;

	memcpy(copy, program, length);
	write(fd, copy, one_in(state, 5) ? script(state) : broken_elf(state));
	close(fd);
	for (size_t i = 0; i < many; i++)
		strings[i] = one_in(state, 200) ? (char *)number(state) : text + below(state, length - 1);
	strings[many < LENGTH(strings) ? many : LENGTH(strings) - 1] = NULL;
	pid = fork();
	if (pid == 0) {
		alarm(1);
		signal(SIGALRM, SIG_DFL);
		if (one_in(state, 10))
			personality((unsigned)number(state));
		if (one_in(state, 10))
			setrlimit(RLIMIT_STACK, &(struct rlimit){ number(state), RLIM_INFINITY });
		/* Not as the first process: it says so and ends. */
		syscall(SYS_execve, path, one_in(state, 8) ? NULL : strings, one_in(state, 2) ? NULL : strings);
		_exit(0);
	}
	next(state);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
