/* SPDX-License-Identifier: MIT */
/*
 * tcp_engine: lwIP as a TCP engine, and nothing else of it.
 *
 * This is the one file that sees lwIP's headers, and all that leans on details
 * of the packaged library (2.1.3, unpatched, shared) is here; engine_init()
 * checks it with a forged connection.
 *
 * In. lwIP's IP layer never runs. A segment that sanitize.c let through gets a
 * fresh 20-byte header in front of its payload, `ip_data` says what an IP layer
 * would have said, and tcp_input() is called. There is one listener for the
 * world: port and argument are poked into it before a SYN is fed. lwIP looks
 * connections up in a linked list; so each is kept out of it, and the list holds
 * just the one connection a call is about: enter() and leave(). Only for the
 * timers, every 250 ms, all are linked.
 *
 * Out. lwIP's tcp_write() would copy everything into one buffer of a full
 * segment's size, whatever is written. Segments are built here instead: header
 * in a small block, payload by reference to a counted packet buffer. With GSO a segment has up to
 * ENGINE_CHUNK bytes and lwIP is told that this is the MSS; the real one goes into the
 * virtio-net header. Only what fits the windows now is given to lwIP, so that
 * its queue of unsent segments is empty but for a closed window (one MSS waits
 * there, for lwIP to probe with) and for a sink that refuses packets.
 *
 * ACKs. lwIP would send one when a segment comes and another one when its bytes
 * are consumed. As consuming follows at once as a rule, the first is left out:
 * engine_consume() acknowledges and opens the window in one packet; what is not
 * consumed is acknowledged by engine_settle(), at the latest when the next packet comes.
 *
 * Traps of lwIP 2.1.3 that are stepped around, each an abort() or lost data:
 *   - the persist timer may go on after a probe's byte was acknowledged and the
 *     queue is empty (assertion "persist ticking with empty send buffer"): leave()
 *   - a FIN put on a segment with data survives on both halves when the window
 *     makes lwIP split it: the FIN waits until nothing is unsent, see send_fin()
 *   - out-of-order segments, options in later segments: sanitize.c
 *   - tcp_abandon() sends a last ACK when one is due: forget()
 */
#include "stack.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/util.h"
#include "csum.h"
#include "csum_lwip.h"
#include "engine_selftest.h"
#include "rxqueue.h"
#include "sanitize.h"

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

_Static_assert(sizeof(void *) != 8 || sizeof(struct tcp_pcb) == 288, "another lwIP");
_Static_assert(sizeof(void *) != 8 || sizeof(struct tcp_seg) == 32, "another lwIP");
_Static_assert(LWIP_VERSION_MAJOR == 2 && LWIP_VERSION_MINOR == 1, "another lwIP");

#define QUEUE_MAX   512	  /* segments under way per connection: lwIP walks them */
#define COPY_BELOW  16384 /* smaller pieces are copied instead of pinning a packet buffer */
#define DEFAULT_MTU 1500
#define TTL	    64 /* lwIP's 255 is not what any kernel sends */
#define TCP_HDR	    20
#define HEADROOM    LWIP_MEM_ALIGN_SIZE((u16_t)PBUF_TRANSPORT)
/*
 * Four times lwIP's window: its window scale of 1, in the pcb and in the SYN-ACK,
 * is replaced by 3. The program writes segments of 64 KiB while others are
 * relayed, and needs one ACK for two of them (measured, one stream: half as much
 * throughput again with two segments, a sixth less CPU with four).
 */
#define RECV_SCALE     3
#define WSCALE_OPTION  (0x01030300U | TCP_RCV_SCALE) /* as lwIP writes it into a SYN */
#define RECV_WINDOW    (4 * 65535)		     /* fits 16 bits at RECV_SCALE */
#define UPDATE_MIN     (4 * TCP_MSS) /* a window that opens by this much is told at once */
#define ISS_PER_TICK   62500	     /* RFC 6528: one each 4 us */
#define ISS_PER_ACCEPT 4096

struct engine_conn {
	struct tcp_pcb *pcb; /* lwIP's; NULL once it is gone */
	uint64_t cookie;
	LIST_ENTRY(engine_conn) live;	/* while there is a pcb */
	TAILQ_ENTRY(engine_conn) ready; /* while is_ready: engine_next() has to tell of it */
	TAILQ_ENTRY(engine_conn) owed;	/* while ack_owed: engine_flush_acks() sends it */
	struct rxqueue rx;
	uint32_t snd_end;  /* sequence number behind the last byte written */
	uint32_t was_room; /* before engine_tick() */
	uint16_t mss;	   /* payload bytes per segment to the program */
	uint8_t events;	   /* not told yet */
	bool open, fin_rcvd, fin_wanted, fin_sent, is_ready, was_busy;
	bool active; /* opened by engine_connect() */
	bool lazy;   /* an ACK alone may wait for data that takes it along */
	bool ack_owed;
};

/** struct txblock - one segment's memory: [@mem: headers, or headers and data] and @buf's data */
struct txblock {
	struct pbuf_custom head, body;
	struct pktbuf *buf; /* holds the data; NULL: they are in @mem */
	size_t cost;
	uint8_t mem[] __attribute__((aligned(8)));
};

static struct engine {
	struct engine_config cfg;
	struct netif netif;
	struct tcp_pcb_listen *listener;
	LIST_HEAD(, engine_conn) live;
	TAILQ_HEAD(, engine_conn) ready;
	TAILQ_HEAD(, engine_conn) owed;
	struct engine_conn *entered;   /* whose pcb is in lwIP's list; NULL in engine_tick() */
	struct engine_conn *unsettled; /* got a segment that may not be consumed or acknowledged */
	struct pktbuf *in_buf;	       /* holds the segment that lwIP is processing */
	struct pbuf_custom in_pbuf;
	bool in_pbuf_used;
	bool ticking;
	bool plain; /* lwIP verifies checksums: its functions could not be replaced */
	bool lwip_started;
	struct hash_key key;
	uint32_t ticks, accepted;
	size_t tx_held;
} eng;

