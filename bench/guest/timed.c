/*
 * Runs a command without its output and prints how many nanoseconds it took: the start of the sandbox around it is not
 * counted. Exits with the command's status if that is not 0.
 *
 * Usage: timed COMMAND [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	struct timespec from, to;
	pid_t pid;
	int status;

	if (argc < 2)
		return 2;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (posix_spawnp(&pid, argv[1], &actions, NULL, argv + 1, environ) != 0)
		return 127;
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (status != 0)
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	printf("%.0f\n", (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec));
	return 0;
}
