/*
 * Packets of all protocols with right and wrong fields, over the loopback, raw sockets and a TUN device, to a host that listens,
 * has connections and filters them.
 */
#include "fuzz.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int tun, raw4, raw6, link_socket, listeners[4], connected[8];
static struct sockaddr_ll loopback = { .sll_family = AF_PACKET, .sll_halen = 6 };

static void rules(void)
{
	/* Where there is no nft(8) the packets go unfiltered. */
	system("nft 'table inet f { chain i { type filter hook input priority 0; ct state invalid counter drop; tcp dport 90 reject; udp dport 91 queue; ip option rr exists drop; "
	       "tcp option sack-perm exists counter; log; }; chain o { type filter hook output priority 0; meta l4proto icmp limit rate 5/second; }; "
	       "chain n { type nat hook prerouting priority -100; tcp dport 92 redirect to :93; }; chain f { type filter hook forward priority 0; reject; } }' >/dev/null 2>&1");
	system("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 >/dev/null 2>&1");
}

static void begin(uint64_t *state)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct sockaddr_in address = { AF_INET, htons(93), { htonl(INADDR_LOOPBACK) }, { 0 } };
	int control;

	unshare(CLONE_NEWNET);
	control = socket(AF_INET, SOCK_DGRAM, 0);
	strcpy(request.ifr_name, "lo");
	ioctl(control, SIOCGIFFLAGS, &request);
	request.ifr_flags |= IFF_UP;
	ioctl(control, SIOCSIFFLAGS, &request);
	loopback.sll_ifindex = if_nametoindex("lo");
	tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	strcpy(request.ifr_name, "tun0");
	request.ifr_flags = IFF_TUN | IFF_NO_PI | (one_in(state, 3) ? IFF_VNET_HDR : 0);
	ioctl(tun, TUNSETIFF, &request);
	system("ip addr add 10.9.0.1/24 dev tun0; ip -6 addr add fd00::1/64 dev tun0; ip link set tun0 up");
	/* It takes a good part of a process's life. */
	if (one_in(state, 4))
		rules();
	raw4 = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
	raw6 = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
	link_socket = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(3));
	for (size_t i = 0; i < LENGTH(listeners); i++) {
		listeners[i] = socket(i % 2 ? AF_INET6 : AF_INET, (i < 2 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
		if (i % 2) {
			struct sockaddr_in6 any = { AF_INET6, htons(94), 0, IN6ADDR_ANY_INIT, 0 };

			bind(listeners[i], (struct sockaddr *)&any, sizeof any);
		} else {
			bind(listeners[i], (struct sockaddr *)&address, sizeof address);
		}
		listen(listeners[i], 8);
	}
	for (size_t i = 0; i < LENGTH(connected); i++) {
		struct sockaddr_in own = { AF_INET, htons(100 + i), { htonl(INADDR_LOOPBACK) }, { 0 } };

		connected[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		bind(connected[i], (struct sockaddr *)&own, sizeof own);
		connect(connected[i], (struct sockaddr *)&address, sizeof address);
	}
}

static uint32_t sum(const void *bytes, size_t length, uint32_t total)
{
	const unsigned char *at = bytes;

	for (size_t i = 0; i < length; i++)
		total += i % 2 ? at[i] : at[i] << 8;
	return total;
}

static uint16_t folded(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return htons(~total);
}

/* The payload of a protocol: how long. `at` is where its checksum goes; NULL: it has none. */
static size_t transport(uint64_t *state, unsigned char *bytes, uint8_t *protocol, uint16_t **at)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IGMP, IPPROTO_GRE, IPPROTO_ESP, IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_IPIP };
	size_t data = one_in(state, 10) ? below(state, 1400) : below(state, 60);

	*protocol = one_in(state, 20) ? next(state) : protocols[below(state, LENGTH(protocols))];
	scramble(state, bytes, 64 + data);
	*at = NULL;
	switch (*protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = (void *)bytes;
		size_t options = below(state, 11) * 4;

		tcp->source = htons(one_in(state, 2) ? 100 + below(state, 8) : 92 + below(state, 4));
		tcp->dest = htons(90 + below(state, 16));
		tcp->seq = one_in(state, 2) ? htonl((uint32_t)number(state)) : (uint32_t)next(state);
		tcp->doff = one_in(state, 12) ? below(state, 16) : 5 + options / 4;
		bytes[13] = one_in(state, 3) ? 2 : one_in(state, 2) ? 16 : next(state);
		for (size_t i = 20; i < 20 + options;) {
			static const unsigned char lengths[] = { 1, 1, 4, 3, 2, 10, 0, 0, 10, 2, 18, 34, 8 };
			unsigned char kind = one_in(state, 10) ? next(state) : below(state, LENGTH(lengths));

			bytes[i] = kind;
			if (kind < 2) {
				i++;
				continue;
			}
			bytes[i + 1] = one_in(state, 6) || kind >= LENGTH(lengths) ? below(state, 40) : lengths[kind];
			i += bytes[i + 1] > 1 ? bytes[i + 1] : 2;
		}
		tcp->check = 0;
		*at = &tcp->check;
		return 20 + options + data;
	}
	case IPPROTO_UDP: {
		struct udphdr *udp = (void *)bytes;

		udp->source = htons(93);
		udp->dest = htons(90 + below(state, 6));
		udp->len = htons(one_in(state, 8) ? (uint16_t)number(state) : 8 + data);
		udp->check = 0;
		*at = &udp->check;
		return 8 + data;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		bytes[0] = *protocol == IPPROTO_ICMP ? below(state, 20) : one_in(state, 2) ? 128 + below(state, 26) : 1 + below(state, 5);
		bytes[1] = below(state, 16);
		/* An answer to something that we have said, perhaps; or options of neighbour discovery. */
		for (size_t i = 24; *protocol == IPPROTO_ICMPV6 && i < 56; i += 8) {
			bytes[i] = below(state, 8);
			bytes[i + 1] = one_in(state, 5) ? below(state, 5) : 1;
		}
		if (*protocol == IPPROTO_ICMP && one_in(state, 2)) {
			bytes[8] = 0x45;
			bytes[17] = IPPROTO_TCP;
			memcpy(bytes + 20, "\x7f\0\0\1\x7f\0\0\1", 8);
		}
		memset(bytes + 2, 0, 2);
		*at = (uint16_t *)(bytes + 2);
		return 8 + (data > 48 ? data : 48);
	default:
		return 8 + data;
	}
}

