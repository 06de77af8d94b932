/* /dev/net/tun: interfaces whose cable ends in a program. As root, in new network namespaces. */
#include "observe.h"
#include <arpa/inet.h>
#include <grp.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>

static struct ifreq request_for(const char *name)
{
	struct ifreq request = { 0 };
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	return request;
}

/* A namespace of our own, where no packets of IPv6 come in between: a socket in it. */
static int new_network(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNET));
	int setting = MUST(open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY));
	MUST(write(setting, "1", 1));
	close(setting);
	return MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

static int open_tun(void)
{
	return MUST(open("/dev/net/tun", O_RDWR | O_NONBLOCK));
}

static int attach(int fd, const char *name, int flags)
{
	struct ifreq request = request_for(name);
	request.ifr_flags = flags;
	return ioctl(fd, TUNSETIFF, &request);
}

static void bring_up(int socket_fd, const char *name, const char *address)
{
	struct ifreq request = request_for(name);
	struct sockaddr_in *in = (void *)&request.ifr_addr;
	in->sin_family = AF_INET;
	inet_pton(AF_INET, address, &in->sin_addr);
	MUST(ioctl(socket_fd, SIOCSIFADDR, &request));
	inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
	MUST(ioctl(socket_fd, SIOCSIFNETMASK, &request));
	request.ifr_flags = IFF_UP;
	MUST(ioctl(socket_fd, SIOCSIFFLAGS, &request));
}

static unsigned short sum_of(const void *data, size_t length)
{
	const unsigned char *bytes = data;
	unsigned long sum = 0;
	for (size_t i = 0; i < length; i += 2)
		sum += bytes[i] << 8 | (i + 1 < length ? bytes[i + 1] : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

/* An echo request of 8 bytes from 10.9.0.2 to 10.9.0.1: its length. */
static size_t echo_request(unsigned char *packet)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP, .id = htons(7) };
	struct icmphdr icmp = { .type = ICMP_ECHO };
	icmp.un.echo.id = htons(1);
	icmp.un.echo.sequence = htons(2);
	ip.tot_len = htons(sizeof ip + sizeof icmp + 8);
	ip.saddr = inet_addr("10.9.0.2");
	ip.daddr = inet_addr("10.9.0.1");
	ip.check = sum_of(&ip, sizeof ip);
	memcpy(packet, &ip, sizeof ip);
	memcpy(packet + sizeof ip, &icmp, sizeof icmp);
	memcpy(packet + sizeof ip + sizeof icmp, "payload!", 8);
	((struct icmphdr *)(packet + sizeof ip))->checksum = sum_of(packet + sizeof ip, sizeof icmp + 8);
	return sizeof ip + sizeof icmp + 8;
}

static void show_ip(const unsigned char *packet, ssize_t length)
{
	const struct iphdr *ip = (const void *)packet;
	char from[16], to[16];
	if (length < (ssize_t)sizeof *ip) {
		say("  %zd bytes\n", length);
		return;
	}
	inet_ntop(AF_INET, &ip->saddr, from, sizeof from);
	inet_ntop(AF_INET, &ip->daddr, to, sizeof to);
	say("  %zd bytes, protocol %d, %s > %s, length %d, checksum %s", length, ip->protocol, from, to, ntohs(ip->tot_len),
	    sum_of(ip, sizeof *ip) == 0 ? "right" : "wrong");
	if (ip->protocol == IPPROTO_ICMP)
		say(", type %d", packet[sizeof *ip]);
	say("\n");
}

static void show_poll(int fd)
{
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT, 0 };
	poll(&poll_fd, 1, 0);
	say("poll: %#x\n", poll_fd.revents);
}

