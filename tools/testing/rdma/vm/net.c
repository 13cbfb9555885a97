// SPDX-License-Identifier: GPL-2.0
/*
 * The RDMA devices and the link below them. A VM of a pair has one device, on
 * the link to the other VM. A VM by itself has two, on the two ends of one
 * virtual link, in one network namespace.
 *
 * There, the kernel would keep traffic between two of its own addresses off the
 * link: the "local" routing table comes first. Here it comes first for packets
 * that arrive. Other look-ups go by the source address, for rxe (whose queue
 * pairs are bound to a device), rdma_cm (which finds the device by a route) and
 * TCP alike:
 *
 *   source	to 10.0.0.1		to 10.0.0.2
 *   10.0.0.1	rxe0, to itself		rxe0, over the link
 *   10.0.0.2	rxe1, over the link	rxe1, to itself
 *   none	rxe0, to itself		rxe0, over the link
 *
 * A route depends on addresses only, so a client that binds no source address
 * gets one device for each destination. That is rxe0, as on a host that has rxe0
 * alone. accept_local lets each end take packets with a source address of this
 * host.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

#define IP0 "10.0.0.1"
#define IP1 "10.0.0.2"

/* An MTU that lets rxe use the largest RDMA MTU, 4096. */
static const char ip_batch[] =
	"link set lo up\n"
	"link add net0 mtu 9000 type veth peer name net1 mtu 9000\n"
	"address add " IP0 "/24 dev net0\n"
	"address add " IP1 "/24 dev net1\n"
	"link set net0 up\n"
	"link set net1 up\n"
	"rule add pref 1 iif net0 lookup local\n"
	"rule add pref 2 iif net1 lookup local\n"
	"route add " IP1 " dev net0 src " IP0 " table 100\n"
	"route add " IP0 " dev net1 src " IP1 " table 101\n"
	"rule add pref 3 from " IP1 " to " IP1 " lookup local\n"
	"rule add pref 4 from " IP1 " lookup 101\n"
	"rule add pref 5 lookup 100\n"
	"rule add pref 6 lookup local\n"
	"rule del pref 0\n";

/* For every link, before it is made */
static const char *const sysctls[][2] = {
	{ "/proc/sys/net/ipv4/conf/all/rp_filter", "0" },
	/* Each end answers for its own address only. */
	{ "/proc/sys/net/ipv4/conf/all/arp_ignore", "1" },
	{ "/proc/sys/net/ipv4/conf/all/arp_announce", "2" },
	/* Nobody else is on the link: no need to wait for address clashes. */
	{ "/proc/sys/net/ipv6/conf/all/accept_dad", "0" },
	{ "/proc/sys/net/ipv6/conf/default/accept_dad", "0" },
};

static const char *const end_sysctls[][2] = {
	{ "/proc/sys/net/ipv4/conf/net0/accept_local", "1" },
	{ "/proc/sys/net/ipv4/conf/net1/accept_local", "1" },
	{ "/proc/sys/net/ipv4/conf/net0/rp_filter", "0" },
	{ "/proc/sys/net/ipv4/conf/net1/rp_filter", "0" },
};

static bool file_has(const char *path, const char *text)
{
	char data[128] = "";
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, data, sizeof(data) - 1);
	close(fd);
	return len > 0 && strstr(data, text);
}

/* A program may start once its port is up and both of its GIDs are there. */
static bool ready(const char *device, const char *gid)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/state",
		 device);
	if (!file_has(path, "ACTIVE"))
		return false;
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gids/0",
		 device);
	if (!file_has(path, "fe80:"))
		return false;
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gids/1",
		 device);
	return file_has(path, gid);
}

static void add_device(const char *device, const char *netdev, const char *gid)
{
	const char *const argv[] = {
		"rdma", "link", "add", device, "type", "rxe", "netdev", netdev,
		NULL
	};
	int tries;

	if (run_tool(NULL, argv))
		die("cannot make the RDMA device %s on %s", device, netdev);
	for (tries = 0; tries < 30000; tries++) {
		if (ready(device, gid))
			return;
		usleep(1000);
	}
	die("the port of %s did not become active with its GIDs filled", device);
}

static void ip_commands(const char *text)
{
	const char *const ip[] = { "ip", "-batch", "-", NULL };

	if (run_tool(text, ip))
		die("cannot set up the network (is iproute2 installed?)");
	note("link is up");
}

static void two_ends_up(void)
{
	size_t i;

	ip_commands(ip_batch);
	for (i = 0; i < ARRAY_SIZE(end_sysctls); i++)
		write_file(end_sysctls[i][0], end_sysctls[i][1]);
	add_device("rxe0", "net0", "ffff:0a00:0001");
	add_device("rxe1", "net1", "ffff:0a00:0002");
}

/* The network device with address @mac, which may not be the only one. */
static const char *find_netdev(const char *mac)
{
	glob_t found;
	size_t i;

	if (glob("/sys/class/net/*/address", 0, NULL, &found))
		die("there is no network device");
	for (i = 0; i < found.gl_pathc; i++) {
		if (file_has(found.gl_pathv[i], mac)) {
			*strrchr(found.gl_pathv[i], '/') = '\0';
			return strrchr(found.gl_pathv[i], '/') + 1;
		}
	}
	die("no network device has the address %s", mac);
}

static void link_up(const char *mac, const char *address)
{
	unsigned char ip[4];
	char text[512], gid[16];

	if (inet_pton(AF_INET, address, ip) != 1)
		die("%s is no address", address);
	snprintf(text, sizeof(text),
		 "link set lo up\n"
		 "link set %s name net0 mtu 9000\n"
		 "address add %s/24 dev net0\n"
		 "link set net0 up\n", find_netdev(mac), address);
	ip_commands(text);
	snprintf(gid, sizeof(gid), "ffff:%02x%02x:%02x%02x", ip[0], ip[1],
		 ip[2], ip[3]);
	add_device("rxe0", "net0", gid);
}

void net_up(const char *link)
{
	char mac[32], address[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sysctls); i++)
		write_file(sysctls[i][0], sysctls[i][1]);
	if (!*link)
		two_ends_up();
	else if (sscanf(link, "%31s %31s", mac, address) == 2)
		link_up(mac, address);
	else
		die("what link is '%s'?", link);
}
