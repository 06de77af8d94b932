/*
 * The link of `caisson do --network=sandbox` to the caller's network namespace, for callers who may make one: a TAP device
 * caissonN, whose other end is the guest's interface. The sentry, which has no such right, gets the descriptor; the device ends
 * with that, however the sandbox ends.
 *
 * Addresses follow from N: 198.18.0.0/15 is set aside for networks under test (RFC 2544), and fd63:6169:7373:6f6e::/64 is a
 * local prefix (RFC 4193) of our own; the device has the first address of a block of four in each, the guest the
 * second (src/sandbox/tap-network.ts). What of the guest's reaches further is the caller's to route.
 */
#include "launcher.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	VNET_HEADER = 10,
	BLOCKS = 1 << 15,
	PREFIX4 = 30,
	PREFIX6 = 126,
};
static const uint32_t first4 = 0xc6120000;
static const struct in6_addr first6 = { .s6_addr = { 0xfd, 0x63, 0x61, 0x69, 0x73, 0x73, 0x6f, 0x6e } };

static void set_address4(struct ifreq *request, uint32_t address)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };

	memcpy(&request->ifr_addr, &name, sizeof name);
}

static int configure4(struct ifreq *request, unsigned block)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int status;

	if (fd < 0)
		return -1;
	set_address4(request, first4 + 4 * block + 1);
	status = ioctl(fd, SIOCSIFADDR, request);
	set_address4(request, ~0u << (32 - PREFIX4));
	if (status == 0)
		status = ioctl(fd, SIOCSIFNETMASK, request);
	request->ifr_flags = IFF_UP | IFF_RUNNING;
	if (status == 0)
		status = ioctl(fd, SIOCSIFFLAGS, request);
	close(fd);
	return status;
}

/* A host without IPv6 does without. */
static void configure6(struct ifreq *request, unsigned block)
{
	struct in6_ifreq address = { .ifr6_addr = first6, .ifr6_prefixlen = PREFIX6 };
	uint32_t low = htonl(4 * block + 1);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(address.ifr6_addr.s6_addr + 12, &low, sizeof low);
	if (ioctl(fd, SIOCGIFINDEX, request) == 0) {
		address.ifr6_ifindex = request->ifr_ifindex;
		ioctl(fd, SIOCSIFADDR, &address);
	}
	close(fd);
}

int open_tap(void)
{
	static const int header = VNET_HEADER;
	struct ifreq request = { .ifr_name = "caisson%d", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	unsigned block;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (ioctl(fd, TUNSETIFF, &request) == 0 && sscanf(request.ifr_name, "caisson%u", &block) == 1 && block < BLOCKS
	    && ioctl(fd, TUNSETVNETHDRSZ, &header) == 0
	    && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) == 0
	    && configure4(&request, block) == 0) {
		configure6(&request, block);
		return fd;
	}
	close(fd);
	return -1;
}
