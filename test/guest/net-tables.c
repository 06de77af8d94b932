/* Tables of x_tables as setsockopt(2) takes them (iptables-legacy): what is wrong with one, and with which errno it is refused. */
#include "observe.h"
#include "inet.h"
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sched.h>

/* A table of the kind `filter`: INPUT, FORWARD, OUTPUT, a chain A, a chain B, the end. */
static struct {
	struct ipt_replace head;
	char entries[4096];
} table;
static struct xt_counters old[64];
static int size, count;

enum { POLICY = sizeof(struct ipt_entry) + XT_ALIGN(sizeof(struct xt_standard_target)) };

static struct ipt_entry *entry_at(int offset)
{
	return (void *)(table.entries + offset);
}

static struct xt_standard_target *target_at(int offset)
{
	return (void *)(table.entries + offset + entry_at(offset)->target_offset);
}

static int add_entry(int matches, int target)
{
	struct ipt_entry *entry = entry_at(size);
	int offset = size;
	entry->target_offset = sizeof *entry + matches;
	entry->next_offset = entry->target_offset + XT_ALIGN(target);
	target_at(size)->target.u.target_size = XT_ALIGN(target);
	size += entry->next_offset;
	count++;
	return offset;
}

static int add_verdict(int verdict)
{
	int offset = add_entry(0, sizeof(struct xt_standard_target));
	target_at(offset)->verdict = verdict;
	return offset;
}

static int add_error(const char *name)
{
	int offset = add_entry(0, sizeof(struct xt_error_target));
	struct xt_error_target *target = (void *)target_at(offset);
	strcpy(target->target.u.user.name, XT_ERROR_TARGET);
	strcpy(target->errorname, name);
	return offset;
}

/* A rule with a match of TCP's, which jumps, accepts or what else. */
static int add_tcp(int verdict)
{
	int length = XT_ALIGN(sizeof(struct xt_entry_match) + sizeof(struct xt_tcp));
	int offset = add_entry(length, sizeof(struct xt_standard_target));
	struct xt_entry_match *match = (void *)(entry_at(offset)->elems);
	struct xt_tcp *tcp = (void *)match->data;
	match->u.match_size = length;
	strcpy(match->u.user.name, "tcp");
	tcp->spts[1] = tcp->dpts[1] = 65535;
	entry_at(offset)->ip.proto = IPPROTO_TCP;
	target_at(offset)->verdict = verdict;
	return offset;
}

static int rule, chain_a, chain_b;

static void make(void)
{
	memset(&table, 0, sizeof table);
	size = count = 0;
	strcpy(table.head.name, "filter");
	table.head.valid_hooks = 1 << NF_INET_LOCAL_IN | 1 << NF_INET_FORWARD | 1 << NF_INET_LOCAL_OUT;
	table.head.hook_entry[NF_INET_LOCAL_IN] = 0;
	rule = add_tcp(-NF_ACCEPT - 1);
	table.head.underflow[NF_INET_LOCAL_IN] = add_verdict(-NF_ACCEPT - 1);
	table.head.hook_entry[NF_INET_FORWARD] = table.head.underflow[NF_INET_FORWARD] = add_verdict(-NF_DROP - 1);
	table.head.hook_entry[NF_INET_LOCAL_OUT] = table.head.underflow[NF_INET_LOCAL_OUT] = add_verdict(-NF_ACCEPT - 1);
	add_error("A");
	chain_a = add_tcp(XT_RETURN);
	add_verdict(XT_RETURN);
	add_error("B");
	chain_b = add_tcp(XT_RETURN);
	add_verdict(XT_RETURN);
	add_error(XT_ERROR_TARGET);
	table.head.num_counters = 4;
	table.head.counters = old;
}

static int socket_in_new_network(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNET));
	return MUST(socket(AF_INET, SOCK_DGRAM, 0));
}

static int counters_now(int fd)
{
	struct ipt_getinfo info = { .name = "filter" };
	socklen_t length = sizeof info;
	MUST(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &length));
	return info.num_entries;
}

static int replace(int fd)
{
	table.head.num_entries = count;
	table.head.size = size;
	table.head.num_counters = counters_now(fd);
	return setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size);
}

