/* SPDX-License-Identifier: MIT */
/*
 * nlmsg: a netlink socket that asks one thing at a time and waits for the answer, and
 * one that hears of changes. What the messages say is their users' matter.
 */
#ifndef WEIR_NLMSG_H
#define WEIR_NLMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#include "base/addr.h"

/** struct nlmsg - one socket; @buf holds the request that is being made, then its answers */
struct nlmsg {
	struct mnl_socket *nl;
	int bus;
	unsigned seq, portid;
	_Alignas(struct nlmsghdr) char buf[32768]; /* as much as the kernel puts into one read */
};

/** nlmsg_open - @bus: NETLINK_ROUTE, NETLINK_NETFILTER; 0 or -errno */
int nlmsg_open(struct nlmsg *m, int bus);
void nlmsg_close(struct nlmsg *m);

/** nlmsg_request - begin a message in @m's buffer; NLM_F_REQUEST is added to @flags */
struct nlmsghdr *nlmsg_request(struct nlmsg *m, uint16_t type, uint16_t flags);
/**
 * nlmsg_talk - send @nlh, give every answer to @cb (NULL: none is expected)
 *
 * Returns 0, or -errno, the kernel's own included. -EINTR: what was dumped changed
 * meanwhile, so that the answers are no consistent whole. A @cb that returns -1 gives up
 * the rest, with errno as the reason; the socket stays usable.
 */
int nlmsg_talk(struct nlmsg *m, struct nlmsghdr *nlh, mnl_cb_t cb, void *data);

static inline uint8_t nlmsg_family(const struct addr *a)
{
	return addr_is_v4(a) ? AF_INET : AF_INET6;
}

void nlmsg_put_addr(struct nlmsghdr *nlh, uint16_t attr, const struct addr *a);
/** nlmsg_get_addr - an address of @family; false when its size is another's */
bool nlmsg_get_addr(const struct nlattr *at, uint8_t family, struct addr *out);
/** nlmsg_get_u32 - false when it has another size */
bool nlmsg_get_u32(const struct nlattr *at, uint32_t *out);

/** nlmsg_watch_open - a non-blocking descriptor that hears of @groups (@n of them); -errno */
int nlmsg_watch_open(int bus, const unsigned *groups, size_t n);
/**
 * nlmsg_watch_read - what waits at @fd, a bounded part of it, message by message to @each
 *
 * 0: nothing (more) waits; 1: there may be more; -ENOBUFS: messages were lost; -errno.
 * What did not come from the kernel itself is left out.
 */
int nlmsg_watch_read(int fd, void (*each)(void *ctx, const struct nlmsghdr *nlh), void *ctx);

#endif