static size_t packet4(uint64_t *state, unsigned char *bytes)
{
	struct iphdr *ip = (void *)bytes;
	size_t options = one_in(state, 4) ? below(state, 11) * 4 : 0, length;
	uint16_t *check;
	uint8_t protocol;
	uint32_t pseudo;

	scramble(state, bytes, 20 + options);
	length = transport(state, bytes + 20 + options, &protocol, &check);
	for (size_t i = 20; i < 20 + options; i += 4) {
		static const unsigned char kinds[] = { 1, 7, 68, 131, 137, 130, 148, 134 };

		bytes[i] = kinds[below(state, LENGTH(kinds))];
		bytes[i + 1] = one_in(state, 3) ? below(state, 45) : 20 + options - i;
		bytes[i + 2] = below(state, 12);
	}
	*ip = (struct iphdr){ .version = one_in(state, 50) ? below(state, 16) : 4, .ihl = one_in(state, 30) ? below(state, 16) : 5 + options / 4, .tot_len = htons(one_in(state, 12) ? (uint16_t)number(state) : 20 + options + length),
			      .id = below(state, 3), .frag_off = htons(one_in(state, 5) ? below(state, 8) << 13 | below(state, 20) : 0), .ttl = one_in(state, 8) ? below(state, 3) : 64, .protocol = protocol };
	ip->saddr = htonl(one_in(state, 2) ? INADDR_LOOPBACK : one_in(state, 2) ? 0x0a090002 : (uint32_t)number(state));
	ip->daddr = htonl(one_in(state, 2) ? INADDR_LOOPBACK : one_in(state, 2) ? 0x0a090001 : one_in(state, 2) ? 0xe0000001 : (uint32_t)number(state));
	pseudo = sum(&ip->saddr, 8, protocol + length);
	if (check && !one_in(state, 20))
		*check = folded(sum(bytes + 20 + options, length, protocol == IPPROTO_ICMP ? 0 : pseudo));
	ip->check = 0;
	ip->check = folded(sum(bytes, (ip->ihl < 5 ? 5 : ip->ihl) * 4, 0));
	return 20 + options + length;
}

