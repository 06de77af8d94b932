/* UDP over the loopback interface: datagrams, control messages, errors that come back. */
#include "observe.h"
#include "inet.h"
#include <linux/errqueue.h>
#include <netinet/ip_icmp.h>

SECTION("datagrams: borders, addresses, truncation, emptiness")
{
	int a = datagram(), b = datagram();
	struct sockaddr_in to = loopback(port_of(b)), from;
	socklen_t length = sizeof from;

	HEX(revents(a, EVERYTHING));
	RET(sendto(a, "one", 3, 0, (struct sockaddr *)&to, sizeof to));
	RET(sendto(a, "", 0, 0, (struct sockaddr *)&to, sizeof to));
	RET(sendto(a, "three", 5, 0, (struct sockaddr *)&to, sizeof to));
	HEX(revents(b, EVERYTHING));
	int queued = -1;
	MUST(ioctl(b, FIONREAD, &queued));
	SHOW(queued);
	RET(recvfrom(b, big, 100, MSG_PEEK, (struct sockaddr *)&from, &length));
	SHOW(length);
	SHOW(ntohs(from.sin_port) == port_of(a));
	RET(recv(b, big, 2, MSG_TRUNC));
	RET(recv(b, big, 100, 0));
	RET(recv(b, big, 2, 0));
	ERR(recv(b, big, 2, MSG_DONTWAIT));
	ERR(send(a, "x", 1, 0));
	ERR(sendto(a, big, 65508, 0, (struct sockaddr *)&to, sizeof to));
	ERR(sendto(a, big, 70000, 0, (struct sockaddr *)&to, sizeof to));
	RET(sendto(a, big, 65507, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(b, big, sizeof big, 0));
	ERR(sendto(a, "x", 1, 0, (struct sockaddr *)&to, 4));
	to.sin_port = 0;
	ERR(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof to));
	to.sin_family = 99;
	ERR(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof to));
	to = loopback(port_of(b));
	ERR(sendto(a, "x", 1, MSG_OOB, (struct sockaddr *)&to, sizeof to));
	ERR(listen(a, 1));
	ERR(accept(a, NULL, NULL));
}

SECTION("a peer: connect, refused, another sender is not heard")
{
	int a = datagram(), b = datagram(), c = datagram();
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct sockaddr_in to = loopback(port_of(a)), name;
	socklen_t length = sizeof name;

	RET(connect_loopback(a, port_of(b)));
	MUST(getpeername(a, (struct sockaddr *)&name, &length));
	SHOW(ntohs(name.sin_port) == port_of(b));
	RET(write(a, "hi", 2));
	RET(read(b, big, 10));
	RET(sendto(c, "no", 2, 0, (struct sockaddr *)&to, sizeof to));
	RET(sendto(b, "yes", 3, 0, (struct sockaddr *)&to, sizeof to));
	RET(read(a, big, 10));
	ERR(recv(a, big, 10, MSG_DONTWAIT));
	close(b);
	RET(send(a, "x", 1, 0));
	HEX(revents_within(a, POLLIN, 1000));
	ERR(send(a, "x", 1, 0));
	HEX(revents(a, EVERYTHING));
	MUST(send(a, "x", 1, 0));
	revents_within(a, POLLIN, 1000);
	ERR(recv(a, big, 1, 0));
	RET(shutdown(a, SHUT_RD));
	RET(recv(a, big, 1, 0));
	RET(connect(a, &nobody, sizeof nobody));
	ERR(getpeername(a, (struct sockaddr *)&name, &length));
	ERR(shutdown(a, SHUT_RD));
}

SECTION("messages in bulk: sendmmsg and recvmmsg")
{
	int a = datagram(), b = datagram();
	struct mmsghdr out[3], in[5];
	struct iovec parts[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } }, places[5];
	struct timespec timeout = { 0, 50000000 };

	MUST(connect_loopback(a, port_of(b)));
	memset(out, 0, sizeof out);
	memset(in, 0, sizeof in);
	for (int i = 0; i < 3; i++) {
		out[i].msg_hdr.msg_iov = &parts[i];
		out[i].msg_hdr.msg_iovlen = 1;
	}
	for (int i = 0; i < 5; i++) {
		places[i] = (struct iovec){ big + i * 100, 100 };
		in[i].msg_hdr.msg_iov = &places[i];
		in[i].msg_hdr.msg_iovlen = 1;
	}
	RET(sendmmsg(a, out, 3, 0));
	SHOW(out[2].msg_len);
	RET(recvmmsg(b, in, 5, MSG_WAITFORONE, NULL));
	SHOW(in[0].msg_len);
	SHOW(in[2].msg_len);
	RET(sendmmsg(a, out, 2, 0));
	RET(recvmmsg(b, in, 5, MSG_DONTWAIT, &timeout));
	ERR(recvmmsg(b, in, 5, MSG_DONTWAIT, NULL));
}

