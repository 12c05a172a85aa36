/* SPDX-License-Identifier: MIT */
/*
 * stack: the seam of the userspace network stack.
 *
 * Above it nobody knows lwIP, a checksum or the virtio-net header. The stack
 * never calls up: what happened to a connection is returned as a set of
 * ENGINE_EV_* bits by the call that made it happen, so both sides can be
 * tested alone. Packets for the program leave through one sink.
 *
 *   TUN bytes -> front_read() -> struct packet (checked, whole)
 *     TCP  -> engine_accept(), engine_input()      stack/tcp_engine.c: lwIP
 *     UDP  -> relay_udp, answers by udpout_send()  stack/udpout.c
 *     ICMP -> relay_icmp, answers by icmp_*()      stack/icmp.c
 */
#ifndef WEIR_STACK_STACK_H
#define WEIR_STACK_STACK_H

#include "base/addr.h"
#include "packet.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* Linux 6.2; older headers do not name it */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* ---- buffers -------------------------------------------------------------- */

#define PKTBUF_SIZE 65600 /* one IP packet of 65535 bytes and the virtio header */

/**
 * struct pktbuf - one packet buffer, counted; recycled through a free list
 *
 * Whoever keeps a pointer into @data beyond the call that brought it holds a
 * reference. A reader that finds refs > 1 after a call takes a fresh one.
 */
struct pktbuf {
	unsigned refs;
	struct pktbuf *next; /* in the free list */
	uint8_t data[PKTBUF_SIZE];
};

/** pktbuf_get - a buffer with one reference, owned by the caller; NULL on ENOMEM */
struct pktbuf *pktbuf_get(void);
struct pktbuf *pktbuf_ref(struct pktbuf *b);
void pktbuf_put(struct pktbuf *b);
/** pktbuf_live - buffers handed out now (leak checks, limits) */
unsigned pktbuf_live(void);
/** pktbuf_drain - free the free list (end of process, leak checks) */
void pktbuf_drain(void);

/* ---- out: packets to the program ------------------------------------------- */

/**
 * struct stack_sink - where packets for the program go
 * @write: one packet: virtio-net header (little endian on every machine we
 *         run on: native) and the IP packet in @iov. Returns 0 or -errno;
 *         -EAGAIN means that the device's queue is full: the packet is lost, as
 *         on any link.
 */
struct stack_sink {
	int (*write)(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov,
		     int iovcnt);
	void *ctx;
};

/* ---- in: front ---------------------------------------------------------------- */

enum front_result {
	FRONT_PACKET,  /* *p is a whole, checked packet */
	FRONT_HELD,    /* a fragment, kept until its datagram is whole */
	FRONT_DROPPED, /* malformed, martian or over a bound; counted */
};

struct front; /* owns reassembly */

struct front_config {
	size_t reass_bytes_max;	   /* all queues together; oldest queue goes first */
	uint64_t reass_timeout_ns; /* RFC 791: 30 s like Linux; RFC 8200 says 60 s for v6 */
};

struct front_stats {
	uint64_t packets, bytes, fragments, reassembled, reass_timeout, reass_overflow;
	uint64_t dropped[PACKET_DROP_MAX];
	uint64_t bad_l4_csum;
};

/** front_new - returns NULL on ENOMEM; @sink is used for time exceeded (fragment) errors */
struct front *front_new(const struct front_config *cfg, const struct stack_sink *sink);
void front_free(struct front *f);
/**
 * front_read - one read(2) of the TUN: virtio-net header and packet
 * @buf: @len bytes at @off of buf->data
 *
 * On FRONT_PACKET, @p borrows from *@whole, which is @buf itself or, for a
 * reassembled datagram, another buffer: the caller puts *@whole when it is not
 * @buf. Completes partial checksums' trust flag, verifies all others.
 */
enum front_result front_read(struct front *f, struct pktbuf *buf, size_t off, size_t len,
			     uint64_t now, struct packet *p, struct pktbuf **whole);
/** front_tick - drop old reassembly queues; returns when to call again (0: nothing waits) */
uint64_t front_tick(struct front *f, uint64_t now);
/** front_waits - are there fragments whose time may run out? */
bool front_waits(const struct front *f);
const struct front_stats *front_stats(const struct front *f);

/* ---- TCP -------------------------------------------------------------------- */

struct engine_conn; /* one lwIP connection; owned by the engine */

