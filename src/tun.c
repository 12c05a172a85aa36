/* SPDX-License-Identifier: MIT */
#include "tun.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/util.h"

ssize_t tun_read(int fd, struct pktbuf *buf)
{
	ssize_t n;

	do {
		n = read(fd, buf->data, sizeof(buf->data));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int tun_write(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov, int iovcnt)
{
	struct iovec v[8];
	ssize_t n;

	if (iovcnt + 1 > (int)ARRAY_SIZE(v))
		return -EMSGSIZE;
	v[0].iov_base = (void *)(uintptr_t)vh;
	v[0].iov_len = sizeof(*vh);
	for (int i = 0; i < iovcnt; i++)
		v[i + 1] = iov[i];
	do {
		n = writev(*(const int *)ctx, v, iovcnt + 1);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