/* Prints level, type and size of each control message, and of some the value. */
static void describe(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		say("level %d type %d size %d\n", c->cmsg_level, c->cmsg_type, (int)(c->cmsg_len - CMSG_LEN(0)));
		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_TTL)
			SHOW(*(int *)CMSG_DATA(c));
		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_TOS)
			SHOW(*CMSG_DATA(c));
		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO)
			HEX(ntohl(((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr.s_addr));
		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) {
			struct sock_extended_err *error = (void *)CMSG_DATA(c);
			say("errno %s origin %d type %d code %d\n", error_name(error->ee_errno), error->ee_origin, error->ee_type,
			    error->ee_code);
		}
	}
	HEX(message->msg_flags);
	SHOW(message->msg_controllen);
}

SECTION("control messages: packet information, TTL, TOS, time; too little room")
{
	int a = datagram(), b = datagram();
	char room[512];
	struct iovec iov = { big, 100 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };

	MUST(connect_loopback(a, port_of(b)));
	MUST(set_int(b, SOL_IP, IP_PKTINFO, 1));
	MUST(set_int(b, SOL_IP, IP_RECVTTL, 1));
	MUST(set_int(b, SOL_IP, IP_RECVTOS, 1));
	MUST(set_int(b, SOL_SOCKET, SO_TIMESTAMP, 1));
	MUST(set_int(a, SOL_IP, IP_TTL, 33));
	MUST(set_int(a, SOL_IP, IP_TOS, 0x20));
	MUST(send(a, "x", 1, 0));
	RET(recvmsg(b, &message, 0));
	describe(&message);
	MUST(send(a, "x", 1, 0));
	message.msg_controllen = 40;
	RET(recvmsg(b, &message, 0));
	describe(&message);
	MUST(send(a, "x", 1, 0));
	message.msg_control = NULL;
	message.msg_controllen = 0;
	RET(recvmsg(b, &message, 0));
	HEX(message.msg_flags);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_IP, IP_TTL } };
	*(int *)CMSG_DATA(&control.header) = 44;
	message = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	iov.iov_len = 1;
	RET(sendmsg(a, &message, 0));
	message.msg_control = room;
	message.msg_controllen = sizeof room;
	RET(recvmsg(b, &message, 0));
	describe(&message);
	*(int *)CMSG_DATA(&control.header) = 999;
	message.msg_control = &control;
	message.msg_controllen = sizeof control;
	ERR(sendmsg(a, &message, 0));
	control.header.cmsg_type = 77;
	ERR(sendmsg(a, &message, 0));
	control.header.cmsg_level = SOL_SOCKET;
	ERR(sendmsg(a, &message, 0));
	control.header.cmsg_type = SCM_RIGHTS;
	RET(sendmsg(a, &message, 0));
	control.header.cmsg_level = 4711;
	RET(sendmsg(a, &message, 0));
	control.header.cmsg_len = 3;
	ERR(sendmsg(a, &message, 0));
}

SECTION("the error queue: what came back of a datagram that nobody wanted")
{
	int a = datagram();
	char room[512];
	struct iovec iov = { big, 100 };
	struct sockaddr_in name;
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room,
		.msg_name = &name, .msg_namelen = sizeof name };
	int other = datagram(), port = port_of(other);

	close(other);
	MUST(set_int(a, SOL_IP, IP_RECVERR, 1));
	struct sockaddr_in to = loopback(port);
	ERR(recvmsg(a, &message, MSG_ERRQUEUE));
	RET(sendto(a, "lost", 4, 0, (struct sockaddr *)&to, sizeof to));
	HEX(revents_within(a, 0, 1000));
	message.msg_namelen = sizeof name;
	RET(recvmsg(a, &message, MSG_ERRQUEUE));
	SHOW(memcmp(big, "lost", 4));
	SHOW(message.msg_namelen);
	SHOW(ntohs(name.sin_port) == port);
	describe(&message);
	HEX(revents(a, EVERYTHING));
}

