/* Packet sockets that share (PACKET_FANOUT), rings of blocks (TPACKET_V3), and programs that choose: filters, SO_REUSEPORT. */
#include "observe.h"
#include "inet.h"
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>

/* A namespace of our own, whose loopback interface is up, and a socket that sends to a port nobody listens on. */
static int new_network(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	need_root();
	MUST(unshare(CLONE_NEWNET));
	int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	MUST(ioctl(fd, SIOCSIFFLAGS, &request));
	return fd;
}

static int send_to(int fd, int port, const void *data, size_t length)
{
	struct sockaddr_in to = loopback(port);

	return sendto(fd, data, length, 0, (struct sockaddr *)&to, sizeof to);
}

/* A packet socket for IPv4 on the loopback interface, which sees each packet once. */
static int packet_socket(int protocol)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = 1 };
	int fd = MUST(socket(AF_PACKET, SOCK_RAW, 0));

	MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
	return fd;
}

static int waiting(int fd)
{
	char packet[2048];
	int count = 0;

	while (recv(fd, packet, sizeof packet, MSG_DONTWAIT) >= 0)
		count++;
	return count;
}

static int fanout(int fd, int id, int type)
{
	return set_int(fd, SOL_PACKET, PACKET_FANOUT, id | type << 16);
}

SECTION("PACKET_FANOUT: each packet goes to one")
{
	static const struct { const char *name; int type; } kinds[] = {
		{ "balanced", PACKET_FANOUT_LB },
		{ "by CPU, and rolled over when there is no room", PACKET_FANOUT_ROLLOVER },
	};
	int sender = new_network();

	for (size_t kind = 0; kind < LENGTH(kinds); kind++) {
		int one = packet_socket(ETH_P_IP), two = packet_socket(ETH_P_IP), alone = packet_socket(ETH_P_IP);

		say("%s\n", kinds[kind].name);
		ERR(fanout(one, 7, kinds[kind].type));
		ERR(fanout(two, 7, kinds[kind].type));
		HEX(int_option(one, SOL_PACKET, PACKET_FANOUT));
		/* Each is answered by an ICMP error, which is a packet too. */
		for (int i = 0; i < 10; i++)
			send_to(sender, 9, "x", 1);
		int first = waiting(one), second = waiting(two);
		SHOW(first + second == waiting(alone));
		SHOW(first > 0);
		SHOW(kinds[kind].type != PACKET_FANOUT_LB || first == second);
		close(one);
		close(two);
		close(alone);
	}
}

SECTION("PACKET_FANOUT: packets of a connection stay together")
{
	int sender = new_network(), fds[4], with = 0, total = 0;

	for (int i = 0; i < 4; i++) {
		fds[i] = packet_socket(ETH_P_IP);
		ERR(fanout(fds[i], 1, PACKET_FANOUT_HASH));
	}
	int receiver = datagram();
	for (int i = 0; i < 12; i++)
		send_to(sender, port_of(receiver), "x", 1);
	for (int i = 0; i < 4; i++) {
		int count = waiting(fds[i]);
		with += count > 0;
		total += count;
	}
	SHOW(with);
	SHOW(total);
}

SECTION("PACKET_FANOUT: who has no room leaves a packet to the next")
{
	int sender = new_network(), receiver = datagram(), fds[3], total = 0;

	for (int i = 0; i < 3; i++) {
		fds[i] = packet_socket(ETH_P_IP);
		ERR(fanout(fds[i], 3, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_ROLLOVER));
		if (i != 1)
			MUST(set_int(fds[i], SOL_SOCKET, SO_RCVBUF, 8000));
	}
	for (int i = 0; i < 60; i++)
		send_to(sender, port_of(receiver), big, 1000);
	for (int i = 0; i < 3; i++) {
		int count = waiting(fds[i]);
		if (i == 1)
			SHOW(count > 30);
		total += count;
	}
	SHOW(total);
}

