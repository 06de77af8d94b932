/* churn DIR COUNT: makes, looks at and removes COUNT files, each with a name of its own, a thousand at a time. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 1000 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	char name[64];
	struct stat st;
	long count = argc > 2 ? atol(argv[2]) : 0;

	if (argc < 3 || chdir(argv[1]) < 0)
		die("churn DIR COUNT");
	for (long at = 0; at < count; at += BATCH) {
		for (long i = at; i < at + BATCH; i++) {
			snprintf(name, sizeof name, "file-%ld", i);
			int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0600);
			if (fd < 0 || write(fd, name, 10) != 10 || close(fd) < 0)
				die(name);
		}
		for (long i = at; i < at + BATCH; i++) {
			snprintf(name, sizeof name, "file-%ld", i);
			if (stat(name, &st) < 0 || unlink(name) < 0)
				die(name);
			/* What is not there is remembered, too. */
			snprintf(name, sizeof name, "missing-%ld", i);
			if (stat(name, &st) == 0)
				die(name);
		}
	}
	return 0;
}
