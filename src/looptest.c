/* SPDX-License-Identifier: MIT */
#include "looptest.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "base/clock.h"
#include "base/util.h"

#define SIGN 16 /* random bytes that tell our datagram from any other */
#define WAIT_MS                                                                                    \
	50	   /* a packet is in the device before sendto() returns: this is for a busy host   \
		    */
#define LOOKS 4096 /* packets of others that may be in between */
#define PORT  9	   /* discard */

/** listen_on - every packet that the host sends into the device; it takes none away */
static int listen_on(int ifindex)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		close_fd(&fd);
	return fd < 0 ? -errno : fd;
}

static int send_v4(const uint8_t *sign)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ttl = 1;

	if (fd < 0)
		return -errno;
	inet_pton(AF_INET, "198.51.100.9", &to.sin_addr);
	setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	return sendto(fd, sign, SIGN, 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

static int send_v6(const uint8_t *sign)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), hops = 1;

	if (fd < 0)
		return -errno;
	inet_pton(AF_INET6, "2001:db8:ffff::9", &to.sin6_addr);
	setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof(hops));
	return sendto(fd, sign, SIGN, 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

/** send_as - a socket belongs to who makes it, so that must be a process of @user's */
static int send_as(const struct isolate_user *user, const uint8_t *sign)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
		    setresuid(user->uid, user->uid, user->uid))
			_exit(1);
		/* A host without a way there has no loop either. */
		send_v4(sign);
		send_v6(sign);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}

static bool seen(int fd, const uint8_t *sign)
{
	const uint64_t until = clock_mono_ns() + WAIT_MS * NSEC_PER_MSEC;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t buf[2048];
	ssize_t n;

	/* what is selected already may come all the time: that must not make this longer */
	for (int i = 0; i < LOOKS; i++) {
		const uint64_t now = clock_mono_ns();

		if (now >= until || poll(&p, 1, (int)((until - now) / NSEC_PER_MSEC) + 1) <= 0)
			break;
		n = recv(fd, buf, sizeof(buf), 0);
		if (n > 0 && memmem(buf, (size_t)n, sign, SIGN))
			return true;
	}
	return false;
}

int looptest(const struct isolate_user *user, int ifindex)
{
	uint8_t sign[SIGN];
	int fd = listen_on(ifindex), rc;

	if (fd < 0)
		return fd;
	if (getrandom(sign, sizeof(sign), 0) != sizeof(sign))
		rc = -EIO;
	else
		rc = send_as(user, sign);
	if (!rc && seen(fd, sign))
		rc = -ELOOP;
	close(fd);
	return rc;
}