#define WITH(change)                                                                                          \
	do {                                                                                                   \
		make();                                                                                        \
		change;                                                                                        \
		say("%s: ", #change);                                                                          \
		ERR(replace(fd));                                                                              \
	} while (0)

SECTION("a table as it is at first, and what is asked of it")
{
	int fd = socket_in_new_network();
	static const char *const names[] = { "filter", "nat", "mangle", "raw", "security", "none", "" };
	for (size_t i = 0; i < LENGTH(names); i++) {
		struct ipt_getinfo info = { 0 };
		socklen_t length = sizeof info;
		strcpy(info.name, names[i]);
		say("%s\n", names[i]);
		ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &length));
		say("%x %u %u %u\n", info.valid_hooks, info.num_entries, info.size, length);
		for (int hook = 0; hook < NF_INET_NUMHOOKS; hook++)
			say(" %d %d\n", (int)info.hook_entry[hook], (int)info.underflow[hook]);
	}
	struct ipt_get_entries *entries = calloc(1, 8192);
	strcpy(entries->name, "filter");
	socklen_t length = sizeof *entries;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, entries, &length));
	entries->size = 632;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, entries, &length));
	length = sizeof *entries + 632;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, entries, &length));
	unsigned sum = 0;
	for (int i = 0; i < 632; i++)
		sum = sum * 31 + ((unsigned char *)entries->entrytable)[i];
	say("%u %x\n", length, sum);
	struct ipt_getinfo info = { .name = "filter" };
	length = sizeof info - 1;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &length));
	length = sizeof info;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, NULL, &length));
	ERR(getsockopt(fd, IPPROTO_IPV6, IP6T_SO_GET_INFO, &info, &length));
	int six = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	ERR(getsockopt(six, IPPROTO_IPV6, IP6T_SO_GET_INFO, &info, &length));
	say("%u %u\n", info.num_entries, info.size);
}

SECTION("which extensions there are")
{
	int fd = socket_in_new_network();
	static const struct { const char *name; int revision, target; } asked[] = {
		{ "tcp", 0, 0 }, { "tcp", 1, 0 }, { "conntrack", 3, 0 }, { "conntrack", 9, 0 }, { "nothing", 0, 0 },
		{ "MASQUERADE", 0, 1 }, { "DNAT", 2, 1 }, { "DNAT", 3, 1 }, { "tcp", 0, 1 }, { "MARK", 2, 1 },
		{ "icmp6", 0, 0 }, { "icmp", 0, 0 }, { "", 0, 1 }, { "ERROR", 0, 1 },
	};
	for (size_t i = 0; i < LENGTH(asked); i++) {
		struct xt_get_revision question = { .revision = asked[i].revision };
		socklen_t length = sizeof question;
		strcpy(question.name, asked[i].name);
		int option = asked[i].target ? IPT_SO_GET_REVISION_TARGET : IPT_SO_GET_REVISION_MATCH;
		say("%s %d: ", question.name, question.revision);
		ERR(getsockopt(fd, IPPROTO_IP, option, &question, &length));
	}
	struct xt_get_revision question = { .name = "tcp" };
	socklen_t length = sizeof question + 1;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_REVISION_MATCH, &question, &length));
}

SECTION("a table is replaced: lengths and counts")
{
	int fd = socket_in_new_network();
	WITH((void)0);
	make();
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head - 1));
	table.head.num_entries = count;
	table.head.size = size;
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size - 1));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size));
	table.head.num_counters = 0;
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size));
	table.head.num_counters = INT_MAX;
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size));
	table.head.num_counters = counters_now(fd);
	table.head.counters = (void *)8;
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, (void *)8, sizeof table.head + size));
	WITH(count++);
	WITH(count--);
	WITH(strcpy(table.head.name, "nat"));
	WITH(strcpy(table.head.name, "nope"));
	WITH(table.head.valid_hooks = 1);
	WITH(table.head.valid_hooks = 0);
	WITH(size -= 8);
	WITH(size = 0);
}

SECTION("a table is replaced: entries")
{
	int fd = socket_in_new_network();
	WITH(table.head.hook_entry[NF_INET_LOCAL_IN] = 8);
	WITH(table.head.underflow[NF_INET_LOCAL_IN] = 8);
	WITH(table.head.underflow[NF_INET_LOCAL_IN] = 0);
	WITH(table.head.underflow[NF_INET_FORWARD] = table.head.underflow[NF_INET_LOCAL_OUT]);
	WITH(table.head.hook_entry[NF_INET_LOCAL_OUT] = table.head.hook_entry[NF_INET_FORWARD]);
	WITH(entry_at(0)->next_offset = 0);
	WITH(entry_at(0)->next_offset = 8);
	WITH(entry_at(0)->next_offset -= 8);
	WITH(entry_at(0)->next_offset += 4);
	WITH(entry_at(0)->next_offset = 0xfff8);
	WITH(entry_at(0)->target_offset = 0);
	WITH(entry_at(0)->target_offset = 0xfff8);
	WITH(entry_at(0)->target_offset += 4);
	WITH(entry_at(0)->target_offset -= 8);
	WITH(entry_at(0)->ip.flags = 4);
	WITH(entry_at(0)->ip.invflags = 0x80);
	WITH(target_at(0)->target.u.target_size = 0);
	WITH(target_at(0)->target.u.target_size = 0xffff);
	WITH(target_at(0)->verdict = 0);
	WITH(target_at(0)->verdict = -100);
	WITH(target_at(0)->verdict = -NF_QUEUE - 1);
	WITH(target_at(0)->verdict = -NF_STOLEN - 1);
	WITH(target_at(0)->verdict = -NF_REPEAT - 1);
	WITH(target_at(0)->verdict = INT_MIN);
	WITH(target_at(table.head.underflow[NF_INET_FORWARD])->verdict = XT_RETURN);
	WITH(entry_at(table.head.underflow[NF_INET_FORWARD])->ip.proto = 6);
	WITH(strcpy(target_at(0)->target.u.user.name, "NOTHING"));
	WITH(memset(target_at(0)->target.u.user.name, 'x', XT_EXTENSION_MAXNAMELEN));
	WITH(strcpy(target_at(0)->target.u.user.name, "MASQUERADE"));
	WITH(strcpy(target_at(0)->target.u.user.name, XT_ERROR_TARGET));
}