SECTION("PACKET_FANOUT: a program chooses")
{
	/* By the last byte of the packet. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 1),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog program = { LENGTH(code), code };
	int sender = new_network(), receiver = datagram(), fds[3];

	for (int i = 0; i < 3; i++) {
		fds[i] = packet_socket(ETH_P_IP);
		ERR(fanout(fds[i], 2, PACKET_FANOUT_CBPF));
	}
	ERR(setsockopt(fds[1], SOL_PACKET, PACKET_FANOUT_DATA, &program, sizeof program));
	for (char i = 0; i < 3; i++)
		for (int j = 0; j <= i; j++)
			send_to(sender, port_of(receiver), &i, 1);
	SHOW(waiting(fds[0]));
	SHOW(waiting(fds[1]));
	SHOW(waiting(fds[2]));
}

SECTION("PACKET_FANOUT: what is refused")
{
	new_network();
	int one = packet_socket(ETH_P_IP), two = packet_socket(ETH_P_ALL), unbound = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	struct fanout_args args = { .id = 9, .type_flags = PACKET_FANOUT_LB, .max_num_members = 1 };

	ERR(fanout(unbound, 9, PACKET_FANOUT_HASH));
	ERR(fanout(one, 9, 99));
	ERR(fanout(one, 9, PACKET_FANOUT_ROLLOVER | PACKET_FANOUT_FLAG_ROLLOVER));
	ERR(fanout(one, 9, PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID));
	ERR(setsockopt(one, SOL_PACKET, PACKET_FANOUT, &args, sizeof args));
	ERR(fanout(one, 9, PACKET_FANOUT_LB));
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = 99 };
	ERR(bind(one, (struct sockaddr *)&address, sizeof address));
	address.sll_ifindex = 1;
	ERR(bind(one, (struct sockaddr *)&address, sizeof address));
	ERR(fanout(two, 9, PACKET_FANOUT_LB));
	ERR(fanout(two, 9, PACKET_FANOUT_HASH));
	int three = packet_socket(ETH_P_IP);
	ERR(fanout(three, 9, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_ROLLOVER));
	ERR(fanout(three, 9, PACKET_FANOUT_LB));
	ERR(fanout(two, 0, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_UNIQUEID));
	HEX(int_option(two, SOL_PACKET, PACKET_FANOUT) >> 16);
	ERR(fanout(three, 0, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_UNIQUEID));
	SHOW(int_option(two, SOL_PACKET, PACKET_FANOUT) != int_option(three, SOL_PACKET, PACKET_FANOUT));
}

SECTION("PACKET_ADD_MEMBERSHIP: the same one more than once")
{
	struct packet_mreq membership = { .mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC };

	new_network();
	int fd = packet_socket(ETH_P_IP);
	for (int i = 0; i < 2; i++)
		ERR(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership));
	for (int i = 0; i < 3; i++)
		ERR(setsockopt(fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &membership, sizeof membership));
	membership.mr_ifindex = 99;
	ERR(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership));
	ERR(setsockopt(fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &membership, sizeof membership));
}

static struct tpacket_req3 ring_request(int blocks, int timeout)
{
	return (struct tpacket_req3){ .tp_block_size = 4096, .tp_block_nr = blocks, .tp_frame_size = 2048,
				      .tp_frame_nr = 2 * blocks, .tp_retire_blk_tov = timeout, .tp_sizeof_priv = 13 };
}

static void show_block(struct tpacket_block_desc *block)
{
	struct tpacket_hdr_v1 *header = &block->hdr.bh1;
	struct tpacket3_hdr *frame = (void *)((char *)block + header->offset_to_first_pkt);

	say("block %u of version %u: status %#x, %u packets from %u on, %u bytes, private at %u\n", (unsigned)header->seq_num,
	    block->version, header->block_status, header->num_pkts, header->offset_to_first_pkt, header->blk_len,
	    block->offset_to_priv);
	for (unsigned i = 0; i < header->num_pkts; i++) {
		struct sockaddr_ll *from = (void *)((char *)frame + TPACKET_ALIGN(sizeof *frame));
		unsigned char *ip = (unsigned char *)frame + frame->tp_net;

		say("  %u of %u bytes at %u, network at %u, status %#x, next at %u, protocol %#x, type %d, IP version %d, '%c'\n",
		    frame->tp_snaplen, frame->tp_len, frame->tp_mac, frame->tp_net,
		    frame->tp_status & ~(TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID | TP_STATUS_TS_SOFTWARE), frame->tp_next_offset,
		    ntohs(from->sll_protocol), from->sll_pkttype, ip[0] >> 4, ip[28]);
		SHOW(frame->tp_sec >= header->ts_first_pkt.ts_sec && frame->tp_sec <= header->ts_last_pkt.ts_sec);
		frame = (void *)((char *)frame + frame->tp_next_offset);
	}
}

SECTION("TPACKET_V3: blocks that are full, and one that has waited long enough")
{
	int sender = new_network(), receiver = datagram(), port = port_of(receiver);
	struct tpacket_req3 request = ring_request(4, 200);
	struct pollfd wait;
	int version = TPACKET_V3;

	int fd = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	ERR(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request - 4));
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	char *ring = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SHOW(ring != MAP_FAILED);
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1 };
	MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
	HEX(revents(fd, POLLIN));
	for (int i = 0; i < 3; i++) {
		memset(big, 'a' + i, 1500);
		send_to(sender, port, big, 1500);
	}
	/* Two have filled the first block, the third waits in the second. */
	wait = (struct pollfd){ fd, POLLIN, 0 };
	SHOW(poll(&wait, 1, 5000));
	show_block((void *)ring);
	struct tpacket_block_desc *second = (void *)(ring + 4096);
	for (int i = 0; i < 1000 && !__atomic_load_n(&second->hdr.bh1.block_status, __ATOMIC_ACQUIRE); i++)
		sleep_ms(5);
	show_block(second);
	((struct tpacket_block_desc *)ring)->hdr.bh1.block_status = TP_STATUS_KERNEL;
	second->hdr.bh1.block_status = TP_STATUS_KERNEL;
	HEX(revents(fd, POLLIN));
	struct tpacket_stats_v3 stats;
	socklen_t length = sizeof stats;
	ERR(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length));
	say("%u packets, %u lost, %u times frozen, in %u bytes\n", stats.tp_packets, stats.tp_drops, stats.tp_freeze_q_cnt, length);
}

