/*
 * Frames of the host's links (AF_PACKET with PACKET_VNET_HDR, TAP with IFF_VNET_HDR) for src/platform/linux-links.ts.
 * Each frame has a virtio-net header in front, which the callers read and write.
 *
 * Both kinds of descriptors give one frame per read(2) and take one per write(2), and the sentry may make these calls
 * anyway. recvmmsg(2), which TAP doesn't have, was measured and is no faster; what is saved here is the way between
 * JavaScript and C, once per batch.
 */
#include "caisson.h"
#include "link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* The default holds three frames of 64 KiB. */
	PACKET_BUFFER = 4 << 20,
	VNET_HEADER = 10,
};

/*
 * What a link's socket is not to see: frames that others of its host send over the interface, and those of VLANs, whose
 * tag is not in the frame's bytes, so that they would look like all others.
 */
static struct sock_filter link_filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 3, 0),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

/* A result of close(2) must not replace the errno of what failed. */
static napi_value give_up(napi_env env, int fd)
{
	int error = errno;

	close(fd);
	return make_number(env, -error);
}

/* openPacketLink(index): a packet socket on an interface of the thread's network namespace, with virtio-net headers. */
static napi_value link_open_packet(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	static const int on = 1, size = PACKET_BUFFER;
	struct sock_fprog filter = { .len = sizeof link_filter / sizeof *link_filter, .filter = link_filter };
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)get_number(env, argv[0]) };
	/* Of protocol 0 until it is bound: it must not get other interfaces' frames meanwhile. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return make_result(env, -1);
	/* Bound to no interface it would get those of all. */
	if (address.sll_ifindex <= 0) {
		errno = ENODEV;
		return give_up(env, fd);
	}
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0
		|| setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0
		|| bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return give_up(env, fd);
	/* Without the privilege: as much as there may be. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return make_number(env, fd);
}

/* openTapLink(name): a TAP device of the thread's network namespace, made if it isn't there, with virtio-net headers. */
static napi_value link_open_tap(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	static const int header = VNET_HEADER;
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	size_t length;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return make_result(env, -1);
	napi_get_value_string_latin1(env, argv[0], request.ifr_name, sizeof request.ifr_name, &length);
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0
		|| ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0)
		return give_up(env, fd);
	return make_number(env, fd);
}

int64_t link_frames(napi_env env, napi_value buffers, int64_t offset, struct iovec *frames)
{
	uint32_t count = 0;

	if (napi_get_array_length(env, buffers, &count) != napi_ok || offset < 0)
		return -EINVAL;
	if (count > LINK_BATCH)
		count = LINK_BATCH;
	for (uint32_t i = 0; i < count; i++) {
		napi_value element;
		size_t size = 0;
		char *buffer = NULL;

		if (napi_get_element(env, buffers, i, &element) == napi_ok)
			buffer = get_bytes(env, element, &size);
		if (!buffer || (uint64_t)offset >= size)
			return -EINVAL;
		frames[i].iov_base = buffer + offset;
		frames[i].iov_len = size - offset;
	}
	return count;
}

uint32_t link_read(int fd, const struct iovec *frames, uint32_t count, int32_t *lengths)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		ssize_t length = read(fd, frames[i].iov_base, frames[i].iov_len);

		if (length < 0 && errno == EAGAIN)
			break;
		lengths[i] = length < 0 ? -errno : (int32_t)length;
	}
	return i;
}

/*
 * linkReceive(fd, buffers, offset, lengths): reads a frame into each of the buffers, from `offset` on, until there are none
 * left: how many. In `lengths` (Int32Array) each one's length, or the negative errno of a read that has failed.
 */
static napi_value link_receive(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	struct iovec frames[LINK_BATCH];
	size_t room;
	int32_t *lengths = get_bytes(env, argv[3], &room);
	int64_t count = link_frames(env, argv[1], get_number(env, argv[2]), frames);

	if (count < 0 || !lengths || room < count * sizeof *lengths)
		return make_number(env, -EINVAL);
	return make_number(env, link_read((int)get_number(env, argv[0]), frames, (uint32_t)count, lengths));
}

/* linkSend(fd, bytes, start, end): writes one frame. */
static napi_value link_send(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	size_t size;
	char *bytes = get_bytes(env, argv[1], &size);
	int64_t start = get_number(env, argv[2]), end = get_number(env, argv[3]);

	if (!bytes || start < 0 || end < start || (uint64_t)end > size)
		return make_number(env, -EINVAL);
	return make_result(env, write(get_number(env, argv[0]), bytes + start, end - start));
}

napi_value link_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "openPacketLink", link_open_packet },
		{ "openTapLink", link_open_tap },
		{ "linkReceive", link_receive },
		{ "startLinkReader", link_start_reader },
		{ "linkReadAhead", link_read_ahead },
		{ "linkCollect", link_collect },
		{ "linkSend", link_send },
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof *calls);
	return exports;
}