/* ---- events ---------------------------------------------------------------- */

static void conn_event(struct engine_conn *c, unsigned ev)
{
	c->events |= (uint8_t)ev;
	if (!eng.ticking || c->is_ready)
		return;
	c->is_ready = true;
	TAILQ_INSERT_TAIL(&eng.ready, c, ready);
}

static unsigned take_events(struct engine_conn *c)
{
	unsigned ev = c->events;

	c->events = 0;
	return ev;
}

/* ---- an ACK that may wait ----------------------------------------------------
 *
 * A request is answered by the peer a moment later, and a close by a close: an
 * ACK of its own for each would be a third of all packets of a short
 * connection. So the ACK of one small segment, or of a FIN that comes first,
 * is owed for up to ENGINE_ACK_MS, and goes with whatever is sent before. A
 * second segment, a full one, or anything unusual is acknowledged at once.
 */

static void ack_settled(struct engine_conn *c)
{
	if (!c->ack_owed)
		return;
	c->ack_owed = false;
	TAILQ_REMOVE(&eng.owed, c, owed);
}

/** window_left - of what the program has been told it may send */
static uint32_t window_left(const struct tcp_pcb *pcb)
{
	return pcb->rcv_ann_right_edge - pcb->rcv_nxt;
}

/** ack_may_wait - for the segment that sanitize.c let pass as @r */
static bool ack_may_wait(const struct engine_conn *c, const struct sanitize_result *r)
{
	return c->open && !c->ack_owed && !(r->flags & TCPF_FIN && c->fin_sent) &&
	       (r->len < c->mss || window_left(c->pcb) - r->len >= RECV_WINDOW / 2);
}

/** keep_ack - true when this packet of lwIP's is an ACK alone that may wait: it is owed now */
static bool keep_ack(struct engine_conn *c, const uint8_t *tcp, size_t l4len)
{
	if (eng.ticking || !c)
		return false;
	if (!c->lazy || l4len != (size_t)(tcp[12] >> 4) * 4 || tcp[13] != TCPF_ACK) {
		ack_settled(c);
		return false;
	}
	if (!c->ack_owed)
		TAILQ_INSERT_TAIL(&eng.owed, c, owed);
	c->ack_owed = true;
	return true;
}

/** conn_over - lwIP's half of the connection is gone */
static void conn_over(struct engine_conn *c, unsigned ev)
{
	ack_settled(c);
	c->pcb = NULL;
	LIST_REMOVE(c, live);
	if (ev & ENGINE_EV_RESET)
		rxqueue_clear(&c->rx);
	conn_event(c, ev);
}

/* ---- one connection in lwIP's lists at a time ------------------------------------ */

static void enter(struct engine_conn *c)
{
	if (c->pcb)
		c->pcb->next = NULL;
	tcp_active_pcbs = c->pcb;
	tcp_tw_pcbs = NULL;
	eng.entered = c;
}

/**
 * leave - take the connection out again and see what became of it
 *
 * TIME_WAIT is left to the program's kernel, where it belongs: the port is its own.
 */
static void leave(struct engine_conn *c)
{
	struct tcp_pcb *tw = tcp_tw_pcbs;

	eng.entered = NULL;
	if (tw) {
		tcp_abort(tw); /* in TIME_WAIT: frees, sends nothing, calls nobody */
		conn_over(c, ENGINE_EV_CLOSED);
	} else if (c->pcb && !tcp_active_pcbs) {
		conn_over(c, ENGINE_EV_CLOSED);
	}
	tcp_active_pcbs = NULL;
	tcp_tw_pcbs = NULL;
	if (c->pcb && !c->pcb->unsent)
		c->pcb->persist_backoff = 0;
}

/** forget - free the pcb without a word to the program */
static void forget(struct engine_conn *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb)
		return;
	enter(c);
	tcp_err(pcb, NULL);
	tcp_clear_flags(pcb, TF_ACK_DELAY | TF_ACK_NOW);
	tcp_abandon(pcb, 0);
	eng.entered = NULL;
	tcp_active_pcbs = NULL;
	ack_settled(c);
	c->pcb = NULL;
	LIST_REMOVE(c, live);
}

/**
 * send_fin - when it is wanted and nothing waits in front of it
 *
 * A FIN on a segment with data would be kept on both halves of a split.
 */
static void send_fin(struct engine_conn *c)
{
	if (!c->fin_wanted || c->fin_sent || !c->pcb || !c->open || c->pcb->unsent)
		return;
	c->fin_sent = true;
	enter(c);
	tcp_shutdown(c->pcb, 0, 1); /* without memory lwIP tries again by itself */
	leave(c);
}

static void ack_now(struct engine_conn *c)
{
	c->lazy = false;
	enter(c);
	tcp_ack_now(c->pcb);
	tcp_output(c->pcb);
	leave(c);
}

/* ---- lwIP's callbacks ---------------------------------------------------------------- */

/** on_recv - the next bytes in order, or (NULL) the FIN */
static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct engine_conn *c = arg;

	(void)pcb;
	(void)err;
	if (!p) {
		c->fin_rcvd = true;
		conn_event(c, ENGINE_EV_FIN);
		return ERR_OK;
	}
	weir_assert(!p->next); /* one segment at a time, in order: sanitize.c */
	rxqueue_add(&c->rx, eng.in_buf, p->payload, p->len);
	pbuf_free(p);
	conn_event(c, ENGINE_EV_DATA);
	return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	(void)pcb;
	(void)len;
	conn_event(arg, ENGINE_EV_ROOM);
	return ERR_OK;
}

