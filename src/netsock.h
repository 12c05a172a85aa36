/* SPDX-License-Identifier: MIT */
/*
 * netsock: the net side's kernel sockets, and their readiness.
 *
 * All flow sockets sit in one epoll set of their own, edge-triggered and
 * registered once for everything. So a flow costs no uv handle (160 bytes) and
 * no epoll_ctl() per change of interest; the relays remember readiness until
 * EAGAIN takes it back. The worker waits in this set: the device and libuv's own
 * descriptor are members too (level-triggered), so that one epoll_wait() tells of
 * everything.
 *
 * Everything here is one or two system calls; unit tests of the relays link a
 * fake of this file.
 */
#ifndef WEIR_NETSOCK_H
#define WEIR_NETSOCK_H

#include "base/addr.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What a token refers to: the kind tells whose event it is. */
enum netsock_kind {
	NETSOCK_TCP = 1,
	NETSOCK_UDP,
	NETSOCK_ICMP,
	NETSOCK_LOCAL,
	NETSOCK_LISTEN,
	NETSOCK_TUN,  /* the device */
	NETSOCK_LOOP, /* libuv has something */
};

static inline uint64_t netsock_token(enum netsock_kind k, uint32_t index, uint32_t gen)
{
	return (uint64_t)k << 60 | (uint64_t)(gen & 0xfffffff) << 32 | index;
}

static inline enum netsock_kind netsock_token_kind(uint64_t t)
{
	return (enum netsock_kind)(t >> 60);
}

static inline uint32_t netsock_token_index(uint64_t t)
{
	return (uint32_t)t;
}

static inline uint32_t netsock_token_gen(uint64_t t)
{
	return (uint32_t)(t >> 32) & 0xfffffff;
}

struct netsock_set; /* the epoll set */

struct netsock_set *netsock_set_new(void);
void netsock_set_free(struct netsock_set *s);
int netsock_set_fd(const struct netsock_set *s); /* the epoll descriptor itself */
/** netsock_set_wait - up to @max events, after up to @ms (-1: any time); returns how many */
int netsock_set_wait(struct netsock_set *s, struct epoll_event *ev, int max, int ms);
/** netsock_watch_level - add @fd for EPOLLIN, told again as long as it holds; 0 or -errno */
int netsock_watch_level(struct netsock_set *s, int fd, uint64_t token);
/** netsock_watch - add @fd for EPOLLIN|EPOLLPRI|EPOLLOUT|EPOLLRDHUP|EPOLLET; 0 or -errno */
int netsock_watch(struct netsock_set *s, int fd, uint64_t token);

/* --- TCP ----------------------------------------------------------------------- */

/**
 * netsock_tcp_connect - start connecting; *@fd is owned by the caller when 0 or -EINPROGRESS
 *
 * Options: non-blocking, TCP_NODELAY, SO_OOBINLINE. Watched with @token.
 */
int netsock_tcp_connect(struct netsock_set *s, const struct addrport *to, uint64_t token, int *fd);
/**
 * netsock_accept - the next connection that waits at the listening socket @fd
 * @peer: who it is; @local: where it wanted to go, when not NULL
 *
 * Returns a descriptor with netsock_tcp_connect()'s options where netsock_listen_watch() was
 * called, or -errno.
 */
int netsock_accept(int fd, struct addrport *peer, struct addrport *local);
/** netsock_listen_watch - prepare and watch the listening socket @fd, edge-triggered */
int netsock_listen_watch(struct netsock_set *s, int fd, uint64_t token);
/** netsock_error - SO_ERROR, positive, and clears it */
int netsock_error(int fd);
ssize_t netsock_recv(int fd, void *buf, size_t len); /* bytes, 0 = FIN, -errno */
bool netsock_unread(int fd); /* netsock_recv() would return bytes, also after an error */
ssize_t netsock_recvv(int fd, struct iovec *iov, int n);       /* the same, to several places */
ssize_t netsock_sendv(int fd, const struct iovec *iov, int n); /* bytes or -errno */
int netsock_shutdown_write(int fd);
/** netsock_reset - close with a RST (SO_LINGER 0) */
void netsock_reset(int *fd);
void netsock_close(int *fd);
/**
 * netsock_probe - send one keepalive probe to the peer now (the connection has been
 * idle for more than a second); 0 or -errno
 */
