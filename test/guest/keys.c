/* keyrings(7): add_key(2), request_key(2), keyctl(2). */
#define HAS_CHILD
#include "observe.h"
#include <grp.h>
#include <linux/keyctl.h>

#define add_key(...) syscall(SYS_add_key, __VA_ARGS__)
#define request_key(...) syscall(SYS_request_key, __VA_ARGS__)
#define keyctl(...) syscall(SYS_keyctl, __VA_ARGS__)
#define SESSION KEY_SPEC_SESSION_KEYRING
#define PROCESS KEY_SPEC_PROCESS_KEYRING
#define THREAD KEY_SPEC_THREAD_KEYRING

/* Each section has a session of its own, that no other one finds anything in. */
static void own_session(void)
{
	MUST(keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL));
}

static const char *described(int key)
{
	static char text[512];

	if (keyctl(KEYCTL_DESCRIBE, key, text, sizeof text) < 0)
		return error_name(errno);
	return text;
}

static const char *content(int key)
{
	static char text[512];

	memset(text, 0, sizeof text);
	if (keyctl(KEYCTL_READ, key, text, sizeof text) < 0)
		return error_name(errno);
	return text;
}

/* The child of the test of exec. */
static int as_child(int argc, char **argv)
{
	(void)argc;
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0));
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, THREAD, 0));
	SHOW(keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0) == atoi(argv[1]));
	ERR(request_key("user", "exec:session", NULL, 0));
	ERR(request_key("user", "exec:process", NULL, 0));
	return 0;
}

SECTION("add_key: a key that can be read, described, updated")
{
	own_session();
	int key = add_key("user", "name", "content", 7, SESSION);
	SHOW(key > 0);
	TEXT(described(key));
	TEXT(content(key));
	SHOW(add_key("user", "name", "changed", 7, SESSION) == key);
	TEXT(content(key));
	RET(keyctl(KEYCTL_UPDATE, key, "again", 5));
	TEXT(content(key));
	SHOW(add_key("user", "other", "x", 1, SESSION) == key);
	RET(keyctl(KEYCTL_READ, key, NULL, 0));
	char small[3] = "..";
	RET(keyctl(KEYCTL_READ, key, small, 2));
	TEXT(small);
	RET(keyctl(KEYCTL_DESCRIBE, key, NULL, 0));
}

SECTION("add_key: wrong arguments")
{
	static char big[1 << 20];

	own_session();
	ERR(add_key("user", "a", "x", 0, SESSION));
	ERR(add_key("user", "", "x", 1, SESSION));
	ERR(add_key("user", NULL, "x", 1, SESSION));
	ERR(add_key("", "a", "x", 1, SESSION));
	ERR(add_key(NULL, "a", "x", 1, SESSION));
	ERR(add_key(".user", "a", "x", 1, SESSION));
	ERR(add_key("no such type", "a", "x", 1, SESSION));
	ERR(add_key("keyring", ".a", NULL, 0, SESSION));
	ERR(add_key("keyring", "a", "x", 1, SESSION));
	ERR(add_key("logon", "a", "x", 1, SESSION));
	ERR(add_key("logon", ":a", "x", 1, SESSION));
	ERR(add_key("user", "a", big, 32768, SESSION));
	ERR(add_key("user", "a", big, sizeof big, SESSION));
	ERR(add_key("user", "a", NULL, 5, SESSION));
	ERR(add_key("user", "a", "x", 1, 0));
	ERR(add_key("user", "a", "x", 1, -20));
	ERR(add_key("user", "a", "x", 1, KEY_SPEC_GROUP_KEYRING));
	ERR(add_key("user", "a", "x", 1, KEY_SPEC_REQKEY_AUTH_KEY));
	ERR(add_key("user", "a", "x", 1, 2));
	int key = MUST(add_key("user", "a", "x", 1, SESSION));
	ERR(add_key("user", "b", "x", 1, key));
}