SECTION("tun: before it has an interface")
{
	new_network();
	int fd = open_tun(), number = 0;
	char byte = 0;
	struct ifreq request = { 0 };

	ERR(read(fd, &byte, 1));
	ERR(write(fd, &byte, 1));
	show_poll(fd);
	ERR(ioctl(fd, TUNGETIFF, &request));
	ERR(ioctl(fd, TUNSETPERSIST, 1));
	ERR(ioctl(fd, TUNGETFEATURES, &number));
	HEX(number);
	ERR(ioctl(fd, TUNGETFEATURES, NULL));
	ERR(ioctl(fd, TUNSETIFF, NULL));
	ERR(ioctl(fd, TUNSETQUEUE, &request));
	ERR(attach(fd, "", 0));
	ERR(attach(fd, "", IFF_NO_PI));
	ERR(attach(fd, "a/b", IFF_TUN));
	ERR(attach(fd, "lo", IFF_TUN));
	number = -5;
	ERR(ioctl(fd, TUNSETIFINDEX, &number));
	number = 77;
	ERR(ioctl(fd, TUNSETIFINDEX, &number));
	ERR(attach(fd, "", IFF_TAP | IFF_NAPI_FRAGS));
	ERR(attach(fd, "here", IFF_TUN));
	say("index %d\n", if_nametoindex("here"));
	ERR(ioctl(fd, TUNSETIFINDEX, &number));
}

SECTION("tun: names and who is attached")
{
	new_network();
	int one = open_tun(), two = open_tun();
	struct ifreq request = { 0 };

	request.ifr_flags = IFF_TUN | IFF_NO_PI;
	ERR(ioctl(one, TUNSETIFF, &request));
	TEXT(request.ifr_name);
	ERR(attach(one, "other", IFF_TUN));
	ERR(attach(two, "tun0", IFF_TUN | IFF_NO_PI));
	ERR(attach(two, "tun0", IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL));
	ERR(attach(two, "tun0", IFF_TAP | IFF_NO_PI));
	ERR(attach(two, "tun0", IFF_TUN | IFF_MULTI_QUEUE));
	ERR(attach(two, "my%d", IFF_TAP | IFF_VNET_HDR));
	memset(&request, 0, sizeof request);
	ERR(ioctl(two, TUNGETIFF, &request));
	TEXT(request.ifr_name);
	HEX(request.ifr_flags);
	ERR(ioctl(one, TUNGETIFF, &request));
	HEX(request.ifr_flags);
	close(one);
	SHOW(if_nametoindex("tun0"));
	ERR(attach(two, "again", IFF_TUN));
	close(two);
	SHOW(if_nametoindex("my0"));
}

SECTION("tun: interfaces as ioctl(2) shows them")
{
	int socket_fd = new_network();
	static const int modes[] = { IFF_TUN, IFF_TAP };
	for (int i = 0; i < 2; i++) {
		int fd = open_tun();
		MUST(attach(fd, "dev", modes[i]));
		struct ifreq request = request_for("dev");
		ERR(ioctl(socket_fd, SIOCGIFFLAGS, &request));
		HEX(request.ifr_flags);
		ERR(ioctl(socket_fd, SIOCGIFMTU, &request));
		SHOW(request.ifr_mtu);
		ERR(ioctl(socket_fd, SIOCGIFTXQLEN, &request));
		SHOW(request.ifr_qlen);
		ERR(ioctl(socket_fd, SIOCGIFHWADDR, &request));
		HEX(request.ifr_hwaddr.sa_family);
		say("address %s\n", request.ifr_hwaddr.sa_data[0] & 2 ? "local" : "none");
		request.ifr_mtu = 65522;
		ERR(ioctl(socket_fd, SIOCSIFMTU, &request));
		request.ifr_mtu = 67;
		ERR(ioctl(socket_fd, SIOCSIFMTU, &request));
		request = request_for("dev");
		ERR(ioctl(fd, SIOCGIFHWADDR, &request));
		HEX(request.ifr_hwaddr.sa_family);
		ERR(ioctl(fd, TUNSETLINK, ARPHRD_ETHER));
		close(fd);
	}
}

SECTION("tun: the stack answers what a program writes")
{
	int socket_fd = new_network();
	int fd = open_tun();
	unsigned char packet[256];

	MUST(attach(fd, "tun0", IFF_TUN | IFF_NO_PI));
	size_t length = echo_request(packet);
	ERR(write(fd, packet, length));
	show_poll(fd);
	bring_up(socket_fd, "tun0", "10.9.0.1");
	show_poll(fd);
	RET(read(fd, packet, sizeof packet));
	RET(write(fd, packet, length));
	show_poll(fd);
	show_ip(packet, read(fd, packet, sizeof packet));
	packet[0] = 0x55;
	ERR(write(fd, packet, length));
	ERR(write(fd, packet, 0));
	length = echo_request(packet);
	RET(write(fd, packet, length));
	RET(read(fd, packet, 10));
	RET(read(fd, packet, sizeof packet));
}

