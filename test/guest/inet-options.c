/* Options of internet sockets: what they are at first, what they become, what is refused. */
#include "observe.h"
#include "inet.h"

static int level;
static int fd;

/* The value as it is, after setting it to `value`, and what setting said. */
static void option(const char *name, int number, int value)
{
	int now = 0x5a5a5a5a;
	socklen_t length = sizeof now;
	int got = getsockopt(fd, level, number, &now, &length);
	say("%s: %s %d (%u)\n", name, got < 0 ? error_name(errno) : "is", now, length);
	int set = setsockopt(fd, level, number, &value, sizeof value);
	say("%s := %d: %s\n", name, value, set < 0 ? error_name(errno) : "ok");
	length = sizeof now;
	if (set == 0 && getsockopt(fd, level, number, &now, &length) == 0)
		say("%s: %d\n", name, now);
}
#define OPTION(name, value) option(#name, name, value)

static void socket_options(void)
{
	level = SOL_SOCKET;
	OPTION(SO_REUSEADDR, 5);
	OPTION(SO_REUSEPORT, 1);
	OPTION(SO_KEEPALIVE, 1);
	OPTION(SO_BROADCAST, 1);
	OPTION(SO_OOBINLINE, 1);
	OPTION(SO_DONTROUTE, 1);
	OPTION(SO_SNDBUF, 20000);
	OPTION(SO_RCVBUF, 1);
	OPTION(SO_RCVLOWAT, 7);
	OPTION(SO_RCVLOWAT, 1);
	OPTION(SO_SNDLOWAT, 7);
	OPTION(SO_PRIORITY, 6);
	OPTION(SO_TIMESTAMP, 1);
	OPTION(SO_TIMESTAMPNS, 1);
	OPTION(SO_TYPE, 1);
	OPTION(SO_ERROR, 1);
	OPTION(SO_ACCEPTCONN, 1);
	OPTION(SO_NO_CHECK, 1);
	OPTION(SO_RXQ_OVFL, 1);
	OPTION(SO_PEEK_OFF, 3);
	OPTION(SO_LOCK_FILTER, 0);
	OPTION(9999, 1);
}

SECTION("SOL_SOCKET of a stream and of datagrams")
{
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	socket_options();
	fd = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	socket_options();
}

SECTION("SO_LINGER, timeouts, credentials and lengths")
{
	struct linger linger = { 7, 7 };
	struct timeval time = { 3, 500000 };
	struct ucred cred = { 1, 1, 1 };
	socklen_t length = sizeof linger;
	char byte = 1;

	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
	SHOW(linger.l_onoff);
	SHOW(linger.l_linger);
	linger = (struct linger){ 5, 9 };
	ERR(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
	ERR(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	ERR(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
	SHOW(linger.l_onoff);
	SHOW(linger.l_linger);
	ERR(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
	length = sizeof time;
	ERR(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &length));
	SHOW(time.tv_sec);
	SHOW(time.tv_usec);
	time.tv_usec = 1000000;
	ERR(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
	length = sizeof cred;
	ERR(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length));
	SHOW(cred.pid);
	SHOW((int)cred.uid);
	ERR(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &byte, 1));
	ERR(setsockopt(fd, SOL_TCP, TCP_NODELAY, &byte, 1));
	ERR(setsockopt(fd, SOL_IP, IP_TTL, &byte, 1));
	ERR(setsockopt(fd, SOL_IP, IP_TTL, &byte, 0));
	ERR(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
	ERR(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &time, -1));
	length = 1;
	byte = 9;
	ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, &byte, &length));
	SHOW(byte);
	SHOW(length);
	length = 100;
	ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, big, &length));
	SHOW(length);
	length = -1;
	ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, big, &length));
	ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, big, (void *)8));
	length = 4;
	ERR(getsockopt(fd, 4711, 1, big, &length));
	ERR(setsockopt(fd, 4711, 1, big, 4));
}

SECTION("SOL_TCP")
{
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	level = SOL_TCP;
	OPTION(TCP_NODELAY, 3);
	OPTION(TCP_CORK, 1);
	OPTION(TCP_CORK, 0);
	OPTION(TCP_KEEPIDLE, 30);
	OPTION(TCP_KEEPIDLE, 0);
	OPTION(TCP_KEEPINTVL, 5);
	OPTION(TCP_KEEPCNT, 4);
	OPTION(TCP_SYNCNT, 2);
	OPTION(TCP_LINGER2, 10);
	OPTION(TCP_DEFER_ACCEPT, 3);
	OPTION(TCP_USER_TIMEOUT, 1234);
	OPTION(TCP_QUICKACK, 0);
	OPTION(TCP_MAXSEG, 1000);
	OPTION(TCP_NOTSENT_LOWAT, 4096);
	OPTION(TCP_FASTOPEN_CONNECT, 1);
	OPTION(TCP_ULP, 1);
	OPTION(999, 1);
	char name[16] = "";
	socklen_t length = sizeof name;
	ERR(setsockopt(fd, SOL_TCP, TCP_CONGESTION, "reno", 4));
	ERR(getsockopt(fd, SOL_TCP, TCP_CONGESTION, name, &length));
	TEXT(name);
	ERR(setsockopt(fd, SOL_TCP, TCP_CONGESTION, "nonesuch", 8));
	struct tcp_info info;
	length = sizeof info;
	ERR(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length));
	SHOW(info.tcpi_state);
	int pair[2];
	connected(pair);
	length = sizeof info;
	ERR(getsockopt(pair[0], SOL_TCP, TCP_INFO, &info, &length));
	SHOW(info.tcpi_state);
	MUST(set_int(pair[1], SOL_TCP, TCP_NODELAY, 1));
	int server = listener(1), client = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(set_int(server, SOL_TCP, TCP_NODELAY, 1));
	MUST(set_int(server, SOL_SOCKET, SO_KEEPALIVE, 1));
	MUST(connect_loopback(client, port_of(server)));
	int heir = MUST(accept(server, NULL, NULL));
	SHOW(int_option(heir, SOL_TCP, TCP_NODELAY));
	SHOW(int_option(heir, SOL_SOCKET, SO_KEEPALIVE));
}