/* What a call did to a connection; several may be set at once. */
#define ENGINE_EV_OPEN	    0x01 /* three-way handshake complete */
#define ENGINE_EV_DATA	    0x02 /* engine_peek() has (more) bytes */
#define ENGINE_EV_FIN	    0x04 /* the program sent FIN; all its bytes are in the queue */
#define ENGINE_EV_ROOM	    0x08 /* engine_room() may have grown */
#define ENGINE_EV_RESET	    0x10 /* the program reset it, or lwIP gave up; no more calls but free */
#define ENGINE_EV_CLOSED    0x20 /* both directions are done and acknowledged */
#define ENGINE_EV_KEEPALIVE 0x40 /* a keepalive probe arrived (RFC 9293, 3.8.4) */
#define ENGINE_EV_SILENT    0x80 /* with RESET: nobody has answered the SYN of engine_connect() */

struct engine_config {
	const struct stack_sink *sink;
	bool gso;	      /* the sink takes GSO packets (TUN with TSO) */
	unsigned mtu;	      /* of weir0: bounds segments when gso is off */
	unsigned send_buffer; /* bytes lwIP may hold unacknowledged per connection */
};

/**
 * engine_init - start lwIP and check that the packaged library is what we know
 *
 * lwIP's state is global: call once a process. Returns 0, or -ENOTSUP when the
 * self-test (struct sizes, checksum interposition, one forged handshake) fails.
 */
int engine_init(const struct engine_config *cfg);
void engine_exit(void); /* after the last engine_free(); for leak checks */

/**
 * engine_accept - answer the held SYN @syn now
 * @cookie: given back by engine_next(); the flow's reference
 *
 * Sends SYN-ACK. Returns 0 and *@conn (owned by the caller until
 * engine_free()), or -ENOMEM.
 */
int engine_accept(const struct packet *syn, uint64_t cookie, struct engine_conn **conn);
/**
 * engine_connect - open a connection from @net, a peer outside, to the program that listens at @app
 * @cookie: as in engine_accept()
 *
 * Sends a SYN. Then ENGINE_EV_OPEN says that it was answered, ENGINE_EV_RESET that it was refused
 * or, with ENGINE_EV_SILENT, not answered (after some 20 s). Returns 0 and *@conn, -EINVAL for
 * addresses that can't be in a packet, or -ENOMEM.
 */
int engine_connect(const struct addrport *app, const struct addrport *net, uint64_t cookie,
		   struct engine_conn **conn);
/**
 * engine_input - one segment of an existing connection
 * @buf: the buffer that @p borrows from; referenced if bytes are kept
 *
 * Sanitizes first: whatever the segment says, lwIP does not abort and the
 * connection only moves as RFC 9293 (and RFC 5961 for RST and SYN) allows.
 * Overwrites the packet's TCP header. Returns ENGINE_EV_* bits.
 */
unsigned engine_input(struct engine_conn *c, const struct packet *p, struct pktbuf *buf);
/**
 * engine_settle - end of a batch of packets
 *
 * What engine_input() brought and nobody consumed is acknowledged, and packet
 * buffers that hold little of it are let go. Every next packet and tick do it, too.
 */
void engine_settle(void);
/** engine_peek - the program's bytes in order, borrowed until engine_consume(); fills up to @max */
int engine_peek(const struct engine_conn *c, struct iovec *iov, int max);
/** engine_pending - how many bytes engine_peek() could show in all: never over 256 KiB, the window
 */
size_t engine_pending(const struct engine_conn *c);
/** engine_consume - @len bytes are delivered: drop them and open the window */
void engine_consume(struct engine_conn *c, size_t len);
/**
 * engine_room - how many bytes engine_write() would take now
 *
 * Never more than the program's window and the congestion window leave free,
 * so that what is taken goes out at once. But for a little against a closed
 * window when nothing is under way: without it nothing would probe the window.
 */
size_t engine_room(const struct engine_conn *c);
/**
 * engine_write - bytes to the program; returns how many were taken (0..len) or -errno
 *
 * Copies. One call of up to ENGINE_CHUNK bytes is one packet.
 */
ssize_t engine_write(struct engine_conn *c, const void *data, size_t len);
/**
 * engine_write_buf - the same without a copy: @data lie in @buf
 *
 * Takes references of its own to @buf for what it keeps; the bytes must not
 * change until pktbuf_put() has brought it back to the caller's one.
 */