SECTION("tun: with packet information")
{
	int socket_fd = new_network();
	int fd = open_tun();
	unsigned char packet[256] = { 0 };

	MUST(attach(fd, "tun0", IFF_TUN));
	bring_up(socket_fd, "tun0", "10.9.0.1");
	size_t length = echo_request(packet + 4);
	packet[2] = 8;
	RET(write(fd, packet, length + 4));
	RET(read(fd, packet, sizeof packet));
	say("information %02x%02x %02x%02x\n", packet[0], packet[1], packet[2], packet[3]);
	show_ip(packet + 4, 32);
	ERR(write(fd, packet, 3));
	echo_request(packet + 4);
	packet[2] = 8;
	RET(write(fd, packet, length + 4));
	RET(read(fd, packet, 20));
	say("information %02x%02x %02x%02x\n", packet[0], packet[1], packet[2], packet[3]);
	echo_request(packet + 4);
	memset(packet, 0, 4);
	packet[2] = 8;
	RET(write(fd, packet, length + 4));
	RET(read(fd, packet, 3));
	RET(read(fd, packet, 3));
}

SECTION("tun: what the stack sends comes to the program")
{
	int socket_fd = new_network();
	int fd = open_tun();
	unsigned char packet[256];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	MUST(attach(fd, "tun0", IFF_TUN | IFF_NO_PI));
	bring_up(socket_fd, "tun0", "10.9.0.1");
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	RET(sendto(socket_fd, "one", 3, 0, (void *)&to, sizeof to));
	RET(sendto(socket_fd, "two", 3, 0, (void *)&to, sizeof to));
	show_ip(packet, read(fd, packet, sizeof packet));
	show_ip(packet, read(fd, packet, sizeof packet));
	RET(read(fd, packet, sizeof packet));
	fcntl(fd, F_SETFL, 0);
	pid_t child = fork();
	if (child == 0) {
		usleep(1000);
		sendto(socket_fd, "three", 5, 0, (void *)&to, sizeof to);
		_exit(0);
	}
	show_ip(packet, read(fd, packet, sizeof packet));
	waitpid(child, NULL, 0);
}

SECTION("tun: a process pings another one")
{
	int socket_fd = new_network();
	int fd = open_tun();
	unsigned char packet[256];

	MUST(attach(fd, "tun0", IFF_TUN | IFF_NO_PI));
	bring_up(socket_fd, "tun0", "10.9.0.1");
	fcntl(fd, F_SETFL, 0);
	pid_t child = fork();
	if (child == 0) {
		/* The far end: turns requests into replies. */
		for (int i = 0; i < 3; i++) {
			ssize_t got = read(fd, packet, sizeof packet);
			struct iphdr *ip = (void *)packet;
			struct icmphdr *icmp = (void *)(packet + sizeof *ip);
			in_addr_t from = ip->saddr;
			ip->saddr = ip->daddr;
			ip->daddr = from;
			icmp->type = ICMP_ECHOREPLY;
			icmp->checksum = 0;
			icmp->checksum = sum_of(icmp, got - sizeof *ip);
			write(fd, packet, got);
		}
		_exit(0);
	}
	int raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	struct sockaddr_in to = { .sin_family = AF_INET };
	to.sin_addr.s_addr = inet_addr("10.9.0.77");
	for (int i = 0; i < 3; i++) {
		struct icmphdr icmp = { .type = ICMP_ECHO };
		icmp.un.echo.sequence = htons(i);
		icmp.checksum = sum_of(&icmp, sizeof icmp);
		RET(sendto(raw, &icmp, sizeof icmp, 0, (void *)&to, sizeof to));
		show_ip(packet, recv(raw, packet, sizeof packet, 0));
	}
	waitpid(child, NULL, 0);
}

