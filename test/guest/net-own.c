/* A network that can be changed: namespaces, interfaces, raw and packet sockets, multicast, IPv6. As root, in new namespaces. */
#include "observe.h"
#include "inet.h"
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/net_namespace.h>
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

SECTION("which IPv6 groups an interface listens to")
{
	new_network();
	int fd = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	struct ipv6_mreq group = { .ipv6mr_interface = 1 };
	inet_pton(AF_INET6, "ff02::1:2", &group.ipv6mr_multiaddr);
	ERR(setsockopt(fd, SOL_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	inet_pton(AF_INET6, "ff01::1:2", &group.ipv6mr_multiaddr);
	ERR(setsockopt(fd, SOL_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	int file = MUST(open("/proc/thread-self/net/igmp6", O_RDONLY));
	ssize_t length = MUST(read(file, big, sizeof big - 1));
	big[length] = 0;
	/* The last column is a timer's. */
	for (char *line = strtok((char *)big, "\n"); line != NULL; line = strtok(NULL, "\n"))
		say("%.67s\n", line);
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

/* RTM_NEWNSID or RTM_GETNSID with an attribute or two; what was answered: its number, or -1000 less the error. */
static int ns_request(int fd, int type, int first, int value, int second, int other)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg family;
		char pad[3];
		struct { struct rtattr head; int value; } attributes[2];
	} message = {
		{ 0, type, NLM_F_REQUEST | (type == RTM_NEWNSID ? NLM_F_ACK : 0), 5, 0 }, { AF_UNSPEC }, "",
		{ { { 8, first }, value }, { { 8, second }, other } },
	};
	struct { struct nlmsghdr header; union { struct nlmsgerr error; struct { char family[4]; struct rtattr a; int id; } ns; }; char rest[400]; } answer;

	message.header.nlmsg_len = second ? sizeof message : first ? sizeof message - 8 : sizeof message - 16;
	MUST(send(fd, &message, message.header.nlmsg_len, 0));
	MUST(recv(fd, &answer, sizeof answer, 0));
	return answer.header.nlmsg_type == NLMSG_ERROR ? -1000 + answer.error.error : answer.ns.id;
}

static int other_network(void)
{
	int own = MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));

	MUST(unshare(CLONE_NEWNET));
	int other = MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	MUST(setns(own, CLONE_NEWNET));
	close(own);
	return other;
}

SECTION("rtnetlink: numbers of other namespaces")
{
	new_network();
	int fd = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), monitor = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	int first = other_network(), second = other_network(), file = MUST(memfd_create("none", MFD_CLOEXEC)), group = RTNLGRP_NSID;
	struct { struct nlmsghdr header; char family[4]; struct rtattr a; int id; } told;

	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	/* Who has no port is told of nothing. */
	int deaf = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	MUST(setsockopt(deaf, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	MUST(bind(monitor, (struct sockaddr *)&any, sizeof any));
	MUST(setsockopt(monitor, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_FD, first, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_PID, getpid(), 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_NSID, 5, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_FD, file, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_FD, 9999, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_PID, 4000000, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, 0, 0, 0, 0));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_FD, first, 0, 0));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, 5, 0, 0));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, 5, NETNSA_FD, file));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, 5, NETNSA_FD, first));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, 6, NETNSA_FD, first));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, 5, NETNSA_FD, second));
	RET(ns_request(fd, RTM_NEWNSID, NETNSA_NSID, -1, NETNSA_FD, second));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_FD, first, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_FD, second, 0, 0));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_NSID, 5, 0, 0));
	/* With the last who holds it a namespace ends, and its number. */
	close(first);
	for (int i = 0; i < 3; i++) {
		MUST(recv(monitor, &told, sizeof told, 0));
		SHOW(told.header.nlmsg_type);
		SHOW(told.id);
	}
	RET(recv(deaf, &told, sizeof told, MSG_DONTWAIT));
	RET(ns_request(fd, RTM_GETNSID, NETNSA_NSID, 5, 0, 0));
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