SECTION("SOL_IP")
{
	fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	level = SOL_IP;
	OPTION(IP_TTL, 77);
	OPTION(IP_TTL, 300);
	OPTION(IP_TOS, 0x10);
	OPTION(IP_MTU_DISCOVER, 2);
	OPTION(IP_RECVERR, 1);
	OPTION(IP_PKTINFO, 1);
	OPTION(IP_RECVTTL, 1);
	OPTION(IP_RECVTOS, 1);
	OPTION(IP_MULTICAST_TTL, 5);
	OPTION(IP_MULTICAST_LOOP, 0);
	OPTION(IP_MULTICAST_ALL, 0);
	OPTION(IP_FREEBIND, 1);
	OPTION(IP_MINTTL, 5);
	OPTION(IP_BIND_ADDRESS_NO_PORT, 1);
	OPTION(IP_HDRINCL, 1);
	OPTION(IP_MTU, 1000);
	OPTION(999, 1);
	MUST(connect_loopback(fd, 9));
	SHOW(int_option(fd, SOL_IP, IP_MTU));
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	OPTION(IP_PKTINFO, 1);
	OPTION(IP_TTL, 9);
}

SECTION("SOL_IPV6 and SOL_UDP")
{
	fd = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	level = SOL_IPV6;
	OPTION(IPV6_V6ONLY, 1);
	OPTION(IPV6_UNICAST_HOPS, 9);
	OPTION(IPV6_UNICAST_HOPS, -1);
	OPTION(IPV6_MULTICAST_HOPS, 3);
	OPTION(IPV6_MULTICAST_LOOP, 0);
	OPTION(IPV6_RECVPKTINFO, 1);
	OPTION(IPV6_RECVHOPLIMIT, 1);
	OPTION(IPV6_RECVTCLASS, 1);
	OPTION(IPV6_TCLASS, 4);
	OPTION(IPV6_MTU_DISCOVER, 1);
	OPTION(IPV6_RECVERR, 1);
	OPTION(IPV6_DONTFRAG, 1);
	OPTION(IPV6_AUTOFLOWLABEL, 1);
	OPTION(999, 1);
	level = SOL_IP;
	OPTION(IP_TTL, 5);
	level = SOL_UDP;
	OPTION(UDP_CORK, 1);
	OPTION(UDP_CORK, 0);
	OPTION(UDP_GRO, 1);
	OPTION(UDP_SEGMENT, 100);
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	OPTION(UDP_CORK, 1);
	level = SOL_IPV6;
	OPTION(IPV6_V6ONLY, 1);
}

/* What a stream tells of itself as control messages. */
static void show_packet_options(socklen_t room)
{
	unsigned char bytes[128] = { 0 };
	socklen_t length = room;

	ERR(getsockopt(fd, SOL_IP, IP_PKTOPTIONS, bytes, &length));
	printf("  %u bytes:", length);
	for (socklen_t i = 0; i < length; i++)
		printf(" %02x", bytes[i]);
	printf("\n");
}

SECTION("IP_PKTOPTIONS")
{
	struct sockaddr_in any = { AF_INET };
	socklen_t length = sizeof any;
	int server = MUST(socket(AF_INET, SOCK_STREAM, 0));

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(bind(server, (void *)&any, sizeof any));
	MUST(listen(server, 1));
	MUST(getsockname(server, (void *)&any, &length));
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	level = SOL_IP;
	show_packet_options(128);
	OPTION(IP_PKTINFO, 1);
	OPTION(IP_RECVTTL, 1);
	OPTION(IP_RECVTOS, 1);
	show_packet_options(128);
	MUST(connect(fd, (void *)&any, sizeof any));
	show_packet_options(128);
	show_packet_options(70);
	show_packet_options(54);
	show_packet_options(40);
	show_packet_options(20);
	show_packet_options(10);
	show_packet_options(0);
	fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	show_packet_options(128);
}

/* Compared as a user without capabilities, as that is what every guest is to the host's network. */
SECTION("what takes a capability over the network")
{
	if (geteuid() == 0)
		MUST(setuid(65534));
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	level = SOL_SOCKET;
	OPTION(SO_MARK, 1);
	OPTION(SO_SNDBUFFORCE, 100000);
	OPTION(SO_PRIORITY, 7);
	OPTION(SO_DEBUG, 1);
	OPTION(SO_BUSY_POLL, 1);
	level = SOL_IP;
	OPTION(IP_TRANSPARENT, 1);
	level = SOL_TCP;
	OPTION(TCP_REPAIR, 1);
	ERR(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	ERR(socket(AF_INET6, SOCK_RAW, IPPROTO_TCP));
}
