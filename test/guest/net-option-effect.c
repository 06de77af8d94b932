/* What options do that few programs set: the sender's pidfd, filters of multicast sources, what is told of a packet. */
#include "observe.h"
#include "inet.h"
#include <linux/filter.h>
#include <net/if.h>
#include <sched.h>
#include <sys/xattr.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#define SO_RCVPRIORITY_ 82
#define SO_PASSRIGHTS_ 83
#define SO_INQ_ 84
#define SCM_PIDFD_ 4

static void new_network(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	need_root();
	MUST(unshare(CLONE_NEWNET));
	int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	MUST(ioctl(fd, SIOCSIFFLAGS, &request));
	close(fd);
}

/* Receives and shows what comes along. */
static void receive(int fd)
{
	char data[64], control[512];
	struct iovec iov = { data, sizeof data };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);

	say("recvmsg: %s, flags %#x\n", got < 0 ? error_name(errno) : "ok", message.msg_flags);
	for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); got >= 0 && each; each = CMSG_NXTHDR(&message, each)) {
		int number;

		memcpy(&number, CMSG_DATA(each), sizeof number);
		say("  level %d type %d of %zu bytes\n", each->cmsg_level, each->cmsg_type, (size_t)each->cmsg_len);
		if (each->cmsg_type == SCM_PIDFD_) {
			char path[64];
			sprintf(path, "/proc/self/fdinfo/%d", number);
			SHOW(strstr(read_file(path), "Pid:") != NULL);
			HEX(fcntl(number, F_GETFD));
			close(number);
		} else if (each->cmsg_type == SO_MARK || each->cmsg_type == SO_PRIORITY || each->cmsg_type == SO_INQ_) {
			SHOW(number);
		}
	}
}

SECTION("SO_PASSPIDFD and SO_PEERPIDFD")
{
	int pair[2], pidfd;
	socklen_t length = sizeof pidfd;

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	ERR(set_int(pair[1], SOL_SOCKET, SO_PASSPIDFD, 1));
	ERR(send(pair[0], "x", 1, 0));
	receive(pair[1]);
	ERR(set_int(pair[1], SOL_SOCKET, SO_PASSCRED, 1));
	ERR(send(pair[0], "x", 1, 0));
	receive(pair[1]);
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length));
	HEX(fcntl(pidfd, F_GETFD));
	ERR(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ERR(set_int(pair[1], SOL_SOCKET, SO_PASSPIDFD, 1));
	ERR(send(pair[0], "x", 1, 0));
	receive(pair[1]);
}

SECTION("SO_PASSRIGHTS, SO_INQ, stamps and filters of unix sockets")
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { LENGTH(nothing), nothing };
	int pair[2];

	*rights = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memset(CMSG_DATA(rights), 0, sizeof(int));
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		MUST(socketpair(AF_UNIX, type, 0, pair));
		ERR(set_int(pair[1], SOL_SOCKET, SO_PASSRIGHTS_, 0));
		ERR(sendmsg(pair[0], &message, 0));
		ERR(set_int(pair[1], SOL_SOCKET, SO_PASSRIGHTS_, 1));
		ERR(sendmsg(pair[0], &message, 0));
	}
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ERR(set_int(pair[1], SOL_SOCKET, SO_INQ_, 1));
	RET(send(pair[0], big, 100, 0));
	receive(pair[1]);
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	ERR(set_int(pair[1], SOL_SOCKET, SO_TIMESTAMP, 1));
	RET(send(pair[0], "x", 1, 0));
	receive(pair[1]);
	ERR(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	RET(send(pair[0], "x", 1, 0));
	receive(pair[1]);
}

SECTION("SO_RCVMARK and SO_RCVPRIORITY")
{
	new_network();
	int receiver = datagram(), sender = datagram();
	struct sockaddr_in to = loopback(port_of(receiver));

	ERR(set_int(receiver, SOL_SOCKET, SO_RCVMARK, 1));
	ERR(set_int(receiver, SOL_SOCKET, SO_RCVPRIORITY_, 1));
	ERR(set_int(sender, SOL_SOCKET, SO_MARK, 77));
	ERR(set_int(sender, SOL_SOCKET, SO_PRIORITY, 5));
	RET(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, sizeof to));
	receive(receiver);
}

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_storage to = { .ss_family = AF_INET };

	inet_pton(AF_INET, text, &((struct sockaddr_in *)&to)->sin_addr);
	return to;
}

static void show_filter(int fd, const char *group, unsigned room)
{
	char buffer[GROUP_FILTER_SIZE(4)] = { 0 };
	struct group_filter *filter = (void *)buffer;
	socklen_t length = GROUP_FILTER_SIZE(room);

	filter->gf_interface = 1;
	filter->gf_group = address_of(group);
	filter->gf_numsrc = room;
	int got = getsockopt(fd, SOL_IP, MCAST_MSFILTER, filter, &length);
	say("filter: %s", got < 0 ? error_name(errno) : "ok");
	if (got == 0) {
		say(", mode %u, %u sources, %u bytes\n", filter->gf_fmode, filter->gf_numsrc, length);
		for (unsigned i = 0; i < room && i < filter->gf_numsrc; i++)
			TEXT(inet_ntoa(((struct sockaddr_in *)&filter->gf_slist[i])->sin_addr));
	} else {
		say("\n");
	}
}