SECTION("tap: frames, and the stack asks for its neighbour")
{
	int socket_fd = new_network();
	int fd = open_tun();
	unsigned char frame[256];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	MUST(attach(fd, "tap0", IFF_TAP | IFF_NO_PI));
	bring_up(socket_fd, "tap0", "10.9.0.1");
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	RET(sendto(socket_fd, "one", 3, 0, (void *)&to, sizeof to));
	RET(read(fd, frame, sizeof frame));
	struct ifreq request = request_for("tap0");
	MUST(ioctl(socket_fd, SIOCGIFHWADDR, &request));
	say("to all: %d, from us: %d, protocol %02x%02x, operation %d\n", frame[0] == 0xff,
	    memcmp(frame + 6, request.ifr_hwaddr.sa_data, 6) == 0, frame[12], frame[13], frame[21]);
	static const unsigned char mac[6] = { 2, 1, 2, 3, 4, 5 };
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, mac, 6);
	frame[21] = 2;
	memcpy(frame + 32, frame + 22, 10);
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, &to.sin_addr, 4);
	RET(write(fd, frame, 42));
	ssize_t got = read(fd, frame, sizeof frame);
	say("to the neighbour: %d\n", memcmp(frame, mac, 6) == 0);
	show_ip(frame + 14, got - 14);
	ERR(write(fd, frame, 13));
	memcpy(request.ifr_hwaddr.sa_data, "\2\1\1\1\1\1", 6);
	ERR(ioctl(fd, SIOCSIFHWADDR, &request));
	memset(&request.ifr_hwaddr.sa_data, 0, 6);
	ERR(ioctl(fd, SIOCGIFHWADDR, &request));
	say("%d\n", request.ifr_hwaddr.sa_data[1]);
}

SECTION("tun: with the header of virtio-net")
{
	int socket_fd = new_network();
	int fd = open_tun(), number = 0;
	unsigned char packet[256] = { 0 };
	struct virtio_net_hdr *header = (void *)packet;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	MUST(attach(fd, "tun0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR));
	ERR(ioctl(fd, TUNGETVNETHDRSZ, &number));
	SHOW(number);
	number = 9;
	ERR(ioctl(fd, TUNSETVNETHDRSZ, &number));
	bring_up(socket_fd, "tun0", "10.9.0.1");
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	ERR(ioctl(fd, TUNSETOFFLOAD, TUN_F_TSO4));
	ERR(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO_ECN));
	ERR(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | 0x20));
	ERR(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | 0x80));
	RET(sendto(socket_fd, "whole", 5, 0, (void *)&to, sizeof to));
	RET(read(fd, packet, sizeof packet));
	say("flags %d, type %d\n", header->flags, header->gso_type);
	ERR(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN));
	RET(sendto(socket_fd, "begun", 5, 0, (void *)&to, sizeof to));
	RET(read(fd, packet, sizeof packet));
	say("flags %d, type %d, start %d, offset %d\n", header->flags, header->gso_type, header->csum_start,
	    header->csum_offset);
	show_ip(packet + 10, 33);

	/* A datagram whose checksum is ours to complete. */
	int receiver = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(5000) };
	MUST(bind(receiver, (void *)&here, sizeof here));
	memset(packet, 0, sizeof packet);
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
	struct udphdr udp = { .source = htons(1), .dest = htons(5000), .len = htons(12) };
	ip.tot_len = htons(32);
	ip.saddr = inet_addr("10.9.0.2");
	ip.daddr = inet_addr("10.9.0.1");
	ip.check = sum_of(&ip, sizeof ip);
	udp.check = htons(0x1234);
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = 20;
	header->csum_offset = 6;
	memcpy(packet + 10, &ip, 20);
	memcpy(packet + 30, &udp, 8);
	memcpy(packet + 38, "data", 4);
	RET(write(fd, packet, 42));
	RET(recv(receiver, packet + 100, 20, MSG_DONTWAIT));
	header->csum_start = 200;
	ERR(write(fd, packet, 42));
	header->csum_start = 20;
	header->gso_type = 77;
	ERR(write(fd, packet, 42));
	ERR(write(fd, packet, 9));
	number = 12;
	ERR(ioctl(fd, TUNSETVNETHDRSZ, &number));
	RET(sendto(socket_fd, "longer", 6, 0, (void *)&to, sizeof to));
	RET(read(fd, packet, sizeof packet));
	RET(sendto(socket_fd, "longer", 6, 0, (void *)&to, sizeof to));
	RET(read(fd, packet, 11));
}