/* Both ends of a connection whose one end has written all that there is room for, and is to linger for so long. */
static void connected_and_full(int pair[2], int seconds)
{
	struct linger linger = { 1, seconds };

	connected(pair);
	MUST(fcntl(pair[0], F_SETFL, O_NONBLOCK));
	while (write(pair[0], big, sizeof big) > 0)
		;
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

static int seconds_of_close(int fd)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	ERR(close(fd));
	clock_gettime(CLOCK_MONOTONIC, &end);
	return end.tv_sec - start.tv_sec + (end.tv_nsec < start.tv_nsec ? -1 : 0);
}

SECTION("close with SO_LINGER waits until all is delivered, for as long as it may")
{
	int pair[2];

	new_network();
	connected_and_full(pair, 1);
	SHOW(seconds_of_close(pair[0]) >= 1);
	ERR(close(pair[0]));
	/* A peer who reads on. */
	connected_and_full(pair, 1000);
	pid_t child = MUST(fork());
	if (child == 0) {
		close(pair[0]);
		while (read(pair[1], big, sizeof big) > 0)
			;
		close(pair[1]);
		pause();
		_exit(0);
	}
	SHOW(seconds_of_close(pair[0]) < 900);
	kill(child, SIGKILL);
	STATUS(end_of(child));
	/* The other descriptor of it has the connection still. */
	connected_and_full(pair, 1000);
	int other = MUST(dup(pair[0]));
	SHOW(seconds_of_close(pair[0]) < 900);
	/* A signal ends the wait, not the closing. */
	handle(SIGALRM, ignore, 0);
	struct itimerval soon = { .it_value.tv_usec = 300000 };
	MUST(setitimer(ITIMER_REAL, &soon, NULL));
	SHOW(seconds_of_close(other) < 900);
	ERR(close(other));
}

/* What goes over the loopback may arrive a moment after the send. */
static void await_frame(const char *frame)
{
	while (((const volatile struct tpacket2_hdr *)frame)->tp_status == TP_STATUS_KERNEL)
		sched_yield();
}

static void show_frame(const char *frame)
{
	const struct tpacket2_hdr *header = (const void *)frame;
	const struct sockaddr_ll *from = (const void *)(frame + TPACKET_ALIGN(sizeof *header));
	/* Whether checksums are left out differs from kernel to kernel. */
	HEX(header->tp_status & ~(TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID));
	say("%u of %u, link at %u, network at %u, after %d\n", header->tp_snaplen, header->tp_len, header->tp_mac, header->tp_net,
	    header->tp_sec > 1700000000);
	say("%d %x %d %d %d %d\n", from->sll_family, from->sll_protocol, from->sll_ifindex, from->sll_hatype, from->sll_pkttype,
	    from->sll_halen);
	if (header->tp_snaplen >= 48)
		say("%.6s\n", frame + header->tp_mac + 42);
}

