/* SPDX-License-Identifier: MIT */
/* tundev: makes the TUN device in the network namespace that we are in. */
#ifndef WEIR_TUNDEV_H
#define WEIR_TUNDEV_H

#include <stdbool.h>

#define TUNDEV_NAME "weir0"

/** struct tundev - the device, with what its kernel can do; @fd owned */
struct tundev {
	int fd; /* non-blocking, close-on-exec */
	int ifindex;
	bool tso; /* takes and gives TCP segments of up to 64 KiB */
	bool uso; /* the same for UDP (Linux 6.2) */
};

/** tundev_open - 0 or -errno; every packet on the fd starts with struct virtio_net_hdr */
int tundev_open(struct tundev *t);

#endif