static size_t packet6(uint64_t *state, unsigned char *bytes)
{
	struct ip6_hdr *ip = (void *)bytes;
	unsigned char *at = bytes + sizeof *ip, *following = &ip->ip6_nxt;
	struct in6_addr places[4] = { IN6ADDR_LOOPBACK_INIT };
	size_t length;
	uint16_t *check;
	uint8_t protocol;

	inet_pton(AF_INET6, "fd00::1", &places[1]);
	inet_pton(AF_INET6, "fd00::2", &places[2]);
	inet_pton(AF_INET6, "ff02::1", &places[3]);
	scramble(state, bytes, 400);
	for (uint64_t i = one_in(state, 2) ? below(state, 5) : 0; i > 0; i--) {
		static const unsigned char kinds[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT, IPPROTO_DSTOPTS, IPPROTO_AH };

		*following = kinds[below(state, LENGTH(kinds))];
		at[1] = one_in(state, 6) ? below(state, 40) : 0;
		at[2] = one_in(state, 3) ? below(state, 8) : 1;
		at[3] = one_in(state, 3) ? below(state, 10) : 4;
		following = at;
		at += 8;
	}
	length = transport(state, at, &protocol, &check);
	*following = protocol;
	ip->ip6_flow = htonl(6u << 28 | (uint32_t)below(state, 1 << 20));
	ip->ip6_plen = htons(one_in(state, 12) ? (uint16_t)number(state) : at + length - bytes - sizeof *ip);
	ip->ip6_hlim = one_in(state, 2) ? 255 : below(state, 3);
	ip->ip6_src = places[below(state, 4)];
	ip->ip6_dst = places[below(state, 4)];
	if (check && !one_in(state, 20))
		*check = folded(sum(at, length, sum(&ip->ip6_src, 32, protocol + length)));
	return at + length - bytes;
}

static void send_packet(uint64_t *state)
{
	static unsigned char frame[8192];
	unsigned char *packet = frame + 64;
	int is6 = one_in(state, 2);
	size_t length = is6 ? packet6(state, packet) : packet4(state, packet);
	struct sockaddr_in to4 = { AF_INET, 0, { htonl(INADDR_LOOPBACK) }, { 0 } };
	struct sockaddr_in6 to6 = { AF_INET6, 0, 0, IN6ADDR_LOOPBACK_INIT, 0 };

	if (one_in(state, 20))
		mutate(state, packet, length);
	if (one_in(state, 20))
		length = below(state, length + 1);
	switch (below(state, 4)) {
	case 0:
		write(tun, packet, length);
		break;
	case 1: {
		/* With the header of IFF_VNET_HDR. */
		unsigned char *header = packet - 10;

		scramble(state, header, 10);
		if (one_in(state, 2))
			memset(header, 0, 10);
		write(tun, header, length + 10);
		break;
	}
	case 2: {
		unsigned char *ethernet = packet - 14;

		memset(ethernet, 0, 12);
		ethernet[12] = is6 ? 0x86 : 0x08;
		ethernet[13] = is6 ? 0xdd : one_in(state, 8) ? 6 : 0;
		if (one_in(state, 20))
			scramble(state, ethernet + 12, 2);
		sendto(link_socket, ethernet, length + 14, 0, (struct sockaddr *)&loopback, sizeof loopback);
		break;
	}
	default:
		if (is6)
			sendto(raw6, packet, length, 0, (struct sockaddr *)&to6, sizeof to6);
		else
			sendto(raw4, packet, length, 0, (struct sockaddr *)&to4, sizeof to4);
	}
}

static void use(uint64_t *state)
{
	static char bytes[4096];
	struct sockaddr_in own = { AF_INET, 0, { htonl(INADDR_LOOPBACK) }, { 0 } }, to = { AF_INET, htons(93), { htonl(INADDR_LOOPBACK) }, { 0 } };
	size_t i = below(state, LENGTH(connected));
	int fd;

	switch (below(state, 5)) {
	case 0:
		close(connected[i]);
		own.sin_port = htons(100 + i);
		connected[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		setsockopt(connected[i], SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
		bind(connected[i], (struct sockaddr *)&own, sizeof own);
		connect(connected[i], (struct sockaddr *)&to, sizeof to);
		break;
	case 1:
		fd = accept4(listeners[below(state, 2)], NULL, NULL, SOCK_NONBLOCK);
		write(fd, bytes, below(state, sizeof bytes));
		if (one_in(state, 2))
			close(fd);
		break;
	case 2:
		write(connected[i], bytes, below(state, sizeof bytes));
		break;
	case 3:
		read(connected[i], bytes, sizeof bytes);
		break;
	default:
		while (recv(link_socket, bytes, sizeof bytes, MSG_DONTWAIT) > 0 || read(tun, bytes, sizeof bytes) > 0)
			;
	}
	syscall(SYS_close_range, 64, ~0u, 0);
}

static void step(uint64_t *state)
{
	if (one_in(state, 5))
		use(state);
	else
		send_packet(state);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
