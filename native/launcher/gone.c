/*
 * `delete --force` of a container that is gone. runc's shim asks for it after each container's end, as a second `delete`; to
 * start node just to find nothing would be a tenth of the time of a whole `docker run`.
 */
#include "launcher.h"

#include <dirent.h>
#include <string.h>

/* As src/oci/state.ts wants them. */
static bool is_id(const char *word)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+,-._";
	size_t length = strlen(word);

	return length > 0 && length <= 200 && word[0] != '-' && strspn(word, letters) == length
		&& strcmp(word, ".") != 0 && strcmp(word, "..") != 0;
}

/* ROOT has ID, or ID@…, which somebody who made or removed it is at, or has left. */
static bool has_state(const char *root, const char *id)
{
	size_t length = strlen(id);
	DIR *directory = opendir(root);
	bool found = !directory;

	for (struct dirent *entry; !found && (entry = readdir(directory));)
		found = strncmp(entry->d_name, id, length) == 0
			&& (entry->d_name[length] == '\0' || entry->d_name[length] == '@');
	if (directory)
		closedir(directory);
	return found;
}

bool asks_to_delete_nothing(int argc, char **argv)
{
	struct globals globals;
	int verb = find_verb(argc, argv, &globals);
	const char *id = NULL;
	bool force = false;

	if (verb == 0 || !globals.root || strcmp(argv[verb], "delete") != 0)
		return false;
	for (int i = verb + 1; i < argc; i++) {
		if (strcmp(argv[i], "--force") == 0 || strcmp(argv[i], "-f") == 0)
			force = true;
		else if (id || !is_id(argv[i]))
			return false;
		else
			id = argv[i];
	}
	return force && id && !has_state(globals.root, id);
}