/** on_err - lwIP has freed the pcb: reset, given up, or (ERR_CLSD) closed in order */
static void on_err(void *arg, err_t err)
{
	const struct engine_conn *c = arg;
	unsigned ev = err == ERR_CLSD ? ENGINE_EV_CLOSED : ENGINE_EV_RESET;

	if (c->active && !c->open && err == ERR_ABRT)
		ev |= ENGINE_EV_SILENT;
	conn_over(arg, ev);
}

static uint32_t window_max(const struct tcp_pcb *pcb)
{
	return pcb->flags & TF_WND_SCALE ? RECV_WINDOW : 65535;
}

/** opened - the handshake is complete; from here on lwIP may think big */
static void opened(struct engine_conn *c, struct tcp_pcb *pcb)
{
	pcb->mss = eng.cfg.gso ? ENGINE_CHUNK : c->mss;
	pcb->snd_buf = pcb->ssthresh = eng.cfg.send_buffer;
	tcp_nagle_disable(pcb);
	pcb->rcv_wnd += window_max(pcb) - 65535; /* announced with the next ACK */
	c->open = true;
	c->snd_end = pcb->snd_lbb;
	conn_event(c, ENGINE_EV_OPEN | ENGINE_EV_ROOM);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	if (err != ERR_OK || !pcb)
		return ERR_VAL;
	opened(arg, pcb);
	return ERR_OK;
}

/** on_connected - the same for engine_connect(); here lwIP has computed its window before */
static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	(void)err;
	if (pcb->flags & TF_WND_SCALE)
		pcb->rcv_scale = RECV_SCALE;
	opened(arg, pcb);
	pcb->cwnd = 2 * (tcpwnd_size_t)pcb->mss;
	tcp_update_rcv_ann_wnd(pcb);
	return ERR_OK;
}

/**
 * tcp_next_iss - replaces lwIP's, which can be guessed: RFC 6528's clock plus keyed hash
 */
__attribute__((visibility("default"))) u32_t tcp_next_iss(struct tcp_pcb *pcb)
{
	struct {
		ip_addr_t local, remote;
		u16_t local_port, remote_port;
	} tuple;

	memset(&tuple, 0, sizeof(tuple)); /* the padding is hashed as well */
	ip_addr_copy(tuple.local, pcb->local_ip);
	ip_addr_copy(tuple.remote, pcb->remote_ip);
	tuple.local_port = pcb->local_port;
	tuple.remote_port = pcb->remote_port;
	return (u32_t)hash_bytes(&eng.key, &tuple, sizeof(tuple)) + eng.ticks * ISS_PER_TICK +
	       eng.accepted * ISS_PER_ACCEPT;
}

/* ---- packets to the program -------------------------------------------------------------- */

static bool same_addr(const ip_addr_t *a, const uint8_t *bytes, bool v6)
{
	const void *mine = v6 ? (const void *)ip_2_ip6(a)->addr : (const void *)ip_2_ip4(a);

	return IP_IS_V6(a) == v6 && !memcmp(mine, bytes, v6 ? 16 : 4);
}

/** conn_of_packet - the timers send for all connections; which one does this packet belong to? */
static struct engine_conn *conn_of_packet(const uint8_t *ip, const uint8_t *tcp, bool v6)
{
	const uint8_t *from = ip + (v6 ? 8 : 12), *to = from + (v6 ? 16 : 4);
	struct tcp_pcb *pcb;

	if (eng.entered)
		return eng.entered;
	for (pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
		if (pcb->local_port == get_be16(tcp) && pcb->remote_port == get_be16(tcp + 2) &&
		    same_addr(&pcb->local_ip, from, v6) && same_addr(&pcb->remote_ip, to, v6))
			return pcb->callback_arg;
	return NULL;
}

/** fix_ip - what the program's kernel expects of a peer's header, and lwIP does not write */
static void fix_ip(uint8_t *ip, bool v6)
{
	uint16_t sum;

	if (v6) {
		ip[7] = TTL;
		return;
	}
	put_be16(ip + 6, 0x4000); /* DF */
	ip[8] = TTL;
	put_be16(ip + 10, 0);
	sum = (uint16_t)~csum_fold(csum_add(0, ip, 20));
	memcpy(ip + 10, &sum, sizeof(sum));
}

/** fix_syn - lwIP offers its compiled-in MSS; offer the device's (it writes that option first) */
static void fix_syn(uint8_t *tcp, bool v6)
{
	if (tcp[12] >> 4 > TCP_HDR / 4 && tcp[TCP_HDR] == 2)
		put_be16(tcp + TCP_HDR + 2, (uint16_t)(eng.cfg.mtu - (v6 ? 60 : 40)));
	if (tcp[12] >> 4 == TCP_HDR / 4 + 2 && get_be32(tcp + TCP_HDR + 4) == WSCALE_OPTION)
		tcp[TCP_HDR + 7] = RECV_SCALE;
}

/** start_csum - the pseudo header's sum; the kernel adds the rest (NEEDS_CSUM) */
static void start_csum(const uint8_t *ip, uint8_t *tcp, bool v6, size_t l4len)
{
	uint64_t sum = (uint64_t)htonl((uint32_t)l4len) + htons(IPPROTO_TCP);
	uint16_t field = csum_fold(csum_add(sum, ip + (v6 ? 8 : 12), v6 ? 32 : 8));

	memcpy(tcp + 16, &field, sizeof(field));
}

/** describe - the virtio-net header: checksum left to the kernel, and perhaps GSO */
static void describe(struct virtio_net_hdr *vh, const uint8_t *ip, bool v6, size_t l4len)
{
	size_t iphl = v6 ? 40 : 20;
	const uint8_t *tcp = ip + iphl;
	size_t tcphl = (size_t)(tcp[12] >> 4) * 4;
	struct engine_conn *c;

	*vh = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_NONE,
		.csum_start = (uint16_t)iphl,
		.csum_offset = 16,
	};
	if (!eng.cfg.gso || l4len - tcphl <= SANITIZE_MSS_MIN)
		return;
	c = conn_of_packet(ip, tcp, v6);
	if (!c || l4len - tcphl <= c->mss)
		return;
	vh->gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	vh->gso_size = c->mss;
	vh->hdr_len = (uint16_t)(iphl + tcphl);
}

