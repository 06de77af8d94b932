/*
 * Every option of every kind of socket: what it is at first, in rooms of several sizes; what is said to several values, and what the
 * option is then. Options that nobody has are asked for as well. Neighbours that say one and the same are one line.
 */
#include "observe.h"
#include "inet.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>

static const struct { const char *name; int family, type, protocol; } kinds[] = {
	{ "tcp", AF_INET, SOCK_STREAM, 0 },
	{ "tcp6", AF_INET6, SOCK_STREAM, 0 },
	{ "udp", AF_INET, SOCK_DGRAM, 0 },
	{ "udp6", AF_INET6, SOCK_DGRAM, 0 },
	{ "udplite", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE },
	{ "icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP },
	{ "raw", AF_INET, SOCK_RAW, IPPROTO_RAW },
	{ "icmp6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 },
	{ "raw6", AF_INET6, SOCK_RAW, 143 },
	{ "ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP },
	{ "ping6", AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6 },
	{ "packet", AF_PACKET, SOCK_RAW, 0 },
	{ "cooked", AF_PACKET, SOCK_DGRAM, 0 },
	{ "route", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE },
	{ "unix", AF_UNIX, SOCK_STREAM, 0 },
	{ "unix-datagram", AF_UNIX, SOCK_DGRAM, 0 },
	{ "unix-packet", AF_UNIX, SOCK_SEQPACKET, 0 },
};

/* Values that are each run's or machine's own. */
static bool hidden(int level, int name)
{
	switch (level) {
	case SOL_SOCKET:
		return name == 57 /* SO_COOKIE */ || name == 71 /* SO_NETNS_COOKIE */ || name == 31 /* SO_PEERSEC */;
	case SOL_TCP:
		return name == TCP_INFO || name == TCP_TIMESTAMP;
	}
	return false;
}

/* What is answered as by a kernel without it, where the host's has it. */
static const struct { int level, name; const char *what; } absent[] = {
	{ SOL_SOCKET, 80, "SO_DEVMEM_DONTNEED" },
	{ SOL_IP, IP_ROUTER_ALERT, "IP_ROUTER_ALERT" },
	{ SOL_IP, IP_IPSEC_POLICY, "IP_IPSEC_POLICY" },
	{ SOL_IP, IP_XFRM_POLICY, "IP_XFRM_POLICY" },
	{ SOL_IPV6, IPV6_2292PKTOPTIONS, "IPV6_2292PKTOPTIONS" },
	{ SOL_IPV6, IPV6_JOIN_ANYCAST, "IPV6_JOIN_ANYCAST" },
	{ SOL_IPV6, IPV6_LEAVE_ANYCAST, "IPV6_LEAVE_ANYCAST" },
	{ SOL_IPV6, 32, "IPV6_FLOWLABEL_MGR" },
	{ SOL_IPV6, IPV6_IPSEC_POLICY, "IPV6_IPSEC_POLICY" },
	{ SOL_IPV6, IPV6_XFRM_POLICY, "IPV6_XFRM_POLICY" },
	{ SOL_IPV6, IPV6_HOPOPTS, "IPV6_HOPOPTS" },
	{ SOL_IPV6, IPV6_RTHDRDSTOPTS, "IPV6_RTHDRDSTOPTS" },
	{ SOL_IPV6, IPV6_RTHDR, "IPV6_RTHDR" },
	{ SOL_IPV6, IPV6_DSTOPTS, "IPV6_DSTOPTS" },
	{ SOL_TCP, TCP_MD5SIG, "TCP_MD5SIG" },
	{ SOL_TCP, TCP_MD5SIG_EXT, "TCP_MD5SIG_EXT" },
	{ SOL_TCP, TCP_REPAIR, "TCP_REPAIR" },
	{ SOL_TCP, TCP_REPAIR_QUEUE, "TCP_REPAIR_QUEUE" },
	{ SOL_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ" },
	{ SOL_TCP, TCP_REPAIR_OPTIONS, "TCP_REPAIR_OPTIONS" },
	{ SOL_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW" },
	{ SOL_TCP, TCP_FASTOPEN_KEY, "TCP_FASTOPEN_KEY" },
	{ SOL_TCP, TCP_ZEROCOPY_RECEIVE, "TCP_ZEROCOPY_RECEIVE" },
	{ SOL_TCP, 37, "TCP_TX_DELAY" },
	{ SOL_PACKET, PACKET_COPY_THRESH, "PACKET_COPY_THRESH" },
	{ SOL_PACKET, PACKET_TX_RING, "PACKET_TX_RING" },
	{ SOL_PACKET, PACKET_VNET_HDR, "PACKET_VNET_HDR" },
	{ SOL_PACKET, 24, "PACKET_VNET_HDR_SZ" },
};

static bool is_absent(int level, int name)
{
	for (size_t i = 0; i < LENGTH(absent); i++)
		if (absent[i].level == level && absent[i].name == name)
			return true;
	return false;
}

static size_t show(char *to, int fd, int level, int name, socklen_t room)
{
	unsigned char value[256];
	socklen_t length = room;
	size_t used = 0;

	memset(value, 0x5a, sizeof value);
	if (getsockopt(fd, level, name, value, &length) < 0)
		return sprintf(to, "%s", error_name(errno));
	if (hidden(level, name))
		return sprintf(to, "%u bytes", length);
	if (length == 0)
		return sprintf(to, "empty");
	/* Trailing zeros of long ones say little. */
	socklen_t shown = length < room ? length : room;
	if (shown > 32)
		shown = 32;
	for (socklen_t i = 0; i < shown; i++)
		used += sprintf(to + used, "%02x", value[i]);
	if (length != shown)
		used += sprintf(to + used, "(%u)", length);
	return used;
}

/* All that is seen of one option, from a new socket on. */
static void look(char *to, int kind, int level, int name)
{
	static const socklen_t rooms[] = { 4, 8, 1, 0, 128 };
	static const int values[] = { 1, 0, -1, 300 };
	static const socklen_t lengths[] = { 0, 1, 2, 8, 20, 40, 140 };
	int fd = socket(kinds[kind].family, kinds[kind].type, kinds[kind].protocol);
	char zeros[140] = { 0 };

	if (fd < 0) {
		sprintf(to, "no socket: %s", error_name(errno));
		return;
	}

	to += sprintf(to, "is");
	for (size_t i = 0; i < LENGTH(rooms); i++) {
		*to++ = ' ';
		to += show(to, fd, level, name, rooms[i]);
	}
	for (size_t i = 0; i < LENGTH(values); i++) {
		to += sprintf(to, "; %d ", values[i]);
		if (set_int(fd, level, name, values[i]) < 0) {
			to += sprintf(to, "%s", error_name(errno));
			continue;
		}
		to += show(to, fd, level, name, 4);
	}
	to += sprintf(to, "; of");
	for (size_t i = 0; i < LENGTH(lengths); i++) {
		int set = setsockopt(fd, level, name, zeros, lengths[i]);
		to += sprintf(to, " %u %s", lengths[i], set < 0 ? error_name(errno) : "ok");
	}
	close(fd);
}

static void prepare(void)
{
	need_root();
	/* Nothing that others have set up. */
	MUST(unshare(CLONE_NEWNET));
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 0");
	write_file("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
	write_file("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456");
}

static void sweep_kinds(const char *level_name, int level, int first, int last)
{
	for (size_t kind = 0; kind < LENGTH(kinds); kind++) {
		static char before[900], now[900];
		int since = first;

		for (int name = first; name <= last + 1; name++) {
			if (name <= last && is_absent(level, name))
				strcpy(now, "absent");
			else if (name <= last)
				look(now, kind, level, name);
			if (name > first && (name > last || strcmp(before, now))) {
				if (since == name - 1)
					say("%s %s %d: %s\n", kinds[kind].name, level_name, since, before);
				else
					say("%s %s %d-%d: %s\n", kinds[kind].name, level_name, since, name - 1, before);
				since = name;
			}
			memcpy(before, now, sizeof before);
		}
	}
}

static void sweep(const char *level_name, int level, int first, int last)
{
	prepare();
	sweep_kinds(level_name, level, first, last);
}

SECTION("SOL_SOCKET, the first half") { sweep("SOCKET", SOL_SOCKET, 1, 45); }
SECTION("SOL_SOCKET, the second half") { sweep("SOCKET", SOL_SOCKET, 46, 90); }
SECTION("SOL_IP") { sweep("IP", SOL_IP, 0, 52); }
SECTION("SOL_IPV6") { sweep("IPV6", SOL_IPV6, 0, 63); }
SECTION("SOL_IPV6, advanced") { sweep("IPV6", SOL_IPV6, 66, 90); }
SECTION("SOL_TCP") { sweep("TCP", SOL_TCP, 0, 48); }
SECTION("SOL_UDP") { sweep("UDP", SOL_UDP, 0, 8); sweep_kinds("UDP", SOL_UDP, 100, 105); }
SECTION("SOL_UDPLITE") { sweep("UDPLITE", IPPROTO_UDPLITE, 8, 12); }
SECTION("SOL_RAW and SOL_ICMPV6") { sweep("RAW", SOL_RAW, 0, 3); sweep_kinds("ICMPV6", IPPROTO_ICMPV6, 0, 3); }
SECTION("SOL_PACKET") { sweep("PACKET", SOL_PACKET, 0, 26); }
SECTION("SOL_NETLINK") { sweep("NETLINK", SOL_NETLINK, 0, 14); }

SECTION("without privileges")
{
	prepare();
	MUST(setresgid(65534, 65534, 65534));
	MUST(setresuid(65534, 65534, 65534));
	sweep_kinds("SOCKET", SOL_SOCKET, 1, 90);
	sweep_kinds("IP", SOL_IP, 0, 52);
	sweep_kinds("IPV6", SOL_IPV6, 0, 63);
	sweep_kinds("TCP", SOL_TCP, 0, 48);
}

SECTION("options that are not offered")
{
	static char line[900];

	prepare();
	for (size_t i = 0; i < LENGTH(absent); i++)
		for (size_t kind = 0; kind < LENGTH(kinds); kind++) {
			look(line, kind, absent[i].level, absent[i].name);
			say("%s %s: %s\n", kinds[kind].name, absent[i].what, line);
		}
}
