/* A network that can be changed: namespaces, interfaces, raw and packet sockets, multicast, IPv6. As root, in new namespaces. */
#include "observe.h"
#include "inet.h"
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static struct ifreq request_for(const char *name)
{
	struct ifreq request = { 0 };
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	return request;
}

static int set_flags(int fd, const char *name, int flags)
{
	struct ifreq request = request_for(name);
	request.ifr_flags = flags;
	return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int set_address(int fd, unsigned long what, const char *name, const char *address)
{
	struct ifreq request = request_for(name);
	struct sockaddr_in *in = (void *)&request.ifr_addr;
	in->sin_family = AF_INET;
	inet_pton(AF_INET, address, &in->sin_addr);
	return ioctl(fd, what, &request);
}

/* A namespace of our own, whose loopback interface is up. */
static int new_network(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNET));
	int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	MUST(set_flags(fd, "lo", IFF_UP));
	return fd;
}

static void show_interface(int fd, const char *name)
{
	static const struct { unsigned long number; const char *name; } addresses[] = {
		{ SIOCGIFADDR, "address" }, { SIOCGIFNETMASK, "netmask" }, { SIOCGIFBRDADDR, "broadcast" },
		{ SIOCGIFDSTADDR, "destination" },
	};
	struct ifreq request = request_for(name);
	ERR(ioctl(fd, SIOCGIFFLAGS, &request));
	HEX(request.ifr_flags);
	ERR(ioctl(fd, SIOCGIFMTU, &request));
	SHOW(request.ifr_mtu);
	for (size_t i = 0; i < LENGTH(addresses); i++) {
		request = request_for(name);
		char text[INET_ADDRSTRLEN] = "";
		int got = ioctl(fd, addresses[i].number, &request);
		if (got == 0)
			inet_ntop(AF_INET, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr, text, sizeof text);
		say("%s: %s\n", addresses[i].name, got == 0 ? text : error_name(errno));
	}
}

SECTION("a new namespace: loopback is down and alone")
{
	need_root();
	MUST(unshare(CLONE_NEWNET));
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	show_interface(fd, "lo");
	ERR(connect_loopback(fd, 9));
	ERR(bind_loopback(fd, 0));
	struct if_nameindex *all = if_nameindex();
	for (struct if_nameindex *one = all; one->if_index != 0; one++)
		say("%u %s\n", one->if_index, one->if_name);
	ERR(set_flags(fd, "lo", IFF_UP));
	show_interface(fd, "lo");
	ERR(connect_loopback(fd, 9));
	ERR(set_flags(fd, "lo", 0));
	ERR(set_flags(fd, "none", IFF_UP));
}

SECTION("addresses by ioctl")
{
	int fd = new_network();
	ERR(set_address(fd, SIOCSIFADDR, "lo:1", "10.1.2.3"));
	show_interface(fd, "lo:1");
	ERR(set_address(fd, SIOCSIFNETMASK, "lo:1", "255.255.255.0"));
	ERR(set_address(fd, SIOCSIFNETMASK, "lo:1", "255.0.255.0"));
	show_interface(fd, "lo:1");
	show_interface(fd, "lo");
	ERR(set_address(fd, SIOCSIFADDR, "lo", "224.0.0.1"));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a010203) };
	int other = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(bind(other, (struct sockaddr *)&to, sizeof to));
	ERR(set_flags(fd, "lo:1", 0));
	show_interface(fd, "lo:1");
	ERR(set_address(fd, SIOCSIFADDR, "nobody", "10.0.0.1"));
}

