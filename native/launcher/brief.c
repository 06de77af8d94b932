/*
 * What the launcher knows of a container by itself: the file `brief` in the container's state directory, which src/oci/brief.ts
 * writes, a fact a line. With it `kill` and `delete` are done here where they are the ordinary case, since to start node
 * would be most of their time. Where anything is out of the ordinary, all is left to node.
 */
#include "launcher.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As src/oci/state.ts wants them. */
bool is_container_id(const char *word)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+,-._";
	size_t length = strlen(word);

	return length > 0 && length <= MAX_CONTAINER_ID && word[0] != '-' && strspn(word, letters) == length
		&& strcmp(word, ".") != 0 && strcmp(word, "..") != 0;
}

int open_state(const char *root, const char *id)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", root, id) >= (int)sizeof path)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The whole of a file, as a string; false where it can't be read or is longer. */
static bool read_whole(int directory, const char *path, char *text, size_t room)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t count = -1;

	if (fd < 0)
		return false;
	while (length < room && (count = read(fd, text + length, room - length)) > 0)
		length += count;
	close(fd);
	if (count != 0)
		return false;
	text[length] = '\0';
	return true;
}

/* What stands behind a word and a space at the start of the line, NULL where it does not. */
static char *behind(char *line, const char *word)
{
	size_t length = strlen(word);
	return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static bool take_line(struct brief *brief, char *line)
{
	char *value;

	if ((value = behind(line, "process")))
		return sscanf(value, "%d %llu", &brief->pid, &brief->start_time) == 2;
	if ((value = behind(line, "freezer"))) {
		brief->freezer = value;
		return true;
	}
	if ((value = behind(line, "cgroup")) && brief->cgroup_count < MAX_BRIEF_CGROUPS) {
		brief->cgroups[brief->cgroup_count++] = value;
		return true;
	}
	brief->removable = strcmp(line, "removable") == 0;
	return brief->removable;
}

bool read_brief(int directory, struct brief *brief)
{
	char *rest = brief->text;

	brief->pid = 0;
	brief->freezer = NULL;
	brief->cgroup_count = 0;
	brief->removable = false;
	if (!read_whole(directory, "brief", brief->text, sizeof brief->text))
		return false;
	for (char *line; (line = strsep(&rest, "\n")) && *line;)
		if (!take_line(brief, line))
			return false;
	return brief->pid > 0;
}

bool find_process(pid_t pid, unsigned long long *start_time)
{
	char path[32], text[1024], state;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	/* Behind its name in parentheses, which may hold both spaces and parentheses. */
	char *rest = read_whole(AT_FDCWD, path, text, sizeof text) ? strrchr(text, ')') : NULL;
	return rest
		&& sscanf(rest, ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
			&state, start_time) == 2
		&& state != 'Z' && state != 'X';
}

bool is_standing(const struct brief *brief)
{
	unsigned long long start_time;
	return find_process(brief->pid, &start_time) && start_time == brief->start_time;
}

bool is_thawed(const struct brief *brief)
{
	char state[32];

	/* cgroup version 1: THAWED, FREEZING, FROZEN; version 2: 0, 1. */
	return !brief->freezer
		|| (read_whole(AT_FDCWD, brief->freezer, state, sizeof state) && (state[0] == 'T' || state[0] == '0'));
}