SECTION("a packet socket's ring")
{
	int fd = new_network();
	int ring = MUST(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)));
	int value = TPACKET_V2;
	socklen_t length = sizeof value;
	ERR(getsockopt(ring, SOL_PACKET, PACKET_HDRLEN, &value, &length));
	SHOW(value);
	value = 77;
	ERR(getsockopt(ring, SOL_PACKET, PACKET_HDRLEN, &value, &length));
	length = 2;
	ERR(getsockopt(ring, SOL_PACKET, PACKET_HDRLEN, &value, &length));
	ERR(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ring, 0) == MAP_FAILED ? -1 : 0);
	value = 77;
	ERR(setsockopt(ring, SOL_PACKET, PACKET_VERSION, &value, sizeof value));
	value = TPACKET_V2;
	ERR(setsockopt(ring, SOL_PACKET, PACKET_VERSION, &value, sizeof value));
	value = 4;
	ERR(setsockopt(ring, SOL_PACKET, PACKET_RESERVE, &value, sizeof value));
	static const struct tpacket_req bad[] = {
		{ 4096, 2, 2048, 3 }, { 4095, 2, 2048, 4 }, { 0, 2, 2048, 4 }, { 4096, 2, 2047, 4 }, { 4096, 2, 48, 4 },
		{ 4096, 2, 8192, 4 }, { 4096, 0, 2048, 4 }, { -4096u, 2, 2048, 4 },
	};
	for (size_t i = 0; i < LENGTH(bad); i++)
		ERR(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &bad[i], sizeof bad[i]));
	struct tpacket_req request = { 4096, 1, 128, 32 };
	ERR(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &request, sizeof request - 1));
	ERR(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	ERR(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	ERR(setsockopt(ring, SOL_PACKET, PACKET_VERSION, &value, sizeof value));
	ERR(mmap(NULL, 8192, PROT_READ, MAP_SHARED, ring, 0) == MAP_FAILED ? -1 : 0);
	ERR(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ring, 4096) == MAP_FAILED ? -1 : 0);
	char *frames = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	ERR(frames == MAP_FAILED ? -1 : 0);
	HEX(revents(ring, POLLIN));
	/* More than there are frames for. */
	struct sockaddr_in to = loopback(9);
	int receiver = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind(receiver, (struct sockaddr *)&to, sizeof to));
	for (int i = 0; i < 40; i++) {
		char text[8];
		snprintf(text, sizeof text, "test%02d", i);
		MUST(sendto(fd, text, i == 1 ? 100 : 6, 0, (struct sockaddr *)&to, sizeof to));
	}
	HEX(revents(ring, POLLIN));
	for (int i = 0; i < 3; i++)
		show_frame(frames + 128 * i);
	/* Until somebody asks how many, frames say that some were lost. */
	((volatile struct tpacket2_hdr *)frames)->tp_status = TP_STATUS_KERNEL;
	MUST(sendto(fd, "losing", 6, 0, (struct sockaddr *)&to, sizeof to));
	await_frame(frames);
	show_frame(frames);
	struct tpacket_stats stats;
	length = sizeof stats;
	ERR(getsockopt(ring, SOL_PACKET, PACKET_STATISTICS, &stats, &length));
	say("%u, lost %u\n", stats.tp_packets, stats.tp_drops);
	ERR(recv(ring, big, sizeof big, MSG_DONTWAIT));
	((volatile struct tpacket2_hdr *)(frames + 256))->tp_status = TP_STATUS_KERNEL;
	((volatile struct tpacket2_hdr *)(frames + 128))->tp_status = TP_STATUS_KERNEL;
	MUST(sendto(fd, "again.", 6, 0, (struct sockaddr *)&to, sizeof to));
	await_frame(frames + 128);
	for (int i = 0; i < 3; i++)
		show_frame(frames + 128 * i);
	for (int i = 0; i < 32; i++)
		((volatile struct tpacket2_hdr *)(frames + 128 * i))->tp_status = TP_STATUS_KERNEL;
	HEX(revents(ring, POLLIN));
	ERR(munmap(frames, 4096));
	request = (struct tpacket_req){ 0 };
	ERR(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
}

/* Reads notices until all sends from `next` to `last` are told of. They come together or one by one. */
static void told_of_copies(int fd, unsigned next, unsigned last)
{

	while (next <= last) {
		char control[256];
		struct msghdr message = { .msg_control = control, .msg_controllen = sizeof control };
		revents_within(fd, 0, 10000);
		if (recvmsg(fd, &message, MSG_ERRQUEUE) < 0) {
			ERR(-1);
			return;
		}
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		struct sock_extended_err *notice = (void *)CMSG_DATA(head);
		if (notice->ee_info != next)
			say("notices out of order: %u\n", notice->ee_info);
		next = notice->ee_data + 1;
		if (next > last)
			say("%d %d: %d %d %d %d, flags %x, name %d\n", head->cmsg_level, head->cmsg_type, notice->ee_errno, notice->ee_origin,
			    notice->ee_type, notice->ee_code, message.msg_flags & ~MSG_CTRUNC, message.msg_namelen);
	}
	SHOW(next);
	ERR(recvmsg(fd, &(struct msghdr){ 0 }, MSG_ERRQUEUE));
}