SECTION("keyrings: a key is found from above, and ends with its last link")
{
	own_session();
	int ring = MUST(add_key("keyring", "ring", NULL, 0, SESSION));
	int inner = MUST(add_key("keyring", "inner", NULL, 0, ring));
	int key = MUST(add_key("user", "deep", "x", 1, inner));
	TEXT(described(ring));
	SHOW(keyctl(KEYCTL_SEARCH, SESSION, "user", "deep", 0) == key);
	SHOW(keyctl(KEYCTL_SEARCH, ring, "user", "deep", 0) == key);
	SHOW(request_key("user", "deep", NULL, 0) == key);
	ERR(keyctl(KEYCTL_SEARCH, ring, "user", "deeper", 0));
	ERR(keyctl(KEYCTL_SEARCH, ring, "logon", "deep", 0));
	ERR(keyctl(KEYCTL_SEARCH, ring, "no such type", "deep", 0));
	ERR(keyctl(KEYCTL_SEARCH, key, "user", "deep", 0));
	int serials[4] = { 0 };
	RET(keyctl(KEYCTL_READ, inner, serials, sizeof serials));
	SHOW(serials[0] == key);
	ERR(keyctl(KEYCTL_READ, inner, serials, 5));
	RET(keyctl(KEYCTL_UNLINK, key, inner));
	RET(keyctl(KEYCTL_READ, inner, serials, sizeof serials));
	ERR(keyctl(KEYCTL_UNLINK, ring, inner));
	RET(keyctl(KEYCTL_UNLINK, ring, SESSION));
	ERR(request_key("keyring", "inner", NULL, 0));
}

SECTION("KEYCTL_LINK: displaces its like, and makes no circles")
{
	own_session();
	int a = MUST(add_key("keyring", "a", NULL, 0, SESSION));
	int b = MUST(add_key("keyring", "b", NULL, 0, a));
	int key = MUST(add_key("user", "k", "1", 1, SESSION));
	int like = MUST(add_key("user", "k", "2", 1, a));
	SHOW(key == like);
	ERR(keyctl(KEYCTL_LINK, a, b));
	ERR(keyctl(KEYCTL_LINK, a, a));
	ERR(keyctl(KEYCTL_LINK, key, a));
	SHOW(keyctl(KEYCTL_SEARCH, a, "user", "k", 0) == key);
	ERR(keyctl(KEYCTL_LINK, key, key));
	ERR(keyctl(KEYCTL_LINK, 0, a));
	ERR(keyctl(KEYCTL_UNLINK, key, key));
	RET(keyctl(KEYCTL_SEARCH, a, "user", "k", b) == key);
	SHOW(keyctl(KEYCTL_SEARCH, b, "user", "k", 0) == key);
	ERR(keyctl(KEYCTL_CLEAR, a));
	ERR(keyctl(KEYCTL_SEARCH, a, "user", "k", 0));
	ERR(keyctl(KEYCTL_CLEAR, key));
	int last = a;
	for (int i = 0; i < 8 && last > 0; i++) {
		char name[8];

		sprintf(name, "n%d", i);
		last = add_key("keyring", name, NULL, 0, last);
	}
	SHOW(last > 0);
}

SECTION("keyctl: serial numbers that fill the register, as libkeyutils passes them")
{
	own_session();
	int key = MUST(add_key("user", "k", "1", 1, SESSION));
	ERR(keyctl(KEYCTL_LINK, (long)KEY_SPEC_USER_KEYRING, (long)SESSION));
	SHOW(keyctl(KEYCTL_GET_KEYRING_ID, (long)SESSION, 0L) == keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0));
	ERR(keyctl(KEYCTL_CHOWN, (long)key, -1L, -1L));
	ERR(keyctl(KEYCTL_UPDATE, (long)key, "x", -1L));
	RET(keyctl(KEYCTL_READ, (long)key, -8L, 8L));
	TEXT(content(key));
	ERR(keyctl(KEYCTL_LINK, (long)SESSION, -100L));
}

