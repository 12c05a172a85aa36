/* SPDX-License-Identifier: MIT */
/* tun: reads and writes of the device; each is one packet, up to 64 KiB with GSO. */
#ifndef WEIR_TUN_H
#define WEIR_TUN_H

#include "stack.h"

/** tun_read - one virtio-net header and packet into @buf; bytes, or -errno (-EAGAIN: none) */
ssize_t tun_read(int fd, struct pktbuf *buf);
/** tun_write - see struct stack_sink; @ctx is a pointer to the descriptor */
int tun_write(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov, int iovcnt);

#endif