#define MATCH ((struct xt_entry_match *)entry_at(0)->elems)

SECTION("a table is replaced: matches")
{
	int fd = socket_in_new_network();
	WITH(MATCH->u.match_size = 0);
	WITH(MATCH->u.match_size = 8);
	WITH(MATCH->u.match_size = 0xfff8);
	WITH(MATCH->u.match_size -= 8);
	WITH(MATCH->u.match_size -= 4);
	WITH(strcpy(MATCH->u.user.name, "nothing"));
	WITH(memset(MATCH->u.user.name, 'x', XT_EXTENSION_MAXNAMELEN));
	WITH(MATCH->u.user.revision = 7);
	WITH(strcpy(MATCH->u.user.name, "udp"));
	WITH(entry_at(0)->ip.proto = IPPROTO_UDP);
	WITH(entry_at(0)->ip.invflags = IPT_INV_PROTO);
	WITH(((struct xt_tcp *)MATCH->data)->invflags = 0xff);
}

SECTION("a table is replaced: jumps")
{
	int fd = socket_in_new_network();
	WITH(target_at(0)->verdict = chain_a);
	WITH(target_at(0)->verdict = chain_a + 8);
	WITH(target_at(0)->verdict = size);
	WITH(target_at(0)->verdict = INT_MAX);
	WITH(target_at(0)->verdict = chain_a; target_at(chain_a)->verdict = chain_b);
	WITH(target_at(0)->verdict = chain_a; target_at(chain_a)->verdict = chain_b; target_at(chain_b)->verdict = chain_a);
	WITH(target_at(chain_a)->verdict = chain_b; target_at(chain_b)->verdict = chain_a);
	WITH(target_at(0)->verdict = chain_a; target_at(chain_a)->verdict = chain_a);
	WITH(target_at(0)->verdict = table.head.underflow[NF_INET_LOCAL_IN]);
	WITH(target_at(0)->verdict = table.head.hook_entry[NF_INET_FORWARD]);
	WITH(target_at(0)->verdict = chain_a; target_at(chain_a + entry_at(chain_a)->next_offset)->verdict = chain_b);
	WITH(target_at(0)->verdict = chain_a; target_at(chain_a)->verdict = entry_at(chain_a)->next_offset + chain_a);
	WITH(target_at(0)->verdict = chain_a; entry_at(0)->ip.flags = IPT_F_GOTO);
}

SECTION("counters are added to, and come back with the rules")
{
	int fd = socket_in_new_network();
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = 1 };
	MUST(ioctl(fd, SIOCSIFFLAGS, &up));
	struct {
		struct xt_counters_info head;
		struct xt_counters counters[64];
	} add = { .head.name = "filter" };
	WITH((void)0);
	add.head.num_counters = count;
	for (int i = 0; i < count; i++)
		add.counters[i] = (struct xt_counters){ i, 1ull << 33 };
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &add, sizeof add.head));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &add, sizeof add.head + count * sizeof *add.counters - 1));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &add, sizeof add.head + count * sizeof *add.counters));
	add.head.num_counters--;
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &add, sizeof add.head + (count - 1) * sizeof *add.counters));
	strcpy(add.head.name, "nope");
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &add, sizeof add.head + (count - 1) * sizeof *add.counters));
	/* One datagram to ourselves: OUTPUT's policy and INPUT's have seen it. */
	int receiver = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind_loopback(receiver, 0));
	MUST(connect_loopback(fd, port_of(receiver)));
	MUST(send(fd, "hello", 5, 0));
	MUST(recv(receiver, big, 5, 0));
	int before = count;
	WITH((void)0);
	for (int i = 0; i < before; i++)
		say("%llu %llu\n", (unsigned long long)old[i].pcnt, (unsigned long long)old[i].bcnt);
}

SECTION("who may not change the network may not look either")
{
	int fd = socket_in_new_network();
	make();
	table.head.num_entries = count;
	table.head.size = size;
	MUST(setuid(1000));
	struct ipt_getinfo info = { .name = "filter" };
	socklen_t length = sizeof info;
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &length));
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, &info, &length));
	ERR(getsockopt(fd, IPPROTO_IP, IPT_SO_GET_REVISION_MATCH, &info, &length));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_REPLACE, &table, sizeof table.head + size));
	ERR(setsockopt(fd, IPPROTO_IP, IPT_SO_SET_ADD_COUNTERS, &info, length));
}