SECTION("KEYCTL_MOVE: from one keyring to another")
{
	own_session();
	int a = MUST(add_key("keyring", "a", NULL, 0, SESSION));
	int b = MUST(add_key("keyring", "b", NULL, 0, SESSION));
	int key = MUST(add_key("user", "k", "1", 1, a));
	ERR(keyctl(KEYCTL_MOVE, key, a, b, 0));
	SHOW(keyctl(KEYCTL_SEARCH, b, "user", "k", 0) == key);
	ERR(keyctl(KEYCTL_SEARCH, a, "user", "k", 0));
	ERR(keyctl(KEYCTL_MOVE, key, a, b, 0));
	MUST(add_key("user", "k", "2", 1, a));
	ERR(keyctl(KEYCTL_MOVE, key, b, a, KEYCTL_MOVE_EXCL));
	ERR(keyctl(KEYCTL_MOVE, key, b, b, KEYCTL_MOVE_EXCL));
	ERR(keyctl(KEYCTL_MOVE, key, b, a, 2));
	ERR(keyctl(KEYCTL_MOVE, key, b, a, 0));
	SHOW(keyctl(KEYCTL_SEARCH, a, "user", "k", 0) == key);
}

SECTION("logon: a key whose content nobody reads")
{
	own_session();
	int key = MUST(add_key("logon", "my:secret", "x", 1, SESSION));
	TEXT(described(key));
	ERR(keyctl(KEYCTL_READ, key, NULL, 0));
	RET(keyctl(KEYCTL_UPDATE, key, "more", 4));
	int ring = MUST(add_key("keyring", "r", NULL, 0, SESSION));
	ERR(keyctl(KEYCTL_UPDATE, ring, "more", 4));
	ERR(keyctl(KEYCTL_UPDATE, key, NULL, 4));
	ERR(keyctl(KEYCTL_UPDATE, key, "x", 5000));
	ERR(keyctl(KEYCTL_UPDATE, key, "", 0));
}

SECTION("revoked, invalidated and expired keys")
{
	own_session();
	int ring = MUST(add_key("keyring", "r", NULL, 0, SESSION));
	int key = MUST(add_key("user", "k", "1", 1, ring));
	ERR(keyctl(KEYCTL_REVOKE, key));
	ERR(keyctl(KEYCTL_READ, key, NULL, 0));
	ERR(keyctl(KEYCTL_DESCRIBE, key, NULL, 0));
	ERR(keyctl(KEYCTL_SEARCH, ring, "user", "k", 0));
	ERR(request_key("user", "k", NULL, 0));
	ERR(keyctl(KEYCTL_REVOKE, key));
	ERR(keyctl(KEYCTL_UNLINK, key, ring));
	key = MUST(add_key("user", "k", "1", 1, ring));
	/* It goes at some time after that. */
	ERR(keyctl(KEYCTL_INVALIDATE, key));
	key = MUST(add_key("user", "e", "1", 1, ring));
	ERR(keyctl(KEYCTL_SET_TIMEOUT, key, 1000));
	TEXT(content(key));
	ERR(keyctl(KEYCTL_SET_TIMEOUT, key, 1));
	sleep_ms(2100);
	ERR(keyctl(KEYCTL_READ, key, NULL, 0));
	ERR(keyctl(KEYCTL_DESCRIBE, key, NULL, 0));
	ERR(keyctl(KEYCTL_SEARCH, ring, "user", "e", 0));
	ERR(request_key("user", "e", NULL, 0));
	ERR(keyctl(KEYCTL_SET_TIMEOUT, key, 0));
	ERR(keyctl(KEYCTL_REVOKE, ring));
	ERR(add_key("user", "k", "1", 1, ring));
}

SECTION("permissions: what possessor and owner may")
{
	need_root();
	own_session();
	int key = MUST(add_key("user", "k", "1", 1, SESSION));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x40000000));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x3f000000));
	TEXT(described(key));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x3e000000));
	TEXT(described(key));
	TEXT(content(key));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x29000000));
	ERR(keyctl(KEYCTL_READ, key, NULL, 0));
	ERR(keyctl(KEYCTL_UPDATE, key, "x", 1));
	int ring = MUST(add_key("keyring", "r", NULL, 0, SESSION));
	ERR(keyctl(KEYCTL_LINK, key, ring));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x21000000));
	ERR(keyctl(KEYCTL_READ, key, NULL, 0));
	ERR(keyctl(KEYCTL_DESCRIBE, key, NULL, 0));
	ERR(keyctl(KEYCTL_SEARCH, SESSION, "user", "k", 0));
	ERR(keyctl(KEYCTL_SETPERM, ring, 0x1f3f0000));
	ERR(keyctl(KEYCTL_SETPERM, ring, 0x3f000000));
}

