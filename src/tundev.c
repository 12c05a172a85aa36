/* SPDX-License-Identifier: MIT */
#include "tundev.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#include "base/util.h"

/* Newer than the headers of Debian 12. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/*
 * No TUN_F_TSO_ECN: segments that carry CWR then arrive one by one, which is rare,
 * and nothing behind us needs to know a third kind of TCP offload.
 */
static void offloads(struct tundev *t)
{
	const unsigned long tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

	t->uso = !ioctl(t->fd, TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6);
	t->tso = t->uso || !ioctl(t->fd, TUNSETOFFLOAD, tso);
	if (!t->tso)
		ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)TUN_F_CSUM);
}

int tundev_open(struct tundev *t)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	int hdr = sizeof(struct virtio_net_hdr), err;

	*t = (struct tundev){.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
	if (t->fd < 0)
		return -errno;
	str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), TUNDEV_NAME);
	if (ioctl(t->fd, TUNSETIFF, &ifr) || ioctl(t->fd, TUNSETVNETHDRSZ, &hdr))
		goto fail;
	offloads(t);
	t->ifindex = (int)if_nametoindex(ifr.ifr_name);
	if (!t->ifindex)
		goto fail;
	return 0;
fail:
	err = -errno;
	close_fd(&t->fd);
	return err;
}