SECTION("TPACKET_V3: frozen while the program has all blocks")
{
	int sender = new_network(), receiver = datagram(), port = port_of(receiver), version = TPACKET_V3;
	struct tpacket_req3 request = ring_request(2, 10000);
	int fd = MUST(socket(AF_PACKET, SOCK_RAW, 0));

	MUST(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	MUST(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	char *ring = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1 };
	MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
	for (int i = 0; i < 8; i++)
		send_to(sender, port, big, 1500);
	SHOW(((struct tpacket_block_desc *)ring)->hdr.bh1.num_pkts);
	SHOW(((struct tpacket_block_desc *)(ring + 4096))->hdr.bh1.num_pkts);
	struct tpacket_stats_v3 stats;
	socklen_t length = sizeof stats;
	ERR(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length));
	say("%u packets, %u lost, %u times frozen\n", stats.tp_packets, stats.tp_drops, stats.tp_freeze_q_cnt);
	for (int i = 0; i < 2; i++)
		((struct tpacket_block_desc *)(ring + i * 4096))->hdr.bh1.block_status = TP_STATUS_KERNEL;
	send_to(sender, port, big, 1500);
	/* Who asks finds that it has arrived. */
	HEX(revents(fd, POLLIN));
	SHOW((int)((struct tpacket_block_desc *)ring)->hdr.bh1.seq_num);
	request.tp_block_nr = request.tp_frame_nr = 0;
	munmap(ring, 2 * 4096);
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	request = ring_request(2, 0);
	request.tp_sizeof_priv = 4096;
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
}

SECTION("TPACKET_V3: blocks with room for hardly more than a header")
{
	int sender = new_network(), receiver = datagram(), version = TPACKET_V3;
	struct tpacket_req3 request = ring_request(2, 10000);
	int fd = MUST(socket(AF_PACKET, SOCK_RAW, 0));

	MUST(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	/* Behind the block's own header and the program's part. */
	request.tp_sizeof_priv = 4096 - 48 - 64;
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	request.tp_sizeof_priv = 4096 - 48 - 72;
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
	char *ring = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SHOW(ring != MAP_FAILED);
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1 };
	MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
	for (int i = 0; i < 3; i++)
		send_to(sender, port_of(receiver), big, 1000);
	HEX(revents(fd, POLLIN));
	for (int i = 0; i < 2; i++) {
		char *block = ring + i * 4096;
		struct tpacket_hdr_v1 *header = &((struct tpacket_block_desc *)block)->hdr.bh1;
		struct tpacket3_hdr *frame = (void *)(block + header->offset_to_first_pkt);
		say("status %#x, %u packets, %u bytes; %u of %u bytes at %u\n", header->block_status, header->num_pkts,
		    header->blk_len, frame->tp_snaplen, frame->tp_len, frame->tp_mac);
	}
	struct tpacket_stats_v3 stats;
	socklen_t length = sizeof stats;
	ERR(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length));
	say("%u packets, %u lost, %u times frozen\n", stats.tp_packets, stats.tp_drops, stats.tp_freeze_q_cnt);
}