SECTION("tun: persistent interfaces and their owner")
{
	new_network();
	int fd = open_tun();
	struct ifreq request = { 0 };

	MUST(attach(fd, "stays", IFF_TUN | IFF_NO_PI));
	ERR(ioctl(fd, TUNSETPERSIST, 1));
	ERR(ioctl(fd, TUNSETOWNER, 1000));
	ERR(ioctl(fd, TUNSETOWNER, -1));
	ERR(ioctl(fd, TUNSETGROUP, 1000));
	ERR(ioctl(fd, TUNGETIFF, &request));
	HEX(request.ifr_flags);
	close(fd);
	say("%s\n", if_nametoindex("stays") ? "there" : "gone");
	static const int ids[][2] = { { 1000, 1000 }, { 1000, 1001 }, { 1001, 1000 } };
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();
		if (child == 0) {
			int mine = MUST(open("/dev/net/tun", O_RDWR));
			MUST(setgroups(0, NULL));
			MUST(setresgid(ids[i][1], ids[i][1], ids[i][1]));
			MUST(setresuid(ids[i][0], ids[i][0], ids[i][0]));
			ERR(attach(mine, "new", IFF_TUN));
			ERR(attach(mine, "stays", IFF_TUN | IFF_NO_PI));
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	fd = open_tun();
	MUST(attach(fd, "stays", IFF_TUN));
	ERR(ioctl(fd, TUNSETPERSIST, 0));
	close(fd);
	say("%s\n", if_nametoindex("stays") ? "there" : "gone");
}

SECTION("tun: several queues")
{
	int socket_fd = new_network();
	int one = open_tun(), two = open_tun(), three = open_tun();
	struct ifreq request = { 0 };
	char byte;

	MUST(attach(one, "many", IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE));
	ERR(attach(two, "many", IFF_TUN | IFF_NO_PI));
	ERR(attach(two, "many", IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE));
	bring_up(socket_fd, "many", "10.9.0.1");
	request.ifr_flags = IFF_DETACH_QUEUE;
	ERR(ioctl(two, TUNSETQUEUE, &request));
	ERR(ioctl(two, TUNSETQUEUE, &request));
	ERR(ioctl(two, TUNGETIFF, &request));
	HEX(request.ifr_flags);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	RET(sendto(socket_fd, "one", 3, 0, (void *)&to, sizeof to));
	RET(read(one, &byte, 1));
	request.ifr_flags = IFF_ATTACH_QUEUE;
	ERR(ioctl(two, TUNSETQUEUE, &request));
	ERR(ioctl(two, TUNSETQUEUE, &request));
	ERR(ioctl(three, TUNSETQUEUE, &request));
	request.ifr_flags = 0;
	ERR(ioctl(two, TUNSETQUEUE, &request));
	close(one);
	say("%s\n", if_nametoindex("many") ? "there" : "gone");
	RET(sendto(socket_fd, "two", 3, 0, (void *)&to, sizeof to));
	RET(read(two, &byte, 1));
	close(two);
	say("%s\n", if_nametoindex("many") ? "there" : "gone");
}

SECTION("tun: nobody makes an interface, but in a namespace of their own")
{
	need_root();
	int before = open_tun();
	pid_t nobody = fork();
	if (nobody == 0) {
		MUST(setresgid(65534, 65534, 65534));
		MUST(setresuid(65534, 65534, 65534));
		ERR(attach(before, "mine", IFF_TUN));
		fflush(stdout);
		_exit(0);
	}
	waitpid(nobody, NULL, 0);
	pid_t child = fork();
	if (child == 0) {
		int fd = open_tun();
		MUST(unshare(CLONE_NEWUSER | CLONE_NEWNET));
		ERR(attach(fd, "mine", IFF_TUN));
		fd = open_tun();
		ERR(attach(fd, "mine", IFF_TUN));
		SHOW(if_nametoindex("mine") != 0);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}
