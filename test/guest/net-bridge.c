/* Bridges by ioctl(2), as brctl(8) makes them. As root, in a new namespace. */
#include "observe.h"
#include <linux/if_bridge.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int new_network(int family)
{
	need_root();
	MUST(unshare(CLONE_NEWNET));
	return MUST(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

static int bridge(int fd, unsigned long request, const char *name)
{
	char text[IFNAMSIZ] = { 0 };
	strncpy(text, name, IFNAMSIZ);
	return ioctl(fd, request, text);
}

static int port(int fd, unsigned long request, const char *name, int index)
{
	struct ifreq about = { .ifr_ifindex = index };
	strncpy(about.ifr_name, name, IFNAMSIZ - 1);
	return ioctl(fd, request, &about);
}

static int set_flags(int fd, const char *name, int flags)
{
	struct ifreq about = { .ifr_flags = flags };
	strncpy(about.ifr_name, name, IFNAMSIZ - 1);
	return ioctl(fd, SIOCSIFFLAGS, &about);
}

SECTION("a bridge is made and deleted, unless it is up")
{
	int fd = new_network(AF_INET);

	ERR(bridge(fd, SIOCBRADDBR, "br0"));
	SHOW(if_nametoindex("br0") > 0);
	ERR(bridge(fd, SIOCBRADDBR, "br0"));
	ERR(bridge(fd, SIOCBRADDBR, "lo"));
	ERR(bridge(fd, SIOCBRADDBR, ""));
	ERR(bridge(fd, SIOCBRADDBR, "a/b"));
	ERR(bridge(fd, SIOCBRADDBR, "a b"));
	ERR(ioctl(fd, SIOCBRADDBR, (void *)8));
	ERR(bridge(fd, SIOCBRADDBR, "fifteen-letters"));
	ERR(bridge(fd, SIOCBRADDBR, "sixteen-letters-"));
	ERR(set_flags(fd, "br0", IFF_UP));
	ERR(bridge(fd, SIOCBRDELBR, "br0"));
	ERR(set_flags(fd, "br0", 0));
	ERR(bridge(fd, SIOCBRDELBR, "br0"));
	ERR(bridge(fd, SIOCBRDELBR, "br0"));
	ERR(bridge(fd, SIOCBRDELBR, "lo"));
}

SECTION("what can be a port of a bridge")
{
	int fd = new_network(AF_INET6);

	ERR(bridge(fd, SIOCBRADDBR, "br0"));
	ERR(bridge(fd, SIOCBRADDBR, "br1"));
	ERR(port(fd, SIOCBRADDIF, "br0", if_nametoindex("br1")));
	ERR(port(fd, SIOCBRADDIF, "br0", if_nametoindex("lo")));
	ERR(port(fd, SIOCBRADDIF, "br0", 12345));
	ERR(port(fd, SIOCBRADDIF, "br9", 1));
	ERR(port(fd, SIOCBRADDIF, "lo", 1));
	ERR(port(fd, SIOCBRDELIF, "br0", if_nametoindex("br1")));
	ERR(port(fd, SIOCBRDELIF, "br0", 12345));
}

SECTION("bridges by a socket without a network, and without the right to")
{
	int fd = new_network(AF_UNIX);

	ERR(bridge(fd, SIOCBRADDBR, "br0"));
	ERR(port(fd, SIOCBRADDIF, "br0", 1));
	MUST(setresuid(65534, 65534, 65534));
	ERR(bridge(fd, SIOCBRADDBR, "br1"));
	ERR(bridge(fd, SIOCBRDELBR, "br0"));
	ERR(port(fd, SIOCBRADDIF, "br0", 1));
	ERR(port(fd, SIOCBRADDIF, "br9", 1));
}