/**
 * emit - one IP packet of lwIP's, to the sink
 *
 * A refusal is told to lwIP, which keeps the segment and tries again with its timers.
 */
static err_t emit(struct pbuf *p, bool v6)
{
	size_t iphl = v6 ? 40 : 20, l4len = p->tot_len - iphl;
	uint8_t *ip = p->payload, *tcp = ip + iphl;
	struct virtio_net_hdr vh;
	struct iovec iov[4];
	int n = 0;

	weir_assert(p->len >= iphl + TCP_HDR);
	if (keep_ack(eng.entered, tcp, l4len))
		return ERR_OK;
	fix_ip(ip, v6);
	if (tcp[13] & TCPF_SYN)
		fix_syn(tcp, v6);
	start_csum(ip, tcp, v6, l4len);
	describe(&vh, ip, v6, l4len);
	for (; p; p = p->next) {
		weir_assert(n < (int)ARRAY_SIZE(iov));
		if (p->len)
			iov[n++] = (struct iovec){p->payload, p->len};
	}
	return eng.cfg.sink->write(eng.cfg.sink->ctx, &vh, iov, n) ? ERR_MEM : ERR_OK;
}

static err_t output_v4(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
	(void)netif;
	(void)to;
	return emit(p, false);
}

static err_t output_v6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to)
{
	(void)netif;
	(void)to;
	return emit(p, true);
}

/* ---- packets from the program ---------------------------------------------------------------- */

static void in_pbuf_free(struct pbuf *p)
{
	(void)p;
	eng.in_pbuf_used = false;
}

static void to_ip_addr(ip_addr_t *to, const struct addr *a)
{
	u32_t v4;

	memset(to, 0, sizeof(*to));
	if (addr_is_v4(a)) {
		memcpy(&v4, addr_v4_bytes(a), sizeof(v4));
		ip_addr_set_ip4_u32(to, v4);
		return;
	}
	IP_SET_TYPE(to, IPADDR_TYPE_V6);
	memcpy(ip_2_ip6(to)->addr, a->b, sizeof(a->b)); /* the zone stays 0 */
}

/** write_header - the only TCP header that lwIP gets to see: @hdr, 20 bytes */
static void write_header(uint8_t *hdr, const struct packet *p, uint32_t seq, uint8_t flags,
			 uint8_t hdrlen)
{
	put_be16(hdr, p->app.port);
	put_be16(hdr + 2, p->net.port);
	put_be32(hdr + 4, seq);
	put_be32(hdr + 8, flags & TCPF_ACK ? p->tcp.ack : 0);
	hdr[12] = (uint8_t)(hdrlen / 4 << 4);
	hdr[13] = flags;
	put_be16(hdr + 14, p->tcp.wnd);
	put_be32(hdr + 16, 0); /* checksum, urgent pointer */
}

/** feed - @len bytes at @seg (TCP header and payload) to tcp_input(), as if from the IP layer */
static void feed(const struct packet *p, uint8_t *seg, size_t len)
{
	struct pbuf *q;
	uint16_t sum;

	if (eng.plain) {
		sum = (uint16_t)~csum_fold(csum_add(
			csum_pseudo(&p->app.addr, &p->net.addr, IPPROTO_TCP, (uint32_t)len), seg,
			len));
		memcpy(seg + 16, &sum, sizeof(sum));
	}
	eng.in_pbuf.custom_free_function = in_pbuf_free;
	q = pbuf_alloced_custom(PBUF_RAW, (u16_t)len, PBUF_REF, &eng.in_pbuf, seg, (u16_t)len);
	eng.in_pbuf_used = true;
	to_ip_addr(&ip_data.current_iphdr_src, &p->app.addr);
	to_ip_addr(&ip_data.current_iphdr_dest, &p->net.addr);
	ip_data.current_netif = ip_data.current_input_netif = &eng.netif;
	if (p->version == 6)
		ip_data.current_ip6_header = (struct ip6_hdr *)(void *)p->data;
	else
		ip_data.current_ip4_header = (struct ip_hdr *)(void *)p->data;
	tcp_input(q, &eng.netif);
	memset(&ip_data, 0, sizeof(ip_data));
	weir_assert(!eng.in_pbuf_used); /* nothing of it is kept: on_recv(), sanitize.c */
}

/** feed_syn - the SYN or SYN-ACK with the two options that lwIP may know of */
static void feed_syn(const struct packet *p, uint8_t flags, const struct sanitize_syn *syn)
{
	uint8_t seg[TCP_HDR + 8] = {0};
	uint8_t *opt = seg + TCP_HDR;

	opt[0] = 2;
	opt[1] = 4;
	put_be16(opt + 2, syn->mss);
	opt += 4;
	if (syn->has_wscale) {
		put_be16(opt, 3 << 8 | 3);
		opt[2] = syn->wscale;
		opt += 4; /* the fourth byte is End of Options */
	}
	write_header(seg, p, p->tcp.seq, flags, (uint8_t)(opt - seg));
	feed(p, seg, (size_t)(opt - seg));
}