SECTION("permissions: another user")
{
	need_root();
	own_session();
	int key = MUST(add_key("user", "k", "1", 1, SESSION));
	ERR(keyctl(KEYCTL_SETPERM, key, 0x3f3f0003));
	ERR(keyctl(KEYCTL_CHOWN, key, -1, 12));
	TEXT(described(key));
	int held = MUST(add_key("user", "h", "1", 1, PROCESS));
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(setgroups(0, NULL));
		MUST(setresgid(1000, 1000, 1000));
		MUST(setresuid(1000, 1000, 1000));
		/* It still has the session. */
		TEXT(content(key));
		ERR(keyctl(KEYCTL_SETPERM, key, 0x3f3f0000));
		ERR(keyctl(KEYCTL_CHOWN, key, 1000, -1));
		ERR(keyctl(KEYCTL_READ, held, NULL, 0));
		MUST(keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL));
		TEXT(described(key));
		TEXT(content(key));
		ERR(keyctl(KEYCTL_UPDATE, key, "2", 1));
		ERR(keyctl(KEYCTL_LINK, key, SESSION));
		ERR(keyctl(KEYCTL_REVOKE, key));
		ERR(keyctl(KEYCTL_INVALIDATE, key));
		ERR(request_key("user", "k", NULL, 0));
		_exit(0);
	}
	STATUS(end_of(child));
	ERR(keyctl(KEYCTL_CHOWN, key, 1000, -1));
	TEXT(described(key));
}

SECTION("special keyrings: made when they are asked for")
{
	own_session();
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, THREAD, 0));
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0));
	int thread = keyctl(KEYCTL_GET_KEYRING_ID, THREAD, 1);
	int process = keyctl(KEYCTL_GET_KEYRING_ID, PROCESS, 1);
	int session = keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0);
	SHOW(thread > 0 && process > 0 && session > 0 && thread != process);
	SHOW(keyctl(KEYCTL_GET_KEYRING_ID, THREAD, 0) == thread);
	TEXT(described(THREAD));
	TEXT(described(PROCESS));
	TEXT(described(SESSION));
	TEXT(described(KEY_SPEC_USER_KEYRING));
	TEXT(described(KEY_SPEC_USER_SESSION_KEYRING));
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_GROUP_KEYRING, 1));
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_REQUESTOR_KEYRING, 1));
	ERR(keyctl(KEYCTL_GET_KEYRING_ID, -9, 1));
	pid_t child = MUST(fork());
	if (child == 0) {
		ERR(keyctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0));
		ERR(keyctl(KEYCTL_GET_KEYRING_ID, THREAD, 0));
		SHOW(keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0) == session);
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("special keyrings: a new program keeps the session's only")
{
	char text[16];

	own_session();
	MUST(add_key("user", "exec:session", "x", 1, SESSION));
	MUST(add_key("user", "exec:process", "x", 1, PROCESS));
	sprintf(text, "%ld", keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0));
	execl(observe_self, observe_self, "@child", "x", text, NULL);
}

SECTION("KEYCTL_JOIN_SESSION_KEYRING: by name")
{
	char name[32];

	own_session();
	sprintf(name, "guest-%d", (int)getpid());
	int ring = keyctl(KEYCTL_JOIN_SESSION_KEYRING, name);
	SHOW(ring > 0);
	SHOW(keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0) == ring);
	SHOW(keyctl(KEYCTL_JOIN_SESSION_KEYRING, name) == ring);
	pid_t child = MUST(fork());
	if (child == 0) {
		SHOW(keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) != ring);
		SHOW(keyctl(KEYCTL_JOIN_SESSION_KEYRING, name) == ring);
		_exit(0);
	}
	STATUS(end_of(child));
	ERR(keyctl(KEYCTL_JOIN_SESSION_KEYRING, ".x"));
	ERR(keyctl(KEYCTL_JOIN_SESSION_KEYRING, 1));
}

SECTION("KEYCTL_SESSION_TO_PARENT: gives the parent the child's session")
{
	own_session();
	int before = keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0);
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL));
		MUST(add_key("user", "gift", "x", 1, SESSION));
		ERR(keyctl(KEYCTL_SESSION_TO_PARENT));
		_exit(0);
	}
	STATUS(end_of(child));
	SHOW(keyctl(KEYCTL_GET_KEYRING_ID, SESSION, 0) == before);
	SHOW(request_key("user", "gift", NULL, 0) > 0);
}