SECTION("MSG_ZEROCOPY: a notice when the bytes may be used again")
{
	int pair[2], on = 1, value;
	socklen_t length = sizeof value;

	new_network();
	connected(pair);
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &value, &length));
	SHOW(value);
	/* Not switched on: as if it had not been asked for. */
	RET(send(pair[0], "x", 1, MSG_ZEROCOPY));
	ERR(recvmsg(pair[0], &(struct msghdr){ 0 }, MSG_ERRQUEUE));
	value = 2;
	ERR(setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &value, sizeof value));
	ERR(setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &value, &length));
	SHOW(value);
	RET(send(pair[0], "first", 5, MSG_ZEROCOPY));
	RET(send(pair[0], "", 0, MSG_ZEROCOPY));
	RET(send(pair[0], "plain", 5, 0));
	RET(send(pair[0], big, 20000, MSG_ZEROCOPY));
	RET(recv(pair[1], big, 20011, MSG_WAITALL));
	told_of_copies(pair[0], 0, 1);
	/* One that waits for room is one send. */
	pid_t child = MUST(fork());
	if (child == 0) {
		recv(pair[1], big, sizeof big, MSG_WAITALL);
		_exit(0);
	}
	RET(send(pair[0], big, sizeof big, MSG_ZEROCOPY));
	STATUS(end_of(child));
	told_of_copies(pair[0], 2, 2);
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		int fd = MUST(socket(family, SOCK_DGRAM, 0));
		struct sockaddr_in in = loopback(0);
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
		struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
		socklen_t size = family == AF_INET ? sizeof in : sizeof in6;
		MUST(bind(fd, address, size));
		MUST(getsockname(fd, address, &size));
		MUST(connect(fd, address, size));
		ERR(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
		for (int i = 0; i < 3; i++)
			RET(send(fd, "datagram", 8, MSG_ZEROCOPY));
		for (int i = 0; i < 3; i++)
			RET(recv(fd, big, sizeof big, 0));
		told_of_copies(fd, 0, 2);
	}
	int raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
	ERR(setsockopt(raw, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
}

static int lite(int family, struct sockaddr_in *address)
{
	socklen_t length = sizeof *address;
	int fd = MUST(socket(family, SOCK_DGRAM, IPPROTO_UDPLITE));
	*address = loopback(0);
	MUST(bind(fd, (struct sockaddr *)address, length));
	MUST(getsockname(fd, (struct sockaddr *)address, &length));
	return fd;
}

static void set_coverage(int fd, int name, int value)
{
	int got = -1;
	socklen_t length = sizeof got;
	ERR(setsockopt(fd, IPPROTO_UDPLITE, name, &value, sizeof value));
	ERR(getsockopt(fd, IPPROTO_UDPLITE, name, &got, &length));
	SHOW(got);
}

SECTION("UDP-Lite: checksums cover as much as the sender says, and receivers ask for")
{
	enum { SEND = 10, RECEIVE = 11 };
	struct sockaddr_in from, to, plain;
	int value = 8, raw;

	new_network();
	int sender = lite(AF_INET, &from), receiver = lite(AF_INET, &to);
	int udp = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(setsockopt(udp, IPPROTO_UDP, SEND, &value, sizeof value));
	plain = loopback(ntohs(to.sin_port));
	/* Ports are UDP-Lite's own. */
	ERR(bind(udp, (struct sockaddr *)&plain, sizeof plain));
	raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_UDPLITE));
	static const int coverages[] = { 0, 1, 8, 10, 12, 100, 70000 };
	for (size_t i = 0; i < LENGTH(coverages); i++) {
		unsigned char packet[64];
		if (i > 0)
			set_coverage(sender, SEND, coverages[i]);
		RET(sendto(sender, "data", 4, 0, (struct sockaddr *)&to, sizeof to));
		RET(recv(receiver, big, sizeof big, MSG_DONTWAIT));
		RET(recv(raw, packet, sizeof packet, MSG_DONTWAIT));
		say("covers %d\n", packet[24] << 8 | packet[25]);
	}
	set_coverage(sender, SEND, 10);
	static const int wanted[] = { 0, 8, 10, 11, 12 };
	for (size_t i = 0; i < LENGTH(wanted); i++) {
		set_coverage(receiver, RECEIVE, wanted[i]);
		RET(sendto(sender, "data", 4, 0, (struct sockaddr *)&to, sizeof to));
		RET(recv(receiver, big, sizeof big, MSG_DONTWAIT));
	}
	set_coverage(receiver, RECEIVE, 8);
	/* What comes from a raw socket: coverages that can't be, wrong sums, damage where nobody looks. */
	struct { unsigned short from, to, coverage, sum; char data[4]; } datagram;
	static const struct { int coverage, damage; const char *data; } made[] = {
		{ 12, 0, "good" }, { 12, 1, "bad." }, { 8, 0, "part" }, { 7, 0, "less" }, { 13, 0, "more" }, { 0, 0, "all." },
	};
	for (size_t i = 0; i < LENGTH(made); i++) {
		unsigned sum = 0x7f00 + 1 + 0x7f00 + 1 + IPPROTO_UDPLITE + 12;
		int covered = made[i].coverage == 0 || made[i].coverage > 12 ? 12 : made[i].coverage;
		memset(&datagram, 0, sizeof datagram);
		datagram.from = from.sin_port;
		datagram.to = to.sin_port;
		datagram.coverage = htons(made[i].coverage);
		memcpy(datagram.data, made[i].data, 4);
		for (int at = 0; at + 1 < covered; at += 2)
			sum += ntohs(*(unsigned short *)((char *)&datagram + at));
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		datagram.sum = htons(~sum ^ made[i].damage);
		MUST(sendto(raw, &datagram, sizeof datagram, 0, (struct sockaddr *)&to, sizeof to));
		int got = recv(receiver, big, sizeof big, MSG_DONTWAIT);
		say("%s: %d\n", made[i].data, got);
	}
	int six = MUST(socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE));
	SHOW(six >= 0);
	ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDPLITE) < 0 ? -1 : 0);
	char *argv[] = { "sh", "-c", "grep -c '' /proc/net/udplite /proc/net/udplite6", NULL };
	pid_t child = MUST(fork());
	if (child == 0) {
		dup2(2, 1);
		execv("/bin/sh", argv);
		_exit(1);
	}
	end_of(child);
}