SECTION("MCAST_MSFILTER and IP_MSFILTER: the sources of a group at once")
{
	char buffer[GROUP_FILTER_SIZE(2)] = { 0 };
	struct group_filter *filter = (void *)buffer;
	char old[IP_MSFILTER_SIZE(2)] = { 0 };
	struct ip_msfilter *ip = (void *)old;
	struct group_req join = { .gr_interface = 1, .gr_group = address_of("239.1.2.3") };

	new_network();
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	show_filter(fd, "239.1.2.3", 2);
	filter->gf_interface = 1;
	filter->gf_group = join.gr_group;
	filter->gf_fmode = MCAST_INCLUDE;
	filter->gf_numsrc = 2;
	filter->gf_slist[0] = address_of("10.0.0.1");
	filter->gf_slist[1] = address_of("10.0.0.2");
	ERR(setsockopt(fd, SOL_IP, MCAST_MSFILTER, filter, GROUP_FILTER_SIZE(2)));
	ERR(setsockopt(fd, SOL_IP, MCAST_JOIN_GROUP, &join, sizeof join));
	show_filter(fd, "239.1.2.3", 2);
	ERR(setsockopt(fd, SOL_IP, MCAST_MSFILTER, filter, GROUP_FILTER_SIZE(1)));
	ERR(setsockopt(fd, SOL_IP, MCAST_MSFILTER, filter, GROUP_FILTER_SIZE(2)));
	show_filter(fd, "239.1.2.3", 2);
	show_filter(fd, "239.1.2.3", 1);
	show_filter(fd, "10.1.2.3", 1);
	filter->gf_fmode = 7;
	ERR(setsockopt(fd, SOL_IP, MCAST_MSFILTER, filter, GROUP_FILTER_SIZE(2)));
	inet_pton(AF_INET, "239.1.2.3", &ip->imsf_multiaddr);
	inet_pton(AF_INET, "127.0.0.1", &ip->imsf_interface);
	inet_pton(AF_INET, "10.0.0.9", &ip->imsf_slist[0]);
	ip->imsf_fmode = MCAST_EXCLUDE;
	ip->imsf_numsrc = 1;
	ERR(setsockopt(fd, SOL_IP, IP_MSFILTER, ip, IP_MSFILTER_SIZE(1)));
	show_filter(fd, "239.1.2.3", 2);
	ip->imsf_numsrc = 1000;
	ERR(setsockopt(fd, SOL_IP, IP_MSFILTER, ip, IP_MSFILTER_SIZE(1)));
	/* None at all is the end of it. */
	ip->imsf_fmode = MCAST_INCLUDE;
	ip->imsf_numsrc = 0;
	ERR(setsockopt(fd, SOL_IP, IP_MSFILTER, ip, IP_MSFILTER_SIZE(0)));
	show_filter(fd, "239.1.2.3", 2);
}

SECTION("TCP_RTO_MAX_MS, TCP_RTO_MIN_US and TCP_DELACK_MAX_US")
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));

	ERR(set_int(fd, SOL_TCP, 44, 999));
	ERR(set_int(fd, SOL_TCP, 44, 5000));
	RET(int_option(fd, SOL_TCP, 44));
	ERR(set_int(fd, SOL_TCP, 45, 200001));
	ERR(set_int(fd, SOL_TCP, 45, 40000));
	RET(int_option(fd, SOL_TCP, 45));
	ERR(set_int(fd, SOL_TCP, 46, 20000));
	RET(int_option(fd, SOL_TCP, 46));
}

SECTION("the name of a socket's protocol is an extended attribute of its own")
{
	static const int kinds[][3] = {
		{ AF_UNIX, SOCK_STREAM, 0 }, { AF_UNIX, SOCK_DGRAM, 0 }, { AF_UNIX, SOCK_SEQPACKET, 0 },
		{ AF_INET, SOCK_STREAM, 0 }, { AF_INET, SOCK_DGRAM, 0 }, { AF_INET, SOCK_RAW, IPPROTO_UDP },
		{ AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE }, { AF_INET6, SOCK_STREAM, 0 }, { AF_INET6, SOCK_DGRAM, 0 },
		{ AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 }, { AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE },
		{ AF_NETLINK, SOCK_RAW, 0 }, { AF_PACKET, SOCK_DGRAM, 0 },
	};

	need_root();
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		char name[64] = "", list[64] = "";
		int fd = MUST(socket(kinds[i][0], kinds[i][1], kinds[i][2]));

		RET(fgetxattr(fd, "system.sockprotoname", name, sizeof name));
		TEXT(name);
		RET(fgetxattr(fd, "system.sockprotoname", name, 2));
		RET(flistxattr(fd, list, sizeof list));
		TEXT(list);
		ERR(fsetxattr(fd, "system.sockprotoname", "x", 1, 0));
		ERR(fremovexattr(fd, "system.sockprotoname"));
		RET(fgetxattr(fd, "user.name", name, sizeof name));
		close(fd);
	}
}