ssize_t engine_write_buf(struct engine_conn *c, struct pktbuf *buf, const void *data, size_t len);
/* Payload of the largest packet: read from upstream in pieces of this size. */
#define ENGINE_CHUNK 65475
/** engine_unacked - bytes written that the program has not acknowledged yet */
size_t engine_unacked(const struct engine_conn *c);
/** engine_shutdown - FIN after what was written; returns ENGINE_EV_* bits */
unsigned engine_shutdown(struct engine_conn *c);
/**
 * engine_abort - RST to the program; only engine_free() may follow
 *
 * A SYN that is not answered yet gets none: the answer, when it comes, belongs to nobody.
 */
void engine_abort(struct engine_conn *c);
/**
 * engine_free - end of the handle
 *
 * A connection that is not over goes without a word to the program (used for
 * a silent end, as when upstream timed out). Never fails; @c may be NULL.
 */
void engine_free(struct engine_conn *c);

/** engine_ack - answer a keepalive probe (ENGINE_EV_KEEPALIVE is not answered by itself) */
void engine_ack(struct engine_conn *c);

/** engine_acks_owed - is there an ACK that waits for company? */
bool engine_acks_owed(void);
/** engine_flush_acks - send them: ENGINE_ACK_MS after engine_acks_owed() became true */
void engine_flush_acks(void);
#define ENGINE_ACK_MS 1

/** engine_tick - every 250 ms: lwIP's own retransmission and persist timers */
void engine_tick(void);
/** engine_live - is there a connection? Without one engine_tick() need not be called */
bool engine_live(void);
/**
 * engine_next - connections to which engine_tick() did something
 *
 * Call until it returns false after each engine_tick().
 */
bool engine_next(uint64_t *cookie, unsigned *events);
#define ENGINE_TICK_MS 250

/** engine_memory - bytes held in receive and send queues of all connections */
size_t engine_memory(void);

/* ---- errors and resets --------------------------------------------------------- */

/** icmp_reset_tcp - RST (RFC 9293, 3.10.7.1) to a segment that belongs to no connection */
void icmp_reset_tcp(const struct stack_sink *sink, const struct packet *p);

/**
 * struct icmp_error - an ICMP or ICMPv6 error to the program
 * @from: who says so: a router's address as reported, or the destination
 * @type, @code: in the family's own numbers (of the packet quoted)
 * @info: MTU of "fragmentation needed" / "packet too big", otherwise 0
 */
struct icmp_error {
	struct addr from;
	uint8_t type, code;
	uint32_t info;
};

/**
 * icmp_error_for_errno - the error that makes the program's kernel report @err
 *
 * Fills @e (from: the destination @dest). Returns false where no ICMP carries it
 * (EACCES on v4: docs/LIMITS.md lists them); then @e is the nearest one.
 */
bool icmp_error_for_errno(int err, const struct addr *dest, uint32_t mtu, struct icmp_error *e);
/** icmp_send_error - quote packet @p (RFC 792; RFC 1812 4.3.2.3: up to 548 bytes; RFC 4443) */
void icmp_send_error(const struct stack_sink *sink, const struct packet *p,
		     const struct icmp_error *e);
/**
 * icmp_send_error_tuple - the same where the packet is gone: a header is made up
 * from 5-tuple and @payload (what the error queue still has)
 * @ident: echo identifier (for ICMP protocols), else ignored
 * @payload: of UDP the datagram; of an echo the message with its 8-byte header, as
 *           a ping socket's error queue returns it (type and identifier are put right)
 */
void icmp_send_error_tuple(const struct stack_sink *sink, uint8_t proto, const struct addrport *app,
			   const struct addrport *net, uint16_t ident, const void *payload,
			   size_t len, const struct icmp_error *e);
/** icmp_send_echo_reply - an echo reply as the peer @from sent it */
void icmp_send_echo_reply(const struct stack_sink *sink, const struct addr *from,
			  const struct addr *app, uint16_t ident, uint16_t seqno, uint8_t ttl,
			  uint8_t tos, const void *payload, size_t len);

/* ---- UDP to the program ---------------------------------------------------------- */

/**
 * struct udpout - one UDP answer (or, with @gso_size, several of one size in a row)
 * @from, @app: the peer that sent it, the program's address and port
 * @gso_size: 0, or the size of all datagrams in @data but the last
 */
struct udpout {
	struct addrport from, app;
	uint8_t ttl, tos;
	const void *data;
	size_t len;
	uint16_t gso_size;
};

/** udpout_send - write it; splits by hand where @uso is false. Returns 0 or -errno */
int udpout_send(const struct stack_sink *sink, const struct udpout *d, bool uso, unsigned mtu);

#endif
