/* rtnetlink(7), read-only, and what ioctl(2) tells of interfaces: netdevice(7). */
#include "observe.h"
#include "inet.h"
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>

static char reply[1 << 16];

static int route_socket(void)
{
	int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	struct sockaddr_nl name = { .nl_family = AF_NETLINK };
	MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
	return fd;
}

static ssize_t request(int fd, int type, int flags)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} message = { { sizeof message, type, NLM_F_REQUEST | flags, 17, 0 }, { .ifi_family = AF_UNSPEC, .ifi_index = 1 } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	return sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&kernel, sizeof kernel);
}

/* Counts the messages of a dump by their type; the last one's type is returned. */
static int read_dump(int fd, int expected, int *count)
{
	*count = 0;
	for (;;) {
		ssize_t n = recv(fd, reply, sizeof reply, 0);
		if (n < 0)
			return -errno;
		for (struct nlmsghdr *m = (void *)reply; NLMSG_OK(m, (size_t)n); m = NLMSG_NEXT(m, n)) {
			if (m->nlmsg_type == expected)
				++*count;
			else
				return m->nlmsg_type;
			if (m->nlmsg_seq != 17)
				return -1;
		}
	}
}

SECTION("sockets and names")
{
	struct sockaddr_nl name;
	socklen_t length = sizeof name;

	ERR(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	ERR(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
	ERR(socket(AF_NETLINK, SOCK_RAW, 77));
	int fd = route_socket();
	MUST(getsockname(fd, (struct sockaddr *)&name, &length));
	SHOW(length);
	SHOW(name.nl_family);
	SHOW(name.nl_pid != 0);
	SHOW(name.nl_groups);
	HEX(revents(fd, EVERYTHING));
	ERR(recv(fd, reply, 100, MSG_DONTWAIT));
	ERR(listen(fd, 1));
	ERR(accept(fd, NULL, NULL));
	ERR(shutdown(fd, SHUT_WR));
	length = sizeof name;
	MUST(getpeername(fd, (struct sockaddr *)&name, &length));
	SHOW(name.nl_pid);
	SHOW(int_option(fd, SOL_SOCKET, SO_TYPE));
	SHOW(int_option(fd, SOL_SOCKET, SO_PROTOCOL));
	ERR(set_int(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1));
	ERR(set_int(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1));
	ERR(set_int(fd, SOL_NETLINK, 99, 1));
}

SECTION("dumps of links, addresses, routes, neighbours, rules")
{
	static const struct { int get, found; const char *name; } dumps[] = {
		{ RTM_GETLINK, RTM_NEWLINK, "link" }, { RTM_GETADDR, RTM_NEWADDR, "address" },
		{ RTM_GETROUTE, RTM_NEWROUTE, "route" }, { RTM_GETRULE, RTM_NEWRULE, "rule" },
	};
	int fd = route_socket(), count;

	for (size_t i = 0; i < LENGTH(dumps); i++) {
		MUST(request(fd, dumps[i].get, NLM_F_DUMP));
		HEX(revents_within(fd, POLLIN, 1000));
		int end = read_dump(fd, dumps[i].found, &count);
		say("%s: %s, ended by %d\n", dumps[i].name, count > 0 ? "some" : "none", end);
	}
	MUST(request(fd, RTM_GETLINK, 0));
	ssize_t n = recv(fd, reply, sizeof reply, MSG_PEEK | MSG_TRUNC);
	SHOW(n > 100);
	SHOW(recv(fd, reply, 16, MSG_TRUNC) == n);
	SHOW(((struct nlmsghdr *)reply)->nlmsg_type);
}

/* Compared as a user without capabilities, as that is what every guest is to the host's network. */
SECTION("changes are refused with an error message")
{
	struct sockaddr_nl from;
	socklen_t length = sizeof from;

	if (geteuid() == 0)
		MUST(setuid(65534));
	int fd = route_socket();
	RET(request(fd, RTM_NEWLINK, NLM_F_ACK));
	HEX(revents(fd, EVERYTHING));
	RET(recvfrom(fd, reply, sizeof reply, 0, (struct sockaddr *)&from, &length));
	struct nlmsghdr *m = (void *)reply;
	SHOW(m->nlmsg_type);
	SHOW(m->nlmsg_len);
	SHOW(m->nlmsg_seq);
	SHOW(((struct nlmsgerr *)NLMSG_DATA(m))->error);
	SHOW(((struct nlmsgerr *)NLMSG_DATA(m))->msg.nlmsg_type);
	SHOW(from.nl_pid);
	SHOW(length);
	ERR(recv(fd, reply, sizeof reply, MSG_DONTWAIT));
	RET(request(fd, RTM_DELADDR, 0));
	RET(recv(fd, reply, 10, 0));
	struct sockaddr_nl other = { .nl_family = AF_NETLINK, .nl_pid = 1 };
	ERR(sendto(fd, reply, 16, 0, (struct sockaddr *)&other, sizeof other));
	ERR(connect(fd, (struct sockaddr *)&other, sizeof other));
	ERR(sendto(fd, reply, 16, 0, (struct sockaddr *)&other, 5));
}

SECTION("the C library: interfaces and addresses")
{
	struct ifaddrs *list = NULL;
	struct addrinfo *found = NULL, hints = { .ai_flags = AI_NUMERICHOST };
	bool loopback_seen = false;

	ERR(getifaddrs(&list));
	for (struct ifaddrs *i = list; i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !strcmp(i->ifa_name, "lo"))
			loopback_seen = true;
	SHOW(loopback_seen);
	SHOW(if_nametoindex("lo"));
	SHOW(getaddrinfo("127.0.0.1", "80", &hints, &found));
	SHOW(found && found->ai_family == AF_INET);
}

SECTION("ioctl: one interface, all of them, changes")
{
	struct ifreq one = { .ifr_name = "lo" };
	char room[4096];
	struct ifconf all = { .ifc_len = sizeof room, .ifc_buf = room };
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));

	ERR(ioctl(fd, SIOCGIFINDEX, &one));
	SHOW(one.ifr_ifindex);
	ERR(ioctl(fd, SIOCGIFFLAGS, &one));
	SHOW((one.ifr_flags & (IFF_UP | IFF_LOOPBACK)) == (IFF_UP | IFF_LOOPBACK));
	ERR(ioctl(fd, SIOCGIFADDR, &one));
	HEX(ntohl(((struct sockaddr_in *)&one.ifr_addr)->sin_addr.s_addr));
	ERR(ioctl(fd, SIOCGIFNETMASK, &one));
	HEX(ntohl(((struct sockaddr_in *)&one.ifr_addr)->sin_addr.s_addr));
	ERR(ioctl(fd, SIOCGIFMTU, &one));
	SHOW(one.ifr_mtu);
	ERR(ioctl(fd, SIOCGIFHWADDR, &one));
	SHOW(one.ifr_hwaddr.sa_family);
	one.ifr_ifindex = 1;
	memset(one.ifr_name, 0, sizeof one.ifr_name);
	ERR(ioctl(fd, SIOCGIFNAME, &one));
	TEXT(one.ifr_name);
	strcpy(one.ifr_name, "nonesuch");
	ERR(ioctl(fd, SIOCGIFFLAGS, &one));
	ERR(ioctl(fd, SIOCGIFFLAGS, (void *)8));
	ERR(ioctl(fd, SIOCGIFCONF, &all));
	int whole = all.ifc_len;
	SHOW(whole >= (int)sizeof one && whole % (int)sizeof one == 0);
	TEXT(all.ifc_req[0].ifr_name);
	all.ifc_buf = NULL;
	ERR(ioctl(fd, SIOCGIFCONF, &all));
	SHOW(all.ifc_len == whole);
	all = (struct ifconf){ .ifc_len = 10, .ifc_buf = room };
	ERR(ioctl(fd, SIOCGIFCONF, &all));
	SHOW(all.ifc_len);
	if (geteuid() == 0)
		MUST(setuid(65534));
	strcpy(one.ifr_name, "lo");
	ERR(ioctl(fd, SIOCSIFFLAGS, &one));
	ERR(ioctl(fd, SIOCSIFMTU, &one));
}

SECTION("/proc/net: files there are, and a listener in them")
{
	static char text[1 << 20];
	char port[32];
	int server = listener(1);
	FILE *file = fopen("/proc/net/tcp", "r");

	snprintf(port, sizeof port, "0100007F:%04X", port_of(server));
	SHOW(file != NULL);
	SHOW(fgets(text, sizeof text, file) && strstr(text, "local_address") != NULL);
	size_t used = fread(text, 1, sizeof text - 1, file);
	text[used] = 0;
	SHOW(strstr(text, port) != NULL);
	file = fopen("/proc/net/dev", "r");
	SHOW(file != NULL);
	used = fread(text, 1, sizeof text - 1, file);
	text[used] = 0;
	SHOW(strstr(text, "lo:") != NULL);
}