static struct sanitize_syn syn_options(const struct packet *p)
{
	size_t len = (size_t)p->tcp.hdrlen - TCP_HDR;
	struct sanitize_syn opts = sanitize_syn_options(p->data + p->l4 + TCP_HDR, len);

	opts.mss = sanitize_mss(opts.mss, p->version == 6, eng.cfg.mtu);
	return opts;
}

static bool addr_usable(const struct addr *a)
{
	return !addr_is_unspecified(a) && !addr_is_multicast(a) && !addr_is_broadcast(a);
}

/** own - a new pcb is @c's */
static void own(struct engine_conn *c, struct tcp_pcb *pcb)
{
	c->pcb = pcb;
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_err);
	LIST_INSERT_HEAD(&eng.live, c, live);
}

/** adopt - the pcb that lwIP made of the SYN; false when it made none, or not the one expected */
static bool adopt(struct engine_conn *c, const struct packet *syn)
{
	struct tcp_pcb *pcb = tcp_active_pcbs;

	eng.entered = NULL;
	tcp_active_pcbs = NULL;
	if (!pcb)
		return false;
	weir_assert(pcb->callback_arg == c && pcb->local_port == syn->net.port &&
		    pcb->remote_port == syn->app.port && pcb->rcv_nxt == syn->tcp.seq + 1);
	if (pcb->flags & TF_WND_SCALE)
		pcb->rcv_scale = RECV_SCALE;
	own(c, pcb);
	return true;
}

int engine_accept(const struct packet *syn, uint64_t cookie, struct engine_conn **conn)
{
	struct sanitize_syn opts = syn_options(syn);
	struct engine_conn *c;

	if (!packet_is_tcp_syn(syn) || !addr_usable(&syn->app.addr) ||
	    !addr_usable(&syn->net.addr) || addr_is_loopback(&syn->app.addr))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->cookie = cookie;
	c->mss = opts.mss;
	engine_settle();
	eng.accepted++;
	eng.listener->local_port = syn->net.port;
	eng.listener->callback_arg = c;
	enter(c);
	feed_syn(syn, TCPF_SYN, &opts);
	if (!adopt(c, syn)) {
		free(c);
		return -ENOMEM;
	}
	*conn = c;
	return 0;
}

/* ---- opening towards the program ----------------------------------------------------------------
 *
 * Here lwIP is the client and says it is the peer: the pcb's local address is one of another
 * machine, which tcp_connect() takes as it is when the pcb has a device.
 */

/** active_pcb - a pcb that stands for @net, not connected; NULL on ENOMEM */
static struct tcp_pcb *active_pcb(struct engine_conn *c, const struct addrport *net)
{
	struct tcp_pcb *pcb =
		tcp_new_ip_type(addr_is_v4(&net->addr) ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6);

	if (!pcb)
		return NULL;
	tcp_bind_netif(pcb, &eng.netif);
	to_ip_addr(&pcb->local_ip, &net->addr);
	pcb->local_port = net->port; /* not tcp_bind(), which looks for others that have it */
	tcp_arg(pcb, c);
	return pcb;
}

int engine_connect(const struct addrport *app, const struct addrport *net, uint64_t cookie,
		   struct engine_conn **conn)
{
	struct engine_conn *c;
	struct tcp_pcb *pcb;
	ip_addr_t to;

	if (addr_is_v4(&app->addr) != addr_is_v4(&net->addr) || !app->port || !net->port ||
	    !addr_usable(&app->addr) || !addr_usable(&net->addr) || addr_is_loopback(&net->addr))
		return -EINVAL;
	engine_settle();
	c = calloc(1, sizeof(*c));
	pcb = c ? active_pcb(c, net) : NULL;
	if (!pcb) {
		free(c);
		return -ENOMEM;
	}
	c->cookie = cookie;
	c->active = true;
	c->mss = SANITIZE_MSS_MIN; /* until the SYN-ACK */
	eng.accepted++;
	own(c, pcb);
	to_ip_addr(&to, &app->addr);
	tcp_active_pcbs = tcp_tw_pcbs = NULL;
	eng.entered = c;
	if (tcp_connect(pcb, &to, app->port, on_connected) != ERR_OK) {
		forget(c);
		free(c);
		return -ENOMEM;
	}
	leave(c);
	*conn = c;
	return 0;
}

/* ---- input -------------------------------------------------------------------------------------
 */

static struct sanitize_conn conn_numbers(const struct engine_conn *c)
{
	const struct tcp_pcb *pcb = c->pcb;

	return (struct sanitize_conn){
		.rcv_nxt = pcb->rcv_nxt,
		.rcv_wnd = pcb->rcv_wnd,
		.snd_una = pcb->lastack,
		.snd_nxt = pcb->snd_nxt,
		.snd_wnd_max = pcb->snd_wnd_max,
		.syn_rcvd = pcb->state == SYN_RCVD,
		.fin_rcvd = c->fin_rcvd,
		.window_shut = pcb->rcv_ann_wnd >> pcb->rcv_scale == 0,
	};
}

/** inject - what sanitize.c left of segment @p, to lwIP */
static void inject(struct engine_conn *c, const struct packet *p, struct pktbuf *buf,
		   const struct sanitize_result *r)
{
	/* The header goes right in front of what is taken: over the old one's end, over
	 * options, or over bytes that the program has sent before. */
	uint8_t *seg = p->data + p->payload + r->skip - TCP_HDR;

	write_header(seg, p, r->seq, r->flags, TCP_HDR);
	eng.in_buf = buf;
	enter(c);
	feed(p, seg, TCP_HDR + r->len);
	leave(c);
	eng.in_buf = NULL;
}