SECTION("who may not change anything")
{
	int fd = new_network();
	MUST(setuid(65534));
	ERR(set_flags(fd, "lo", 0));
	ERR(set_address(fd, SIOCSIFADDR, "lo", "10.1.2.3"));
	ERR(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	ERR(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	ERR(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	ERR(set_int(fd, SOL_SOCKET, SO_MARK, 1));
	ERR(set_int(fd, SOL_IP, IP_TRANSPARENT, 1));
	ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
}

static unsigned short sum_of(const void *data, size_t length)
{
	unsigned sum = 0;
	for (size_t i = 0; i < length; i += 2)
		sum += *(const unsigned short *)((const char *)data + i);
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SECTION("a raw socket: an echo and its answer")
{
	new_network();
	int fd = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo = { htons(7), htons(1) } };
	struct sockaddr_in to = loopback(0), from;
	socklen_t length = sizeof from;
	unsigned char packet[200];
	/* struct icmp_filter, ICMP_FILTER: of a header that the C library's gets in the way of. */
	unsigned filter = ~(1u << ICMP_ECHOREPLY);
	ERR(setsockopt(fd, SOL_RAW, 1, &filter, sizeof filter));
	echo.checksum = sum_of(&echo, sizeof echo);
	RET(sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	HEX(revents_within(fd, POLLIN, 1000));
	RET(recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &length));
	SHOW(packet[0]);
	SHOW(packet[8]);
	SHOW(packet[9]);
	SHOW(packet[20]);
	HEX(ntohl(from.sin_addr.s_addr));
	SHOW(from.sin_port);
	ERR(recv(fd, packet, sizeof packet, MSG_DONTWAIT));
	ERR(send(fd, packet, 8, 0));
	ERR(connect(fd, (struct sockaddr *)&to, sizeof to));
	length = sizeof from;
	ERR(getpeername(fd, (struct sockaddr *)&from, &length));
	MUST(getsockname(fd, (struct sockaddr *)&from, &length));
	SHOW(ntohs(from.sin_port));
	SHOW(int_option(fd, SOL_IP, IP_HDRINCL));
	ERR(listen(fd, 1));
}

SECTION("a raw socket with headers of its own")
{
	new_network();
	int fd = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), receiver = MUST(socket(AF_INET, SOCK_RAW, 200));
	struct { struct iphdr ip; char data[4]; } __attribute__((packed)) packet = {
		{ .version = 4, .ihl = 5, .ttl = 3, .protocol = 200, .daddr = htonl(INADDR_LOOPBACK) }, "data",
	};
	struct sockaddr_in to = loopback(0);
	unsigned char got[100];
	SHOW(int_option(fd, SOL_IP, IP_HDRINCL));
	RET(sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(receiver, got, sizeof got, 0));
	SHOW(got[8]);
	SHOW(got[2] * 256 + got[3]);
	SHOW(sum_of(got, 20));
	SHOW(memcmp(got + 20, "data", 4));
	packet.ip.ihl = 4;
	ERR(sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to));
	ERR(sendto(fd, &packet, 10, 0, (struct sockaddr *)&to, sizeof to));
	ERR(recv(fd, got, sizeof got, MSG_DONTWAIT));
}

SECTION("a raw socket of IPv6: checksums are the kernel's")
{
	new_network();
	int fd = MUST(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	struct icmp6_hdr echo = { .icmp6_type = ICMP6_ECHO_REQUEST };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct icmp6_filter filter;
	unsigned char got[100];
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
	ERR(setsockopt(fd, SOL_ICMPV6, ICMP6_FILTER, &filter, sizeof filter));
	SHOW(int_option(fd, SOL_IPV6, IPV6_CHECKSUM));
	ERR(set_int(fd, SOL_IPV6, IPV6_CHECKSUM, 4));
	ERR(set_int(fd, SOL_IP, IP_TTL, 4));
	RET(sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	HEX(revents_within(fd, POLLIN, 1000));
	RET(recv(fd, got, sizeof got, 0));
	SHOW(got[0]);
}

SECTION("ping sockets: who is in the range of groups")
{
	new_network();
	ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 100");
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo = { 0, htons(1) } }, got;
	struct sockaddr_in to = loopback(0), name;
	socklen_t length = sizeof name;
	RET(sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	RET(recvfrom(fd, &got, sizeof got, 0, NULL, NULL));
	SHOW(got.type);
	MUST(getsockname(fd, (struct sockaddr *)&name, &length));
	SHOW(name.sin_port == got.un.echo.id);
	echo.type = ICMP_ECHOREPLY;
	ERR(sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	ERR(sendto(fd, &echo, 4, 0, (struct sockaddr *)&to, sizeof to));
}

SECTION("a packet socket sees what passes")
{
	new_network();
	int fd = MUST(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP))), a = datagram(), b = datagram();
	struct sockaddr_in to = loopback(port_of(b));
	struct sockaddr_ll from;
	socklen_t length = sizeof from;
	unsigned char packet[200];
	RET(sendto(a, "hello", 5, 0, (struct sockaddr *)&to, sizeof to));
	RET(recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &length));
	SHOW(length);
	SHOW(from.sll_family);
	HEX(ntohs(from.sll_protocol));
	SHOW(from.sll_ifindex);
	SHOW(from.sll_hatype);
	SHOW(from.sll_pkttype);
	SHOW(from.sll_halen);
	SHOW(packet[9]);
	SHOW(memcmp(packet + 28, "hello", 5));
	ERR(recv(fd, packet, sizeof packet, MSG_DONTWAIT));
	RET(sendto(a, "more than there is room for", 27, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(fd, packet, 10, MSG_TRUNC));
	struct tpacket_stats stats;
	length = sizeof stats;
	ERR(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length));
	SHOW(stats.tp_packets);
	SHOW(stats.tp_drops);
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { 1, code };
	ERR(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	RET(sendto(a, "unseen", 6, 0, (struct sockaddr *)&to, sizeof to));
	ERR(recv(fd, packet, sizeof packet, MSG_DONTWAIT));
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
	ERR(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	ERR(set_int(fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
	ERR(set_int(fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
	struct sockaddr_ll nowhere = { .sll_family = AF_PACKET, .sll_ifindex = 99, .sll_protocol = htons(ETH_P_IP) };
	ERR(bind(fd, (struct sockaddr *)&nowhere, sizeof nowhere));
	ERR(connect(fd, (struct sockaddr *)&nowhere, sizeof nowhere));
	ERR(send(fd, "x", 1, 0));
}

SECTION("multicast over loopback")
{
	int query = new_network();
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in any = { .sin_family = AF_INET }, to = { .sin_family = AF_INET };
	inet_pton(AF_INET, "239.1.2.3", &to.sin_addr);
	MUST(bind(b, (struct sockaddr *)&any, sizeof any));
	to.sin_port = htons(port_of(b));
	struct ip_mreqn group = { to.sin_addr, { htonl(INADDR_LOOPBACK) }, 0 };
	(void)query;
	ERR(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof to));
	ERR(setsockopt(a, SOL_IP, IP_MULTICAST_IF, &group, sizeof group));
	ERR(setsockopt(b, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ERR(setsockopt(b, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	RET(sendto(a, "group", 5, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(b, big, 100, MSG_DONTWAIT));
	ERR(set_int(b, SOL_IP, IP_MULTICAST_TTL, 256));
	SHOW(int_option(a, SOL_IP, IP_MULTICAST_TTL));
	struct ip_mreq_source block = { group.imr_multiaddr, { htonl(INADDR_LOOPBACK) }, { htonl(INADDR_LOOPBACK) } };
	ERR(setsockopt(b, SOL_IP, IP_BLOCK_SOURCE, &block, sizeof block));
	RET(sendto(a, "group", 5, 0, (struct sockaddr *)&to, sizeof to));
	ERR(recv(b, big, 100, MSG_DONTWAIT));
	ERR(setsockopt(b, SOL_IP, IP_UNBLOCK_SOURCE, &block, sizeof block));
	ERR(setsockopt(b, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	ERR(setsockopt(b, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	struct group_source_req wanted = { .gsr_interface = 1 };
	((struct sockaddr_in *)&wanted.gsr_group)->sin_family = AF_INET;
	((struct sockaddr_in *)&wanted.gsr_group)->sin_addr = to.sin_addr;
	*(struct sockaddr_in *)&wanted.gsr_source = loopback(0);
	ERR(setsockopt(b, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &wanted, sizeof wanted));
	ERR(setsockopt(b, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &wanted, sizeof wanted));
	RET(sendto(a, "group", 5, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(b, big, 100, MSG_DONTWAIT));
	ERR(setsockopt(b, SOL_IP, MCAST_BLOCK_SOURCE, &wanted, sizeof wanted));
	ERR(setsockopt(b, SOL_IP, MCAST_LEAVE_SOURCE_GROUP, &wanted, sizeof wanted));
	ERR(setsockopt(b, SOL_IP, MCAST_LEAVE_SOURCE_GROUP, &wanted, sizeof wanted));
	ERR(setsockopt(b, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &wanted, 100));
	group.imr_multiaddr.s_addr = htonl(INADDR_LOOPBACK);
	ERR(setsockopt(b, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	int stream = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(setsockopt(stream, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
}

static int family_of(int fd)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof name;
	MUST(getsockname(fd, (struct sockaddr *)&name, &length));
	char text[INET6_ADDRSTRLEN] = "";
	if (name.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&name)->sin6_addr, text, sizeof text);
	else
		inet_ntop(AF_INET, &((struct sockaddr_in *)&name)->sin_addr, text, sizeof text);
	TEXT(text);
	return name.ss_family;
}

SECTION("IPv6 sockets that speak IPv4")
{
	new_network();
	int six = MUST(socket(AF_INET6, SOCK_STREAM, 0)), four = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	ERR(bind(six, (struct sockaddr *)&any, sizeof any));
	MUST(listen(six, 1));
	MUST(connect_loopback(four, port_of(six)));
	int peer = MUST(accept(six, NULL, NULL));
	SHOW(family_of(peer));
	struct sockaddr_in taken = { .sin_family = AF_INET, .sin_port = htons(port_of(six)) };
	int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(bind(other, (struct sockaddr *)&taken, sizeof taken));
	int only = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	MUST(set_int(only, SOL_IPV6, IPV6_V6ONLY, 1));
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	ERR(connect(only, (struct sockaddr *)&mapped, sizeof mapped));
	ERR(bind(only, (struct sockaddr *)&mapped, sizeof mapped));
	int both = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	ERR(connect(both, (struct sockaddr *)&mapped, sizeof mapped));
	SHOW(family_of(both));
	struct sockaddr_in6 local = { .sin6_family = AF_INET6 };
	inet_pton(AF_INET6, "fe80::1", &local.sin6_addr);
	ERR(bind(only, (struct sockaddr *)&local, sizeof local));
	local.sin6_scope_id = 1;
	ERR(bind(only, (struct sockaddr *)&local, sizeof local));
	inet_pton(AF_INET6, "2001:db8::1", &local.sin6_addr);
	ERR(bind(only, (struct sockaddr *)&local, sizeof local));
	MUST(set_int(only, SOL_IPV6, IPV6_FREEBIND, 1));
	ERR(bind(only, (struct sockaddr *)&local, sizeof local));
}

/* One request to rtnetlink: the error that it is acknowledged with. */
static int route_request(int fd, int type, int flags, const void *body, size_t size)
{
	struct { struct nlmsghdr header; char body[200]; } message = {
		{ NLMSG_LENGTH(size), type, NLM_F_REQUEST | NLM_F_ACK | flags, 5, 0 }, "",
	};
	struct { struct nlmsghdr header; struct nlmsgerr error; char rest[400]; } answer;
	memcpy(message.body, body, size);
	MUST(send(fd, &message, message.header.nlmsg_len, 0));
	do {
		MUST(recv(fd, &answer, sizeof answer, 0));
	} while (answer.header.nlmsg_type != NLMSG_ERROR);
	return answer.error.error;
}

SECTION("rtnetlink: interfaces and addresses are made, told of and taken away")
{
	new_network();
	int fd = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), monitor = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	struct sockaddr_nl groups = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE };
	MUST(bind(monitor, (struct sockaddr *)&groups, sizeof groups));
	struct {
		struct ifinfomsg info;
		struct rtattr name; char text[8];
		struct rtattr link; struct rtattr kind; char kind_text[8];
	} veth = {
		{ .ifi_family = AF_UNSPEC },
		{ 4 + 4, IFLA_IFNAME }, "pa0",
		{ 4 + 4 + 5, IFLA_LINKINFO }, { 4 + 5, IFLA_INFO_KIND }, "veth",
	};
	veth.link.rta_len = sizeof veth.link + sizeof veth.kind + sizeof veth.kind_text;
	veth.name.rta_len = sizeof veth.name + sizeof veth.text;
	veth.kind.rta_len = sizeof veth.kind + 5;
	say("new link: %s\n", error_name(-route_request(fd, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &veth, sizeof veth)));
	say("again: %s\n", error_name(-route_request(fd, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &veth, sizeof veth)));
	SHOW(if_nametoindex("pa0") != 0);
	SHOW(if_nametoindex("veth0") != 0);
	int index = if_nametoindex("pa0");
	struct { struct ifaddrmsg info; struct rtattr a; struct in_addr address; } address = {
		{ AF_INET, 24, 0, 0, index }, { 8, IFA_LOCAL }, { htonl(0x0a090801) },
	};
	say("new address: %s\n", error_name(-route_request(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address)));
	say("again: %s\n", error_name(-route_request(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address)));
	struct ifinfomsg up = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	say("up: %s\n", error_name(-route_request(fd, RTM_NEWLINK, 0, &up, sizeof up)));
	struct { struct rtmsg info; struct rtattr d; struct in_addr to; struct rtattr g; struct in_addr gateway; } route = {
		{ AF_INET, 16, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0 },
		{ 8, RTA_DST }, { htonl(0x0a200000) }, { 8, RTA_GATEWAY }, { htonl(0x0a090802) },
	};
	say("new route: %s\n", error_name(-route_request(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route)));
	say("again: %s\n", error_name(-route_request(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route)));
	route.gateway.s_addr = htonl(0x01020304);
	say("not on a link: %s\n", error_name(-route_request(fd, RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route)));
	route.to.s_addr = htonl(0x0a200001);
	say("host bits: %s\n", error_name(-route_request(fd, RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route)));
	say("no such route: %s\n", error_name(-route_request(fd, RTM_DELROUTE, 0, &route, sizeof route)));
	say("delete address: %s\n", error_name(-route_request(fd, RTM_DELADDR, 0, &address, sizeof address)));
	say("again: %s\n", error_name(-route_request(fd, RTM_DELADDR, 0, &address, sizeof address)));
	say("delete link: %s\n", error_name(-route_request(fd, RTM_DELLINK, 0, &up, sizeof up)));
	say("again: %s\n", error_name(-route_request(fd, RTM_DELLINK, 0, &up, sizeof up)));
	SHOW(if_nametoindex("veth0"));
	say("too short: %s\n", error_name(-route_request(fd, RTM_NEWLINK, 0, &up, 4)));
	say("unknown: %s\n", error_name(-route_request(fd, 500, 0, &up, sizeof up)));
	/* Which kinds of messages came, each once. */
	int seen[200] = { 0 };
	char buffer[8192];
	for (ssize_t n; (n = recv(monitor, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;)
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, (size_t)n); m = NLMSG_NEXT(m, n))
			seen[m->nlmsg_type]++;
	for (int i = 0; i < 200; i++)
		if (seen[i] != 0)
			say("told of %d\n", i);
}

SECTION("sendfile and splice between sockets and files")
{
	new_network();
	int pair[2], pipes[2];
	connected(pair);
	int file = MUST(memfd_create("data", 0));
	MUST(write(file, big, 300000));
	off_t offset = 0;
	MUST(fcntl(pair[0], F_SETFL, O_NONBLOCK));
	SHOW(sendfile(pair[0], file, &offset, 100000) > 0);
	SHOW(offset > 0);
	long total = offset;
	while (total > 0)
		total -= MUST(recv(pair[1], big, total, 0));
	MUST(pipe(pipes));
	MUST(send(pair[0], "through a pipe", 14, 0));
	RET(splice(pair[1], NULL, pipes[1], NULL, 14, 0));
	RET(splice(pipes[0], NULL, pair[1], NULL, 14, 0));
	RET(recv(pair[0], big, 100, MSG_WAITALL | MSG_DONTWAIT));
	struct iovec parts[2] = { { "one ", 4 }, { "two", 3 } };
	RET(writev(pair[0], parts, 2));
	RET(recv(pair[1], big, 7, MSG_WAITALL));
	SHOW(memcmp(big, "one two", 7));
}

SECTION("who owns a connection: whoever made its socket, or accepted it")
{
	char line[512];
	unsigned state, uid, listening = 0, made = 0, accepted = 0;

	new_network();
	int first = listener(1);
	MUST(seteuid(12345));
	int second = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect_loopback(second, port_of(first)));
	MUST(seteuid(0));
	MUST(seteuid(23456));
	int third = MUST(accept(first, NULL, NULL));
	FILE *table = fopen("/proc/net/tcp", "r");
	while (fgets(line, sizeof line, table)) {
		int port;
		if (sscanf(line, "%*u: %*x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %u", &port, &state, &uid) != 3)
			continue;
		if (state == TCP_LISTEN)
			listening = uid;
		else if (port == port_of(second))
			made = uid;
		else if (port == port_of(third))
			accepted = uid;
	}
	fclose(table);
	SHOW(listening);
	SHOW(made);
	SHOW(accepted);
}