SECTION("request_key: what is not there")
{
	own_session();
	int ring = MUST(add_key("keyring", "r", NULL, 0, SESSION));
	ERR(request_key("user", "nothing", NULL, 0));
	ERR(request_key("no such type", "nothing", NULL, 0));
	ERR(request_key(NULL, "nothing", NULL, 0));
	ERR(request_key("user", NULL, NULL, 0));
	ERR(request_key("user", "nothing", NULL, 2));
	int key = MUST(add_key("user", "k", "x", 1, PROCESS));
	SHOW(request_key("user", "k", NULL, ring) == key);
	SHOW(keyctl(KEYCTL_SEARCH, ring, "user", "k", 0) == key);
	RET(keyctl(KEYCTL_SET_REQKEY_KEYRING, -1));
	RET(keyctl(KEYCTL_SET_REQKEY_KEYRING, 3));
	RET(keyctl(KEYCTL_SET_REQKEY_KEYRING, -1));
	ERR(keyctl(KEYCTL_SET_REQKEY_KEYRING, 6));
	ERR(keyctl(KEYCTL_SET_REQKEY_KEYRING, 8));
}

SECTION("keyctl: the remaining operations")
{
	char text[8] = "?";

	own_session();
	int key = MUST(add_key("user", "k", "x", 1, SESSION));
	int ring = MUST(add_key("keyring", "r", NULL, 0, SESSION));
	RET(keyctl(KEYCTL_GET_SECURITY, key, text, sizeof text));
	TEXT(text);
	ERR(keyctl(KEYCTL_INSTANTIATE, key, "x", 1, 0));
	ERR(keyctl(KEYCTL_NEGATE, key, 10, 0));
	ERR(keyctl(KEYCTL_REJECT, key, 10, ENOENT, 0));
	ERR(keyctl(KEYCTL_ASSUME_AUTHORITY, 0));
	ERR(keyctl(KEYCTL_ASSUME_AUTHORITY, -1));
	ERR(keyctl(KEYCTL_ASSUME_AUTHORITY, key));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, key, NULL, NULL));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, ring, NULL, "x"));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, ring, "user", NULL));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, ring, "user", "x"));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, ring, NULL, NULL));
	ERR(keyctl(KEYCTL_LINK, key, ring));
	ERR(add_key("user", "k2", "x", 1, ring));
	ERR(keyctl(KEYCTL_RESTRICT_KEYRING, ring, NULL, NULL));
	ERR(keyctl(1000));
	RET(keyctl(KEYCTL_CAPABILITIES, NULL, 0));
}

SECTION("proc: the keys are listed")
{
	char line[256], mine[64];
	bool found = false;

	own_session();
	int key = MUST(add_key("user", "listed", "four", 4, SESSION));
	sprintf(mine, "%08x", key);
	FILE *keys = fopen("/proc/keys", "re");
	while (keys && fgets(line, sizeof line, keys))
		if (!strncmp(line, mine, 8)) {
			found = true;
			line[strcspn(line, "\n")] = 0;
			TEXT(line + 9);
		}
	SHOW(found);
	fclose(keys);
	SHOW(strstr(read_file("/proc/key-users"), "    0: ") != NULL);
	TEXT(read_file("/proc/sys/kernel/keys/maxkeys"));
	TEXT(read_file("/proc/sys/kernel/keys/gc_delay"));
}

SECTION("quota: an ordinary user's is small")
{
	need_root();
	MUST(setresgid(4242, 4242, 4242));
	MUST(setresuid(4242, 4242, 4242));
	own_session();
	int count = 0;
	for (; count < 300; count++) {
		char name[16];

		sprintf(name, "k%d", count);
		if (add_key("user", name, "x", 1, SESSION) < 0)
			break;
	}
	SHOW(count > 190 && count < 200);
	ERR(add_key("user", "one more", "x", 1, SESSION));
	static char big[20000];
	ERR(add_key("user", "k0", big, sizeof big, SESSION));
	ERR(add_key("user", "k0", big, 1000, SESSION));
}