/** input_answer - a segment for a connection whose SYN is not answered yet */
static unsigned input_answer(struct engine_conn *c, const struct packet *p,
			     const struct sanitize_seg *seg)
{
	struct sanitize_result r = sanitize_answer(c->pcb->snd_nxt, seg);
	struct sanitize_syn opts = {0};
	uint8_t hdr[TCP_HDR];

	if (r.verdict != SANITIZE_PASS)
		return take_events(c);
	c->lazy = false;
	enter(c);
	if (r.flags & TCPF_SYN) {
		opts = syn_options(p);
		c->mss = opts.mss;
		feed_syn(p, r.flags, &opts);
	} else {
		write_header(hdr, p, r.seq, r.flags, TCP_HDR);
		feed(p, hdr, TCP_HDR);
	}
	leave(c);
	send_fin(c);
	return take_events(c);
}

unsigned engine_input(struct engine_conn *c, const struct packet *p, struct pktbuf *buf)
{
	struct sanitize_seg seg = {p->tcp.seq, p->tcp.ack, (uint32_t)packet_payload_len(p),
				   p->tcp.flags};
	struct sanitize_conn numbers;
	struct sanitize_result r;
	size_t room;

	engine_settle();
	if (!c->pcb || c->rx.fresh) /* fresh: no memory to settle it; the program sends again */
		return take_events(c);
	if (c->pcb->state == SYN_SENT)
		return input_answer(c, p, &seg);
	numbers = conn_numbers(c);
	room = engine_room(c);
	r = sanitize_segment(&numbers, &seg);
	if (r.keepalive)
		conn_event(c, ENGINE_EV_KEEPALIVE);
	if (r.verdict == SANITIZE_ACK && !r.keepalive)
		ack_now(c);
	if (r.verdict != SANITIZE_PASS)
		return take_events(c);
	c->lazy = ack_may_wait(c, &r);
	inject(c, p, buf, &r);
	send_fin(c);
	if (c->pcb) {
		eng.unsettled = c;
		if (engine_room(c) > room)
			conn_event(c, ENGINE_EV_ROOM);
	}
	return take_events(c);
}

bool engine_acks_owed(void)
{
	return !TAILQ_EMPTY(&eng.owed);
}

void engine_flush_acks(void)
{
	struct engine_conn *c;

	while ((c = TAILQ_FIRST(&eng.owed)) != NULL) {
		ack_settled(c);
		ack_now(c);
	}
}

void engine_ack(struct engine_conn *c)
{
	if (c->pcb)
		ack_now(c);
}

void engine_settle(void)
{
	struct engine_conn *c = eng.unsettled;

	if (!c)
		return;
	eng.unsettled = NULL;
	rxqueue_settle(&c->rx); /* without memory it stays as it is: the buffer is pinned */
	if (c->pcb && c->pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW))
		ack_now(c);
}

int engine_peek(const struct engine_conn *c, struct iovec *iov, int max)
{
	return rxqueue_peek(&c->rx, iov, max);
}

size_t engine_pending(const struct engine_conn *c)
{
	return c->rx.bytes;
}

/**
 * open_window - @len bytes more; tell the program when it is worth a packet
 *
 * As tcp_recved(), which knows of lwIP's own window only.
 */
static void open_window(struct tcp_pcb *pcb, uint16_t real_mss, size_t len)
{
	uint16_t mss = pcb->mss;

	pcb->rcv_wnd = (tcpwnd_size_t)MIN(pcb->rcv_wnd + len, window_max(pcb));
	pcb->mss = real_mss; /* lwIP rounds the window by it */
	if (tcp_update_rcv_ann_wnd(pcb) >= UPDATE_MIN)
		tcp_ack_now(pcb);
	pcb->mss = mss;
}

void engine_consume(struct engine_conn *c, size_t len)
{
	rxqueue_drop(&c->rx, len);
	if (!c->pcb)
		return;
	enter(c);
	open_window(c->pcb, c->mss, len);
	if (!c->rx.bytes && c->pcb->flags & TF_ACK_DELAY)
		tcp_ack_now(c->pcb);
	if (c->pcb->flags & TF_ACK_NOW)
		tcp_output(c->pcb);
	leave(c);
}

/* ---- output -------------------------------------------------------------------------------------
 */

/**
 * probe_size - how much may wait for a closed window, to be probed with
 *
 * lwIP holds a segment that the window does not take whole, for its persist timer to split
 * a second later. A receiver opens its window by a 16th of what it ever was, or
 * by more (Linux: __tcp_select_window()), so that much goes out as soon as it does.
 */
static uint32_t probe_size(const struct engine_conn *c)
{
	uint32_t least = c->pcb->snd_wnd_max / 16;

	return least ? MIN(c->mss, least) : c->mss;
}

/**
 * engine_room - see stack.h; the window rules
 *
 * While something is under way, less than a segment is no room (RFC 9293, 3.8.6.2.1: no
 * silly windows); an ACK will come. With nothing under way every bit counts, and against a
 * closed window a little is taken, for lwIP to probe with.
 */
size_t engine_room(const struct engine_conn *c)
{
	const struct tcp_pcb *pcb = c->pcb;
	uint32_t wnd, flight, room;

	if (!pcb || !c->open || c->fin_wanted || pcb->unsent || pcb->snd_queuelen >= QUEUE_MAX)
		return 0;
	wnd = MIN(pcb->snd_wnd, pcb->cwnd);
	flight = pcb->snd_lbb - pcb->lastack;
	room = MIN(wnd > flight ? wnd - flight : 0, pcb->snd_buf);
	if (flight)
		return room >= MIN(c->mss, pcb->snd_wnd_max / 2) ? room : 0;
	return room ? room : MIN(probe_size(c), pcb->snd_buf);
}

static void txblock_free(struct pbuf *p)
{
	struct txblock *t = container_of((struct pbuf_custom *)(void *)p, struct txblock, body);

	eng.tx_held -= t->cost;
	if (t->buf)
		pktbuf_put(t->buf);
	free(t);
}