int netsock_probe(int fd);
/** netsock_probe_end - the probe was answered, or nobody waits for it any more */
void netsock_probe_end(int fd);
/** netsock_last_ack - milliseconds since the peer last acknowledged anything; 0 or -errno */
int netsock_last_ack(int fd, uint32_t *ms);
/** netsock_unsent - bytes the peer has not acknowledged (SIOCOUTQ) */
int netsock_unsent(int fd);

/* --- datagrams (UDP and ping sockets) -------------------------------------------- */

#define NETSOCK_DGRAM_BATCH 16

/**
 * struct netsock_dgram - one datagram with its IP level facts
 * @peer: the port means nothing to a ping socket
 * @local: published sockets only: the host's address that it came to, or shall come from
 * @gso_size: received only: 0, or the size of all datagrams in @data but the last
 * @data: for ping sockets the whole ICMP message, header included
 */
struct netsock_dgram {
	struct addrport peer;
	struct addr local;
	uint8_t ttl, tos;
	bool df;
	uint16_t gso_size;
	const uint8_t *data;
	size_t len;
};

/** struct netsock_dgram_error - one entry of a socket's error queue (IP_RECVERR, ip(7)) */
struct netsock_dgram_error {
	struct addrport peer;	    /* where the datagram had been sent to */
	struct addr offender;	    /* who reported it; unspecified when local */
	int err;		    /* positive errno */
	uint8_t origin, type, code; /* SO_EE_ORIGIN_*, ICMP numbers */
	uint32_t info;		    /* MTU for EMSGSIZE */
	uint8_t data[576];	    /* start of the datagram's payload */
	size_t len;
};

/**
 * netsock_dgram_beside - the device @ifindex is in this network namespace, and its packets are not
 * for sockets opened from now on; none of them keeps the program's port
 */
void netsock_dgram_beside(unsigned ifindex);
/**
 * netsock_udp_open - an unconnected socket for one program port
 * @port: wanted local port (kept where free: RFC 4787 port preservation), 0 = any
 *
 * IP_RECVERR, IP_RECVTTL, IP_RECVTOS, UDP_GRO are on. Watched for reading and
 * errors with @token. Returns the fd or -errno.
 */
int netsock_udp_open(struct netsock_set *s, bool v4, uint16_t port, uint64_t token);
/**
 * netsock_udp_adopt - the same for a socket that is bound already; also tells and takes @local
 *
 * Returns 0 or -errno; @fd stays the caller's.
 */
int netsock_udp_adopt(struct netsock_set *s, int fd, bool v4, uint64_t token);
/** netsock_icmp_open - a ping socket with echo identifier @ident where free; *@ident is what it got
 */
int netsock_icmp_open(struct netsock_set *s, bool v4, uint16_t *ident, uint64_t token);
/**
 * netsock_dgram_rearm - report readiness that is there now once more
 * @out: and from now on also when the socket takes datagrams again
 *
 * For a relay that left datagrams in the socket to bound its work, or whose
 * send returned -EAGAIN. Datagram sockets are watched without EPOLLOUT
 * otherwise: each datagram that leaves a socket would cost a wake-up.
 */
int netsock_dgram_rearm(struct netsock_set *s, int fd, uint64_t token, bool out);
/**
 * netsock_dgram_send - up to @n datagrams in as few calls as can be; returns how many went
 * out or, when none, -errno. TTL, TOS and DF are set per datagram where they differ from
 * the socket's last. Datagrams of one size in a row to one peer go as one UDP_SEGMENT
 * send where the kernel takes it. A pending error of an earlier datagram is -errno of
 * no datagram of these: drain the error queue and repeat.
 */
int netsock_dgram_send(int fd, bool v4, const struct netsock_dgram *d, int n);
/**
 * netsock_dgram_recv - up to @n datagrams into @buf (@n slots of @slot bytes); data, len,
 * peer, ttl, tos and gso_size are filled. Returns how many, or -errno. Less than
 * MIN(@n, NETSOCK_DGRAM_BATCH) means that the socket is empty: the next one makes an event.
 */
int netsock_dgram_recv(int fd, bool v4, struct netsock_dgram *d, int n, uint8_t *buf, size_t slot);
/** netsock_dgram_error - next entry of the error queue: 1, or 0 when it is empty */
int netsock_dgram_error(int fd, bool v4, struct netsock_dgram_error *e);

#endif