static void try_option(int fd, int level, const char *name, int number)
{
	static const int values[] = { 0, 1, -1 };
	int now = 0x5a5a5a5a;
	socklen_t length = sizeof now;

	say("%s:", name);
	if (getsockopt(fd, level, number, &now, &length) < 0)
		say(" %s", error_name(errno));
	else
		say(" %d (%u)", length == 0 ? 0 : now, length);
	for (size_t i = 0; i < LENGTH(values); i++) {
		if (setsockopt(fd, level, number, &values[i], sizeof values[i]) < 0) {
			say(", %s", error_name(errno));
			continue;
		}
		length = sizeof now;
		if (getsockopt(fd, level, number, &now, &length) < 0)
			say(", %s", error_name(errno));
		else
			say(", %d", now);
	}
	say("; %s", setsockopt(fd, level, number, &values[0], 0) < 0 ? error_name(errno) : "ok");
	say(", %s\n", setsockopt(fd, level, number, &values[0], 1) < 0 ? error_name(errno) : "ok");
}
#define TRY(level, name) try_option(fd, level, #name, name)

SECTION("options that few programs ask for")
{
	static const struct { int family, type, protocol; } kinds[] = {
		{ AF_INET, SOCK_STREAM, 0 }, { AF_INET6, SOCK_STREAM, 0 }, { AF_INET, SOCK_DGRAM, 0 }, { AF_INET6, SOCK_DGRAM, 0 },
		{ AF_INET, SOCK_RAW, IPPROTO_UDP }, { AF_INET6, SOCK_RAW, IPPROTO_UDP },
	};
	new_network();
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		int fd = MUST(socket(kinds[i].family, kinds[i].type, kinds[i].protocol));
		say("family %d, type %d\n", kinds[i].family, kinds[i].type);
		TRY(SOL_SOCKET, SO_PASSCRED);
		TRY(SOL_SOCKET, SO_PASSSEC);
		TRY(SOL_SOCKET, SO_PEERNAME);
		TRY(SOL_SOCKET, SO_PEERGROUPS);
		TRY(SOL_SOCKET, SO_BPF_EXTENSIONS);
		TRY(SOL_SOCKET, SO_INCOMING_CPU);
		TRY(SOL_SOCKET, SO_CNX_ADVICE);
		TRY(SOL_SOCKET, SO_BUSY_POLL);
		TRY(SOL_SOCKET, SO_PREFER_BUSY_POLL);
		TRY(SOL_SOCKET, SO_BUSY_POLL_BUDGET);
		TRY(SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF);
		TRY(SOL_SOCKET, SO_DETACH_REUSEPORT_BPF);
		TRY(SOL_SOCKET, SO_TXTIME);
		TRY(SOL_SOCKET, SO_PEEK_OFF);
		TRY(SOL_SOCKET, SO_REUSEPORT);
		TRY(SOL_SOCKET, SO_MAX_PACING_RATE);
		TRY(SOL_SOCKET, SO_TIMESTAMPING);
		TRY(SOL_SOCKET, SO_SELECT_ERR_QUEUE);
		TRY(SOL_SOCKET, SO_COOKIE);
		TRY(SOL_SOCKET, SO_NETNS_COOKIE);
		TRY(SOL_SOCKET, SO_BUF_LOCK);
		TRY(SOL_SOCKET, SO_RESERVE_MEM);
		TRY(IPPROTO_IP, IP_RECVORIGDSTADDR);
		TRY(IPPROTO_IP, IP_NODEFRAG);
		TRY(IPPROTO_IP, IP_UNICAST_IF);
		TRY(IPPROTO_IP, IP_CHECKSUM);
		TRY(IPPROTO_IP, IP_PASSSEC);
		TRY(IPPROTO_IP, IP_RECVFRAGSIZE);
		TRY(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
		TRY(IPPROTO_IP, IP_FREEBIND);
		TRY(IPPROTO_IP, IP_ADD_MEMBERSHIP);
		TRY(IPPROTO_IP, IP_BLOCK_SOURCE);
		TRY(IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP);
		TRY(IPPROTO_IP, IP_MSFILTER);
		TRY(IPPROTO_IP, MCAST_JOIN_GROUP);
		TRY(IPPROTO_IP, MCAST_MSFILTER);
		TRY(IPPROTO_IP, IP_OPTIONS);
		if (kinds[i].family == AF_INET6) {
			TRY(IPPROTO_IPV6, IPV6_PKTINFO);
			TRY(IPPROTO_IPV6, IPV6_MTU);
			TRY(IPPROTO_IPV6, IPV6_PATHMTU);
			TRY(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP);
			TRY(IPPROTO_IPV6, MCAST_JOIN_GROUP);
			TRY(IPPROTO_IPV6, IPV6_MULTICAST_ALL);
			TRY(IPPROTO_IPV6, IPV6_HOPOPTS);
			TRY(IPPROTO_IPV6, IPV6_RTHDR);
			TRY(IPPROTO_IPV6, IPV6_DSTOPTS);
			TRY(IPPROTO_IPV6, IPV6_DONTFRAG);
			TRY(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL);
			TRY(IPPROTO_IPV6, IPV6_FREEBIND);
			TRY(IPPROTO_IPV6, IPV6_RECVFRAGSIZE);
			TRY(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES);
			TRY(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR);
		}
		if (kinds[i].type == SOCK_STREAM) {
			TRY(IPPROTO_TCP, TCP_WINDOW_CLAMP);
			TRY(IPPROTO_TCP, TCP_SAVE_SYN);
			TRY(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS);
			TRY(IPPROTO_TCP, TCP_INQ);
			TRY(IPPROTO_TCP, TCP_QUICKACK);
			TRY(IPPROTO_TCP, TCP_FASTOPEN);
			TRY(IPPROTO_TCP, TCP_FASTOPEN_CONNECT);
			TRY(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE);
		} else if (kinds[i].type == SOCK_DGRAM) {
			TRY(IPPROTO_UDP, UDP_ENCAP);
			TRY(IPPROTO_UDP, UDP_CORK);
		}
	}
}

SECTION("settings: a string ends at a byte that is 0, a number does not")
{
	new_network();
	const char *path = "/proc/sys/net/ipv4/tcp_congestion_control";
	int control = MUST(open(path, O_WRONLY)), ttl = MUST(open("/proc/sys/net/ipv4/ip_default_ttl", O_WRONLY));
	RET(pwrite(control, "reno", 5, 0));
	TEXT(read_file(path));
	RET(pwrite(control, "reno\n", 6, 0));
	RET(pwrite(control, "", 1, 0));
	RET(pwrite(control, "ren\0o", 5, 0));
	TEXT(read_file(path));
	RET(pwrite(ttl, "65", 3, 0));
	RET(pwrite(ttl, "66", 2, 0));
}