static void txblock_free_head(struct pbuf *p)
{
	struct txblock *t = container_of((struct pbuf_custom *)(void *)p, struct txblock, head);

	if (!t->buf) /* else the body, which is chained behind it, comes next */
		txblock_free(&t->body.pbuf);
}

/** txblock_new - a pbuf with room for headers and @len bytes of data behind them */
static struct pbuf *txblock_new(size_t len, struct txblock **block)
{
	struct txblock *t = malloc(sizeof(*t) + HEADROOM + len);
	struct pbuf *p;

	if (!t)
		return NULL;
	t->buf = NULL;
	t->cost = sizeof(*t) + HEADROOM + len;
	eng.tx_held += t->cost;
	t->head.custom_free_function = txblock_free_head;
	p = pbuf_alloced_custom(PBUF_TRANSPORT, (u16_t)len, PBUF_RAM, &t->head, t->mem,
				(u16_t)(HEADROOM + len));
	*block = t;
	return p;
}

static struct pbuf *pbuf_of_copy(const void *data, size_t len)
{
	struct txblock *t;
	struct pbuf *p = txblock_new(len, &t);

	if (p)
		memcpy(p->payload, data, len);
	return p;
}

/** pbuf_of_ref - headers of their own, the data where they are */
static struct pbuf *pbuf_of_ref(struct pktbuf *buf, const void *data, size_t len)
{
	struct txblock *t;
	struct pbuf *p = txblock_new(0, &t);

	if (!p)
		return NULL;
	t->buf = pktbuf_ref(buf);
	t->cost += PKTBUF_SIZE;
	eng.tx_held += PKTBUF_SIZE;
	t->body.custom_free_function = txblock_free;
	pbuf_cat(p, pbuf_alloced_custom(PBUF_RAW, (u16_t)len, PBUF_REF, &t->body,
					(void *)(uintptr_t)data, (u16_t)len));
	return p;
}

/**
 * segment_new - what tcp_write() would have made: payload @p behind a TCP header
 *
 * Acknowledgment, window and checksum are filled in when it is sent. Takes @p over.
 */
static struct tcp_seg *segment_new(const struct tcp_pcb *pcb, struct pbuf *p, bool push)
{
	struct tcp_seg *seg = memp_malloc(MEMP_TCP_SEG);

	if (!seg) {
		pbuf_free(p);
		return NULL;
	}
	memset(seg, 0, sizeof(*seg));
	seg->p = p;
	seg->len = p->tot_len;
	seg->flags = TF_SEG_DATA_CHECKSUMMED; /* emit() has it done */
	pbuf_add_header(p, TCP_HDR);
	seg->tcphdr = p->payload;
	seg->tcphdr->src = lwip_htons(pcb->local_port);
	seg->tcphdr->dest = lwip_htons(pcb->remote_port);
	seg->tcphdr->seqno = lwip_htonl(pcb->snd_lbb);
	TCPH_HDRLEN_FLAGS_SET(seg->tcphdr, TCP_HDR / 4, push ? TCP_PSH : 0);
	seg->tcphdr->urgp = 0;
	return seg;
}

static void segment_append(struct tcp_pcb *pcb, struct tcp_seg *seg)
{
	struct tcp_seg **end = &pcb->unsent;

	while (*end)
		end = &(*end)->next;
	*end = seg;
	pcb->snd_lbb += seg->len;
	pcb->snd_buf -= seg->len;
	pcb->snd_queuelen = (u16_t)(pcb->snd_queuelen + pbuf_clen(seg->p));
}

/**
 * write_chunk - one segment's worth
 * @buf: where @data lie, or NULL
 */
static int write_chunk(struct engine_conn *c, struct pktbuf *buf, const uint8_t *data, size_t len,
		       bool push)
{
	struct pktbuf *own = NULL;
	struct tcp_seg *seg;
	struct pbuf *p;

	if (!buf && len >= PKTBUF_SIZE / 2) {
		buf = own = pktbuf_get(); /* recycled memory: no page faults */
		if (!own)
			return -ENOMEM;
		memcpy(own->data, data, len);
		data = own->data;
	}
	p = buf && len >= COPY_BELOW ? pbuf_of_ref(buf, data, len) : pbuf_of_copy(data, len);
	if (own)
		pktbuf_put(own);
	if (!p)
		return -ENOMEM;
	seg = segment_new(c->pcb, p, push);
	if (!seg)
		return -ENOMEM;
	segment_append(c->pcb, seg);
	return 0;
}

ssize_t engine_write_buf(struct engine_conn *c, struct pktbuf *buf, const void *data, size_t len)
{
	size_t max = eng.cfg.gso ? ENGINE_CHUNK : c->mss, room, done = 0, n;

	if (!c->pcb || c->fin_wanted)
		return -EPIPE;
	room = MIN(engine_room(c), len);
	while (done < room && c->pcb->snd_queuelen < QUEUE_MAX) {
		n = MIN(room - done, max);
		if (write_chunk(c, buf, (const uint8_t *)data + done, n, done + n == room))
			break;
		done += n;
	}
	if (!done)
		return room ? -ENOMEM : 0;
	c->snd_end = c->pcb->snd_lbb;
	enter(c);
	tcp_output(c->pcb);
	leave(c);
	return (ssize_t)done;
}

ssize_t engine_write(struct engine_conn *c, const void *data, size_t len)
{
	return engine_write_buf(c, NULL, data, len);
}

size_t engine_unacked(const struct engine_conn *c)
{
	int32_t n;

	if (!c->pcb || !c->open)
		return 0;
	n = (int32_t)(c->snd_end - c->pcb->lastack);
	return n > 0 ? (size_t)n : 0; /* -1: the FIN is acknowledged, too */
}

