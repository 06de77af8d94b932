/*
 * `delete [--force] ID` of a container that has ended, and with `--force` of one that there isn't: runc's shim asks for both
 * after each container's end. What is done is what src/oci/destroy.ts does, and in the same order.
 */
#include "launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What the container's end has left in its cgroup is dying: the kernel was told, and node has not more to say to it. */
enum { CGROUP_TRIES = 200, CGROUP_PAUSE_MS = 1 };

static bool parse_words(int count, char **words, const char **id, bool *force)
{
	*id = NULL;
	*force = false;
	for (int i = 0; i < count; i++) {
		if (strcmp(words[i], "--force") == 0 || strcmp(words[i], "-f") == 0)
			*force = true;
		else if (*id || !is_container_id(words[i]))
			return false;
		else
			*id = words[i];
	}
	return *id;
}

/* What ROOT has of ID: its directory, and ID@…, which somebody who made or removed it is at, or has left. */
struct traces {
	bool state, others;
};

static bool look_for_traces(const char *root, const char *id, struct traces *traces)
{
	size_t length = strlen(id);
	DIR *directory = opendir(root);

	*traces = (struct traces){ 0 };
	if (!directory)
		return false;
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (strncmp(entry->d_name, id, length) != 0)
			continue;
		traces->state |= entry->d_name[length] == '\0';
		traces->others |= entry->d_name[length] == '@';
	}
	closedir(directory);
	return true;
}

/* Nobody else changes the container then, until we end. */
static bool lock_state(int directory, const char *root, const char *id)
{
	char path[PATH_MAX];
	struct stat locked, now;

	snprintf(path, sizeof path, "%s/%s", root, id);
	/* Meanwhile it may have been removed, and even made anew. */
	return flock(directory, LOCK_EX | LOCK_NB) == 0 && fstat(directory, &locked) == 0 && stat(path, &now) == 0
		&& locked.st_ino == now.st_ino;
}

static bool remove_cgroup(const char *path)
{
	struct timespec pause = { .tv_nsec = CGROUP_PAUSE_MS * 1000000 };

	for (int i = 0; i < CGROUP_TRIES; i++) {
		if (rmdir(path) == 0 || errno == ENOENT)
			return true;
		if (errno != EBUSY)
			return false;
		nanosleep(&pause, NULL);
	}
	return false;
}

static bool empty_directory(const char *path)
{
	DIR *directory = opendir(path);
	bool emptied = directory;

	for (struct dirent *entry; emptied && (entry = readdir(directory));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			emptied = unlinkat(dirfd(directory), entry->d_name, 0) == 0;
	if (directory)
		closedir(directory);
	return emptied;
}

/* In one step, so that a new container of the same id doesn't come into a directory that is being emptied. */
static bool remove_state(const char *root, const char *id)
{
	char from[PATH_MAX], to[PATH_MAX];
	unsigned long long start_time;

	snprintf(from, sizeof from, "%s/%s", root, id);
	if (!find_process(getpid(), &start_time)
	    || snprintf(to, sizeof to, "%s@%d.%llu", from, getpid(), start_time) >= (int)sizeof to
	    || rename(from, to) < 0)
		return false;
	/* Whose work that was can be told from the name; what is left then is for the next who deletes. */
	if (!empty_directory(to) || rmdir(to) < 0)
		warn("of the state of container %s is left: %s: %s", id, to, strerror(errno));
	return true;
}

bool delete_container(const char *root, int count, char **words)
{
	static struct brief brief;
	struct traces traces;
	const char *id;
	bool force;

	if (!parse_words(count, words, &id, &force) || !look_for_traces(root, id, &traces) || traces.others)
		return false;
	if (!traces.state)
		return force;
	int directory = open_state(root, id);
	if (directory < 0 || !lock_state(directory, root, id) || !read_brief(directory, &brief))
		return false;
	if (!brief.removable || is_standing(&brief))
		return false;
	for (int i = 0; i < brief.cgroup_count; i++)
		if (!remove_cgroup(brief.cgroups[i]))
			return false;
	return remove_state(root, id);
}
