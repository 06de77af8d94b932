/*
 * What of a command line the launcher itself understands: the global flags of the runtime and the verb behind them. Where that
 * can't be seen at once there is nothing to see; node, which knows all flags, finds out.
 */
#include "launcher.h"

#include <string.h>

/* In front of the verb, those that are for the runtime alone; src/cli/globals.test.ts compares. */
static const char *const valued_flags[] = { "--root", "--log", "--log-format", "--log-level", "--debug-log",
	"--network", "--allow", "--deny", "--pcap",
	"--egress-rate", "--ingress-rate" };
static const char *const bare_flags[] = { "--debug", "--systemd-cgroup", "--strace" };

static bool is_flag(const char *word, size_t length, const char *flag)
{
	return strlen(flag) == length && memcmp(flag, word, length) == 0;
}

static bool is_one_of(const char *word, size_t length, const char *const *flags, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_flag(word, length, flags[i]))
			return true;
	return false;
}
#define IS_ONE_OF(word, length, flags) is_one_of(word, length, flags, sizeof flags / sizeof flags[0])

int find_verb(int argc, char **argv, struct globals *globals)
{
	*globals = (struct globals){ 0 };
	for (int i = 1; i < argc; i++) {
		size_t length = strcspn(argv[i], "=");
		bool attached = argv[i][length] == '=';
		const char *flag = argv[i], *value = flag + length + 1;

		if (flag[0] != '-')
			return i;
		if (IS_ONE_OF(flag, length, valued_flags)) {
			if (!attached && ++i == argc)
				return 0;
			if (!attached)
				value = argv[i];
			if (is_flag(flag, length, "--root"))
				globals->root = value;
			else if (is_flag(flag, length, "--network"))
				globals->network = value;
		} else if (attached || !IS_ONE_OF(flag, length, bare_flags)) {
			return 0;
		}
	}
	return 0;
}