/* ---- the end
 * -------------------------------------------------------------------------------------- */

unsigned engine_shutdown(struct engine_conn *c)
{
	c->fin_wanted = true;
	send_fin(c);
	return take_events(c);
}

/**
 * engine_abort - the RST must carry the very number that the program expects next:
 * that of the oldest byte not sent when lwIP has only probed a closed window
 */
void engine_abort(struct engine_conn *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb)
		return;
	enter(c);
	if (pcb->state != SYN_SENT)
		tcp_rst(pcb, pcb->persist_backoff ? pcb->lastack : pcb->snd_nxt, pcb->rcv_nxt,
			&pcb->local_ip, &pcb->remote_ip, pcb->local_port, pcb->remote_port);
	forget(c);
	rxqueue_clear(&c->rx);
}

void engine_free(struct engine_conn *c)
{
	if (!c)
		return;
	forget(c);
	rxqueue_clear(&c->rx);
	if (c->is_ready)
		TAILQ_REMOVE(&eng.ready, c, ready);
	if (eng.unsettled == c)
		eng.unsettled = NULL;
	free(c);
}

/* ---- time
 * ------------------------------------------------------------------------------------------- */

/** link_all - lwIP's timers walk its list of connections */
static void link_all(void)
{
	struct engine_conn *c;

	tcp_active_pcbs = NULL;
	LIST_FOREACH(c, &eng.live, live)
	{
		c->pcb->next = tcp_active_pcbs;
		tcp_active_pcbs = c->pcb;
		c->was_busy = c->pcb->unsent || c->pcb->unacked;
		if (c->was_busy)
			c->was_room = (uint32_t)engine_room(c);
	}
}

void engine_tick(void)
{
	struct engine_conn *c;

	engine_settle();
	eng.ticks++;
	engine_flush_acks();
	eng.ticking = true;
	link_all();
	tcp_tmr();
	tcp_active_pcbs = NULL;
	LIST_FOREACH(c, &eng.live, live)
	{
		if (!c->was_busy)
			continue;
		send_fin(c);
		if (engine_room(c) > c->was_room)
			conn_event(c, ENGINE_EV_ROOM);
	}
	eng.ticking = false;
}

bool engine_live(void)
{
	return !LIST_EMPTY(&eng.live);
}

bool engine_next(uint64_t *cookie, unsigned *events)
{
	struct engine_conn *c;

	while ((c = TAILQ_FIRST(&eng.ready))) {
		TAILQ_REMOVE(&eng.ready, c, ready);
		c->is_ready = false;
		*cookie = c->cookie;
		*events = take_events(c);
		if (*events)
			return true;
	}
	return false;
}

size_t engine_memory(void)
{
	return rxqueue_memory() + eng.tx_held;
}

/* ---- start and end of the engine
 * ---------------------------------------------------------------------- */

static err_t setup_netif(struct netif *netif)
{
	netif->name[0] = 'w';
	netif->name[1] = 'r';
	netif->output = output_v4;
	netif->output_ip6 = output_v6;
	netif->mtu = netif->mtu6 = 0xffff; /* lwIP must never fragment */
	return ERR_OK;
}

static err_t never_input(struct pbuf *p, struct netif *netif)
{
	(void)netif;
	pbuf_free(p);
	return ERR_OK;
}

/**
 * start_lwip - the netif without an address (so that no destination looks like
 * lwIP's own) and the one listener; never tcpip_init(), which would start a thread
 */
static int start_lwip(void)
{
	struct tcp_pcb *pcb;

	if (!eng.lwip_started)
		lwip_init();
	eng.lwip_started = true;
	if (!netif_add(&eng.netif, NULL, NULL, NULL, NULL, setup_netif, never_input))
		return -ENOMEM;
	netif_set_link_up(&eng.netif);
	netif_set_up(&eng.netif);
	pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
	if (!pcb)
		return -ENOMEM;
	tcp_bind_netif(pcb, &eng.netif);
	if (tcp_bind(pcb, IP_ANY_TYPE, 1) != ERR_OK)
		return -ENOTSUP;
	pcb = tcp_listen(pcb);
	if (!pcb)
		return -ENOMEM;
	tcp_accept(pcb, on_accept);
	eng.listener = (struct tcp_pcb_listen *)pcb;
	return 0;
}

/**
 * check_lwip - run forged connections; finds out, too, whether csum_lwip.c is in use
 *
 * The first one has right checksums, so that it passes in either case.
 */
static int check_lwip(const struct stack_sink *real)
{
	struct engine_capture cap;
	bool ok;

	engine_capture_init(&cap);
	eng.cfg.sink = &cap.sink;
	eng.plain = true;
	ok = engine_selftest(&cap, false);
	eng.plain = csum_lwip_calls() == 0;
	ok = ok && engine_selftest(&cap, false) && engine_selftest(&cap, true);
	eng.cfg.sink = real;
	return ok ? 0 : -ENOTSUP;
}

int engine_init(const struct engine_config *cfg)
{
	int err;

	eng.cfg = *cfg;
	if (eng.cfg.mtu < 68 || eng.cfg.mtu > 0xffff)
		eng.cfg.mtu = DEFAULT_MTU;
	LIST_INIT(&eng.live);
	TAILQ_INIT(&eng.ready);
	TAILQ_INIT(&eng.owed);
	err = hash_key_random(&eng.key);
	if (err)
		return err;
	err = start_lwip();
	if (!err)
		err = check_lwip(cfg->sink);
	if (err)
		engine_exit();
	return err;
}

void engine_exit(void)
{
	weir_assert(LIST_EMPTY(&eng.live));
	if (eng.listener)
		tcp_close((struct tcp_pcb *)eng.listener);
	eng.listener = NULL;
	netif_remove(&eng.netif);
}