SECTION("segments: UDP_SEGMENT cuts one send into datagrams")
{
	int a = datagram(), b = datagram();

	MUST(connect_loopback(a, port_of(b)));
	ERR(set_int(a, SOL_UDP, 103, 10));
	RET(send(a, "0123456789abcdefghijklmno", 25, 0));
	RET(recv(b, big, 100, 0));
	RET(recv(b, big, 100, 0));
	RET(recv(b, big, 100, MSG_DONTWAIT));
	int c = datagram();
	MUST(connect_loopback(c, port_of(b)));
	MUST(send(c, "co", 2, MSG_MORE));
	ERR(recv(b, big, 100, MSG_DONTWAIT));
	MUST(send(c, "rk", 2, 0));
	RET(recv(b, big, 100, 0));
}

SECTION("multicast on the loopback interface: a member hears, who left does not")
{
	int a = datagram(), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct ip_mreqn group = { { inet_addr("239.1.2.3") }, { htonl(INADDR_LOOPBACK) }, 0 };
	struct sockaddr_in any = { .sin_family = AF_INET };

	MUST(bind(b, (struct sockaddr *)&any, sizeof any));
	ERR(setsockopt(b, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ERR(setsockopt(b, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ERR(setsockopt(a, SOL_IP, IP_MULTICAST_IF, &group, sizeof group));
	ERR(set_int(a, SOL_IP, IP_MULTICAST_LOOP, 1));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port_of(b)), .sin_addr = group.imr_multiaddr };
	RET(sendto(a, "all", 3, 0, (struct sockaddr *)&to, sizeof to));
	HEX(revents_within(b, POLLIN, 500));
	RET(recv(b, big, 10, MSG_DONTWAIT));
	ERR(setsockopt(b, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	ERR(setsockopt(b, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
}

SECTION("UDP_SEGMENT and UDP_GRO: what was sent as many comes as one, and with it how long each was")
{
	int a = datagram(), b = datagram();
	struct sockaddr_in to = loopback(port_of(a));
	char control[64], bytes[450] = "";
	struct iovec iov = { big, 1000 };

	ERR(set_int(b, SOL_UDP, UDP_SEGMENT, 100));
	for (int gro = 0; gro <= 1; gro++) {
		ERR(set_int(a, SOL_UDP, UDP_GRO, gro));
		RET(sendto(b, bytes, sizeof bytes, 0, (struct sockaddr *)&to, sizeof to));
		for (int i = 0; i < 5; i++) {
			struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
			struct cmsghdr *head;

			SHOW(recvmsg(a, &message, MSG_DONTWAIT));
			if ((head = CMSG_FIRSTHDR(&message)) == NULL || message.msg_controllen == 0)
				continue;
			SHOW(head->cmsg_level == SOL_UDP && head->cmsg_type == UDP_GRO);
			SHOW(*(int *)CMSG_DATA(head));
			if (gro)
				break;
		}
	}
}

SECTION("who waits for a datagram is woken; a timeout ends the waiting")
{
	int a = datagram();
	struct sockaddr_in to = loopback(port_of(a));
	struct timeval short_time = { 0, 40000 };
	pid_t child = MUST(fork());

	if (child == 0) {
		int b = datagram();
		sleep_ms(30);
		sendto(b, "late", 4, 0, (struct sockaddr *)&to, sizeof to);
		_exit(0);
	}
	RET(recv(a, big, 10, 0));
	STATUS(end_of(child));
	MUST(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof short_time));
	ERR(recv(a, big, 10, 0));
	HEX(revents_within(a, POLLIN, 20));
}

SECTION("echo requests without privilege: an ICMP socket")
{
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.sequence = 7 };
	struct sockaddr_in to = loopback(0);

	if (fd < 0) {
		say("no such socket: %s\n", error_name(errno));
		return;
	}
	RET(sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	RET(recv(fd, &echo, sizeof echo, 0));
	SHOW(echo.type);
	SHOW(echo.un.echo.sequence);
}