SECTION("SO_ATTACH_FILTER: of datagrams, from their header on")
{
	/* Those whose first byte is 'y'; of them the header and two bytes. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 10),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { LENGTH(code), code };
	int sender = new_network(), receiver = datagram();
	char text[16] = "";

	ERR(setsockopt(receiver, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	send_to(sender, port_of(receiver), "no", 2);
	send_to(sender, port_of(receiver), "yes", 3);
	RET(recv(receiver, text, sizeof text, MSG_DONTWAIT));
	TEXT(text);
	RET(recv(receiver, text, sizeof text, MSG_DONTWAIT));
	ERR(set_int(receiver, SOL_SOCKET, SO_LOCK_FILTER, 1));
	ERR(set_int(receiver, SOL_SOCKET, SO_DETACH_FILTER, 0));
	ERR(setsockopt(receiver, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	ERR(set_int(receiver, SOL_SOCKET, SO_LOCK_FILTER, 0));
}

SECTION("SO_GET_FILTER: the program, counted in instructions")
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2), BPF_STMT(BPF_RET | BPF_K, 3) };
	struct sock_fprog program = { LENGTH(code), code };
	struct sock_filter got[8];
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	for (int attached = 0; attached < 2; attached++) {
		for (socklen_t room = 0; room < 5; room++) {
			socklen_t length = room;

			memset(got, 0, sizeof got);
			ERR(getsockopt(pair[0], SOL_SOCKET, SO_GET_FILTER, got, &length));
			SHOW(length);
			SHOW(got[2].code);
			SHOW(got[2].k);
		}
		socklen_t length = 8;

		ERR(getsockopt(pair[0], SOL_SOCKET, SO_GET_FILTER, NULL, &length));
		if (!attached)
			MUST(setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	}
}

SECTION("SO_ATTACH_FILTER: of messages that have no such header")
{
	static const int headers[] = { SKF_NET_OFF, SKF_LL_OFF, SKF_NET_OFF + 5, SKF_AD_OFF + SKF_AD_CPU, SKF_AD_OFF + 2, -1 };

	for (size_t i = 0; i < LENGTH(headers); i++) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_B | BPF_ABS, headers[i]),
			BPF_STMT(BPF_RET | BPF_K, 100),
		};
		struct sock_fprog program = { LENGTH(code), code };
		int pair[2];
		char byte;

		MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
		ERR(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
		RET(send(pair[0], "x", 1, 0));
		RET(recv(pair[1], &byte, 1, MSG_DONTWAIT));
	}
}

SECTION("SO_ATTACH_FILTER: of segments")
{
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { LENGTH(nothing), nothing };
	int pair[2];
	char byte;

	new_network();
	connected(pair);
	ERR(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	RET(send(pair[0], "x", 1, 0));
	HEX(revents(pair[1], POLLIN));
	ERR(set_int(pair[1], SOL_SOCKET, SO_DETACH_FILTER, 0));
	/* It is sent again. */
	RET(recv(pair[1], &byte, 1, 0));
}

SECTION("SO_ATTACH_REUSEPORT_CBPF: a program chooses among those that share a port")
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_filter second[] = { BPF_STMT(BPF_RET | BPF_K, 1) };
	struct sock_fprog program = { LENGTH(code), code }, always = { LENGTH(second), second };
	int sender = new_network(), fds[3], port = 0;

	fds[0] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program));
	ERR(set_int(fds[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	close(fds[0]);
	for (int i = 0; i < 3; i++) {
		fds[i] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
		MUST(set_int(fds[i], SOL_SOCKET, SO_REUSEPORT, 1));
		MUST(bind_loopback(fds[i], port));
		port = port_of(fds[i]);
	}
	ERR(set_int(fds[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	ERR(setsockopt(fds[1], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program));
	for (char i = 0; i < 3; i++)
		for (int j = 0; j <= i; j++)
			send_to(sender, port, &i, 1);
	for (int i = 0; i < 3; i++)
		SHOW(waiting(fds[i]));
	ERR(set_int(fds[2], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	ERR(set_int(fds[2], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));

	port = 0;
	for (int i = 0; i < 3; i++) {
		fds[i] = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		MUST(set_int(fds[i], SOL_SOCKET, SO_REUSEPORT, 1));
		MUST(bind_loopback(fds[i], port));
		MUST(listen(fds[i], 8));
		port = port_of(fds[i]);
	}
	ERR(setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &always, sizeof always));
	for (int i = 0; i < 6; i++)
		MUST(connect_loopback(MUST(socket(AF_INET, SOCK_STREAM, 0)), port));
	for (int i = 0; i < 3; i++) {
		int count = 0;
		while (accept(fds[i], NULL, NULL) >= 0)
			count++;
		SHOW(count);
	}
}
