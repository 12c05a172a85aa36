/* SPDX-License-Identifier: MIT */
/*
 * The life of a TCP flow between a fake lwIP and a fake socket: who is told
 * what, when, and every byte exactly once.
 *
 * LINK: src/relay_tcp.o src/relay_tcp_pump.o src/relay_tcp_alive.o src/relay.o src/flow.o
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/timers.o src/dest.o src/packet.o src/dnsstream.o stack/pktbuf.o
 * LINK: src/base/addr.o src/base/hash.o src/base/log.o src/base/util.o src/base/clock.o
 */
#include "relay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/clock.h"
#include "base/util.h"
#include "owner.h"
#include "fake_judge.h"

/* --- fakes --------------------------------------------------------------------------- */

#define QUEUE (1 << 20)

struct engine_conn { /* the program's side */
	uint8_t rx[QUEUE], tx[QUEUE];
	size_t rx_len, rx_off, tx_len, room;
	bool shut, aborted, acked;
	size_t piece; /* engine_peek() shows pieces of this size */
};

static struct engine_conn conn;
static bool conn_live;
static unsigned accepts, frees, resets_sent, icmp_sent, learnt;
static struct icmp_error last_icmp;

int engine_accept(const struct packet *syn, uint64_t cookie, struct engine_conn **c)
{
	(void)syn;
	(void)cookie;
	accepts++;
	memset(&conn, 0, sizeof(conn));
	conn.piece = 1000;
	conn_live = true;
	*c = &conn;
	return 0;
}

static unsigned dials;
static int dial_rc;

int engine_connect(const struct addrport *app, const struct addrport *net, uint64_t cookie,
		   struct engine_conn **c)
{
	(void)app;
	(void)net;
	(void)cookie;
	dials++;
	if (dial_rc)
		return dial_rc;
	memset(&conn, 0, sizeof(conn));
	conn.piece = 1000;
	conn_live = true;
	*c = &conn;
	return 0;
}

unsigned engine_input(struct engine_conn *c, const struct packet *p, struct pktbuf *buf)
{
	(void)c;
	(void)p;
	(void)buf;
	return 0;
}

int engine_peek(const struct engine_conn *c, struct iovec *iov, int max)
{
	size_t off = c->rx_off;
	int n = 0;

	while (n < max && off < c->rx_len) {
		size_t len = MIN(c->piece, c->rx_len - off);

		iov[n].iov_base = (void *)(uintptr_t)(c->rx + off);
		iov[n++].iov_len = len;
		off += len;
	}
	return n;
}

size_t engine_pending(const struct engine_conn *c)
{
	return c->rx_len - c->rx_off;
}

void engine_consume(struct engine_conn *c, size_t len)
{
	c->rx_off += len;
}

size_t engine_room(const struct engine_conn *c)
{
	return c->room;
}

static bool fake_no_memory;

ssize_t engine_write(struct engine_conn *c, const void *data, size_t len)
{
	size_t n = MIN(len, c->room);

	if (fake_no_memory)
		return -ENOMEM;
	memcpy(c->tx + c->tx_len, data, n);
	c->tx_len += n;
	c->room -= n;
	return (ssize_t)n;
}

ssize_t engine_write_buf(struct engine_conn *c, struct pktbuf *buf, const void *data, size_t len)
{
	tap_ok((const uint8_t *)data >= buf->data, "a shared write lies in its buffer");
	return engine_write(c, data, len);
}

unsigned engine_shutdown(struct engine_conn *c)
{
	c->shut = true;
	return 0;
}

void engine_abort(struct engine_conn *c)
{
	c->aborted = true;
}

void engine_ack(struct engine_conn *c)
{
	c->acked = true;
}

void engine_free(struct engine_conn *c)
{
	if (!c)
		return;
	frees++;
	conn_live = false;
}

static size_t fake_unacked;

size_t engine_unacked(const struct engine_conn *c)
{
	(void)c;
	return fake_unacked;
}

static size_t fake_engine_memory;

size_t engine_memory(void)
{
	return fake_engine_memory;
}

void icmp_reset_tcp(const struct stack_sink *sink, const struct packet *p)
{
	(void)sink;
	(void)p;
	resets_sent++;
}

bool icmp_error_for_errno(int err, const struct addr *dest, uint32_t mtu, struct icmp_error *e)
{
	(void)dest;
	(void)mtu;
	e->code = (uint8_t)err;
	return true;
}

void icmp_send_error(const struct stack_sink *sink, const struct packet *p,
		     const struct icmp_error *e)
{
	(void)sink;
	(void)p;
	last_icmp = *e;
	icmp_sent++;
}

static struct { /* the peer's side */
	uint8_t in[QUEUE], out[QUEUE];
	size_t in_len, in_off, out_len, out_room;
	bool fin, shut, reset, closed;
	int err, connect_rc;
	uint32_t last_ack;
	unsigned probes;
} sock;

static unsigned connects;

int netsock_tcp_connect(struct netsock_set *s, const struct addrport *to, uint64_t token, int *fd)
{
	(void)s;
	(void)to;
	(void)token;
	connects++;
	*fd = sock.connect_rc == 0 || sock.connect_rc == -EINPROGRESS ? 99 : -1;
	return sock.connect_rc;
}

static int watch_rc;

int netsock_watch(struct netsock_set *s, int fd, uint64_t token)
{
	(void)s;
	(void)fd;
	(void)token;
	return watch_rc;
}

static int fake_unsent;

int netsock_unsent(int fd)
{
	(void)fd;
	return fake_unsent;
}

int netsock_error(int fd)
{
	int err = sock.err;

	(void)fd;
	sock.err = 0;
	return err;
}

ssize_t netsock_recv(int fd, void *buf, size_t len)
{
	size_t n = MIN(len, sock.in_len - sock.in_off);

	(void)fd;
	if (!n && sock.fin)
		return 0;
	if (!n && sock.err)
		return -netsock_error(fd);
	if (!n)
		return -EAGAIN;
	memcpy(buf, sock.in + sock.in_off, n);
	sock.in_off += n;
	return (ssize_t)n;
}

ssize_t netsock_recvv(int fd, struct iovec *iov, int n)
{
	ssize_t got = 0;

	for (int i = 0; i < n; i++) {
		ssize_t rc = netsock_recv(fd, iov[i].iov_base, iov[i].iov_len);

		if (rc <= 0)
			return got ? got : rc;
		got += rc;
		if ((size_t)rc < iov[i].iov_len)
			break;
	}
	return got;
}

bool netsock_unread(int fd)
{
	(void)fd;
	return sock.in_off < sock.in_len;
}

ssize_t netsock_sendv(int fd, const struct iovec *iov, int n)
{
	size_t sent = 0;

	(void)fd;
	if (sock.err)
		return -netsock_error(fd);
	for (int i = 0; i < n && sock.out_room; i++) {
		size_t len = MIN(iov[i].iov_len, sock.out_room);

		memcpy(sock.out + sock.out_len, iov[i].iov_base, len);
		sock.out_len += len;
		sock.out_room -= len;
		sent += len;
	}
	return sent ? (ssize_t)sent : -EAGAIN;
}

int netsock_shutdown_write(int fd)
{
	(void)fd;
	sock.shut = true;
	return 0;
}

void netsock_reset(int *fd)
{
	if (*fd >= 0)
		sock.reset = true;
	*fd = -1;
}

void netsock_close(int *fd)
{
	if (*fd >= 0)
		sock.closed = true;
	*fd = -1;
}

int netsock_probe(int fd)
{
	(void)fd;
	sock.probes++;
	return 0;
}

void netsock_probe_end(int fd)
{
	(void)fd;
}

int netsock_last_ack(int fd, uint32_t *ms)
{
	(void)fd;
	*ms = sock.last_ack;
	return 0;
}

int names_learn(struct names *n, const uint8_t *msg, size_t len, uint64_t now)
{
	(void)n;
	(void)now;
	learnt += len == 5 ? !memcmp(msg, "hello", 5) : len == 2 && !memcmp(msg, "yo", 2);
	return 0;
}

uint32_t names_slot(struct names *n, const struct addr *a, uint64_t now)
{
	(void)n;
	(void)a;
	(void)now;
	return 0;
}

void names_hold(struct names *n, uint32_t slot)
{
	(void)n;
	(void)slot;
}

void names_drop(struct names *n, uint32_t slot)
{
	(void)n;
	(void)slot;
}

const char *names_text(const struct names *n, uint32_t slot)
{
	(void)n;
	(void)slot;
	return NULL;
}

/* --- bench ----------------------------------------------------------------------------- */

static struct config cfg;
static struct relay r;
static unsigned ended, asked, notices;
static enum flow_reason why;

static void fake_ended(void *ctx, struct flow *f)
{
	(void)ctx;
	ended++;
	why = (enum flow_reason)f->rec->reason;
}

static void fake_opened(void *ctx, struct flow *f)
{
	(void)ctx;
	(void)f;
}

static void fake_ask(void *ctx, struct flow *f)
{
	(void)ctx;
	(void)f;
	asked++;
}

__attribute__((format(printf, 3, 4))) static void fake_notice(void *ctx, const char *what,
							      const char *fmt, ...)
{
	(void)ctx;
	(void)what;
	(void)fmt;
	notices++;
}

static char hook_err[256];

/* A hook that accepts as many bytes as it is told, and can block. */
static struct {
	size_t most;
	bool block, none;
	size_t seen[2];
} picky;

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = relay_view(&r, f);
}

static void setup_buffer(size_t flow_buffer)
{
	const struct hook_env env = {.view = view, .limit = flow_buffer};
	const struct timers_config tc = {.tcp_closing = 240000000000ULL,
					 .owner_wait = 1000000000ULL};
	const struct flow_table_config fc = {.max_flows = 16};

	memset(&sock, 0, sizeof(sock));
	sock.connect_rc = -EINPROGRESS;
	sock.out_room = QUEUE;
	memset(&picky, 0, sizeof(picky));
	dials = 0;
	dial_rc = watch_rc = 0;
	accepts = frees = resets_sent = icmp_sent = ended = asked = notices = learnt = 0;
	fake_engine_memory = fake_unacked = 0;
	cfg = (struct config){.max_flows = 16,
			      .max_half_open = 8,
			      .flow_buffer = flow_buffer,
			      .total_buffer = 1 << 24};
	r = (struct relay){
		.cfg = &cfg,
		.flows = flow_table_new(&fc),
		.timers = timers_new(&tc, 16),
		.hooks = hook_chain_new(&env),
		.now = 1000000000ULL,
		.mtu = 1500,
		.ask_owner = fake_ask,
		.notice = fake_notice,
		.flow_ended = fake_ended,
		.flow_opened = fake_opened,
	};
	relay_tcp_init(&r);
}

static void setup(void)
{
	setup_buffer(1 << 20);
}

static void free_one(void *ctx, struct flow *f)
{
	(void)ctx;
	timers_clear(r.timers, f);
	relay_tcp_freeing(&r, f);
}

static void teardown(const char *what)
{
	flow_reap(r.flows, free_one, NULL);
	tap_is(flow_count(r.flows), 0, "%s: no flow is left", what);
	tap_is(conn_live, 0, "%s: no connection is left", what);
	relay_tcp_exit(&r);
	hook_chain_free(r.hooks);
	timers_free(r.timers);
	flow_table_free(r.flows);
}

static uint8_t raw_syn[40] = {
	0x45, 0,    0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10,   0,	   0,	 2,    10, 0, 0, 1,
	0x9c, 0x40, 0, 80, 0, 0, 0,    1, 0,  0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0,  0, 0, 0,
};

static uint16_t app_port = 40000;

static struct packet segment(uint8_t flags, uint8_t seq)
{
	struct packet p;
	uint32_t sum = 0;

	put_be16(raw_syn + 20, app_port);
	raw_syn[33] = flags;
	raw_syn[27] = seq;
	raw_syn[10] = raw_syn[11] = 0;
	for (int i = 0; i < 20; i += 2)
		sum += get_be16(raw_syn + i);
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(raw_syn + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
	tap_ok(packet_parse(&p, raw_syn, sizeof(raw_syn)) == PACKET_OK, "forged segment parses");
	return p;
}

static struct flow *find(const struct packet *p)
{
	return flow_find(r.flows, IPPROTO_TCP, &p->app, &p->net);
}

static struct flow *connecting(void)
{
	struct packet p = segment(TCPF_SYN, 1);

	relay_tcp_packet(&r, &p, NULL);
	return find(&p);
}

static void stop_one(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_tcp_stop(&r, f);
}

static struct flow *opened(void)
{
	struct flow *f = connecting();

	relay_tcp_owned(&r, f);
	relay_tcp_net(&r, f, EPOLLOUT);
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	return f;
}

static void pattern(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 31 + seed) % 251);
}

/* --- tests -------------------------------------------------------------------------------- */

static void syn_waits_for_connect_and_owner(void)
{
	struct packet p;
	struct flow *f;

	setup();
	f = connecting();
	tap_ok(f && asked == 1, "a SYN makes a flow and asks for its owner");
	p = segment(TCPF_SYN, 1);
	relay_tcp_packet(&r, &p, NULL);
	tap_is(flow_count(r.flows), 1, "a repeated SYN is the same flow");
	relay_tcp_net(&r, f, EPOLLOUT);
	tap_is(accepts, 0, "connected, owner unknown: the SYN is still held");
	relay_tcp_owned(&r, f);
	tap_is(accepts, 1, "connected and owned: answered");
	relay_tcp_stop(&r, f);
	teardown("held SYN");

	setup();
	f = connecting();
	relay_tcp_owned(&r, f);
	tap_is(accepts, 0, "owned, not connected: held");
	relay_tcp_net(&r, f, EPOLLOUT);
	tap_is(accepts, 1, "then connected: answered");
	relay_tcp_stop(&r, f);
	teardown("held SYN, other order");
}

static void refusals_reach_the_program(void)
{
	static const struct {
		int err;
		unsigned rst, icmp;
		enum flow_reason reason;
	} t[] = {
		{ECONNREFUSED, 1, 0, FLOW_ENDED_REFUSED}, {EHOSTUNREACH, 0, 1, FLOW_ENDED_REFUSED},
		{ENETUNREACH, 0, 1, FLOW_ENDED_REFUSED},  {ETIMEDOUT, 0, 0, FLOW_ENDED_TIMEOUT},
		{EADDRNOTAVAIL, 0, 0, FLOW_ENDED_LIMIT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct flow *f;

		setup();
		f = connecting();
		sock.err = t[i].err;
		relay_tcp_net(&r, f, EPOLLERR | EPOLLHUP);
		tap_is(ended, 0, "errno %d: told when the owner is known, not before", t[i].err);
		relay_tcp_owned(&r, f);
		tap_is(resets_sent, t[i].rst, "errno %d: RST", t[i].err);
		tap_is(icmp_sent, t[i].icmp, "errno %d: ICMP", t[i].err);
		tap_is(why, t[i].reason, "errno %d: reason in the record", t[i].err);
		teardown("refused");
	}
}

static void a_program_that_gives_up_resets_the_peer(void)
{
	struct packet p;

	setup();
	connecting();
	p = segment(TCPF_RST, 2);
	relay_tcp_packet(&r, &p, NULL);
	tap_ok(ended == 1 && why == FLOW_ENDED_APP_GONE && sock.reset, "RST while connecting");
	teardown("gave up");
}

static void strays_are_reset(void)
{
	struct packet p;

	setup();
	p = segment(TCPF_ACK, 9);
	relay_tcp_packet(&r, &p, NULL);
	tap_ok(resets_sent == 1 && r.count.stray_segments == 1, "segment without a flow");
	teardown("stray");
}

static void half_close_goes_each_way_alone(void)
{
	struct flow *f;

	setup();
	f = opened();
	pattern(conn.rx, 5000, 1);
	conn.rx_len = 5000;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA | ENGINE_EV_FIN);
	tap_ok(sock.shut && sock.out_len == 5000, "the program's FIN follows its bytes");
	tap_ok(!conn.shut, "the other direction stays open");
	pattern(sock.in, 3000, 2);
	sock.in_len = 3000;
	conn.room = 3000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(conn.tx_len == 3000 && !memcmp(conn.tx, sock.in, 3000), "bytes still come down");
	sock.fin = true;
	conn.room = 1;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	tap_ok(conn.shut, "the peer's FIN follows");
	tap_is(ended, 0, "not over before lwIP says so");
	relay_tcp_engine(&r, f, ENGINE_EV_CLOSED);
	tap_ok(ended == 1 && why == FLOW_ENDED_FIN && sock.closed && !sock.reset,
	       "closed in order");
	teardown("half-close");
}

static void bytes_outlive_the_programs_side(void)
{
	struct packet p = segment(TCPF_SYN, 1);
	struct flow *f;

	setup();
	f = opened();
	sock.fin = true;
	conn.room = 1;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	sock.out_room = 100;
	conn.rx_len = 4000;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA | ENGINE_EV_FIN | ENGINE_EV_CLOSED);
	tap_ok(ended == 0 && sock.out_len == 100, "bytes wait for the socket after the last ACK");
	tap_ok(!find(&p), "but the 5-tuple is free for a new SYN");
	sock.out_room = QUEUE;
	relay_tcp_net(&r, f, EPOLLOUT);
	tap_ok(ended == 1 && sock.out_len == 4000 && sock.shut, "and all arrive");
	teardown("outlive");
}

static void resets_cross(void)
{
	struct flow *f;

	setup();
	f = opened();
	relay_tcp_engine(&r, f, ENGINE_EV_RESET);
	tap_ok(sock.reset && why == FLOW_ENDED_RESET_APP, "the program's RST resets the peer");
	teardown("RST up");

	setup();
	f = opened();
	sock.in_len = 700;
	conn.room = 5000;
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	tap_ok(conn.tx_len == 700 && conn.aborted && why == FLOW_ENDED_RESET_NET,
	       "what came before the peer's RST goes first");
	teardown("RST down");

	setup();
	f = connecting();
	relay_tcp_owned(&r, f);
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	tap_ok(accepts == 1 && !ended, "reset right after the handshake: the handshake first");
	conn.room = 5000;
	sock.fin = true; /* the error was read: recv() says 0 */
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	tap_ok(conn.aborted && why == FLOW_ENDED_RESET_NET, "then the reset");
	teardown("RST at once");
}

/* What a peer sent before its RST is the program's, however slowly it reads. */
static void a_reset_waits_for_the_reader(void)
{
	struct flow *f;

	setup();
	f = opened();
	sock.in_len = 3000;
	conn.room = 1000;
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	tap_ok(!ended && conn.tx_len == 1000, "no room: the reset waits behind the bytes");
	sock.fin = true; /* the error was read: recv() says 0 */
	conn.room = 1000;
	relay_tcp_engine(&r, f, ENGINE_EV_ROOM);
	tap_ok(!ended && conn.tx_len == 2000, "still");
	conn.room = 5000;
	relay_tcp_engine(&r, f, ENGINE_EV_ROOM);
	tap_ok(conn.tx_len == 3000 && conn.aborted && why == FLOW_ENDED_RESET_NET, "then it comes");
	teardown("RST, slow reader");

	setup();
	f = opened();
	sock.in_len = 3000;
	conn.room = 1000;
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	conn.rx_len = 1;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(conn.aborted && why == FLOW_ENDED_RESET_NET,
	       "a program that writes is told at once");
	teardown("RST, writer");

	setup();
	f = opened();
	sock.in_len = 700;
	conn.room = 5000;
	sock.err = EPIPE;
	conn.rx_len = 10;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(conn.tx_len == 700 && conn.aborted, "a failed send: the peer's answer goes first");
	teardown("RST met by a send");

	setup();
	f = connecting();
	relay_tcp_net(&r, f, EPOLLOUT);
	sock.in_len = 30;
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	tap_ok(!ended, "connected and reset before the owner is known: the program sees both");
	sock.fin = true;
	relay_tcp_owned(&r, f);
	conn.room = 5000;
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	tap_ok(accepts == 1 && conn.tx_len == 30 && conn.aborted, "in this order");
	teardown("RST before the owner");
}

static struct flow *connecting_from(uint16_t port)
{
	struct flow *f;

	app_port = port;
	f = connecting();
	app_port = 40000;
	return f;
}

/* A connect that its program gave up without a word does not hold its place for ever. */
static void the_oldest_silence_makes_room(void)
{
	struct flow *first, *second;

	setup();
	cfg.max_half_open = 2;
	first = connecting_from(1);
	r.now += 1;
	second = connecting_from(2);
	r.now += 1900000000ULL;
	connecting_from(1); /* its SYN again */
	tap_ok(!connecting_from(3) && notices == 1 && !ended, "a short silence says nothing");
	r.now += 200000000ULL;
	tap_ok(connecting_from(3) && ended == 1 && second->rec->reason == FLOW_ENDED_APP_GONE,
	       "two seconds without a SYN: it makes room");
	tap_ok(sock.reset && !resets_sent && !icmp_sent, "without a word to its program");
	tap_ok(!connecting_from(4) && first->rec->state != FLOW_CLOSING,
	       "the one that repeats its SYN stays");
	tap_is(flow_count_half_open(r.flows), 2, "and the bound holds");
	flow_reap(r.flows, free_one, NULL);
	flow_each(r.flows, stop_one, NULL);
	teardown("half-open");
}

/* The program has got everything but reads slowly: nothing is cut off. */
static void a_slow_reader_keeps_its_bytes(void)
{
	struct flow *f;

	setup();
	f = opened();
	relay_tcp_engine(&r, f, ENGINE_EV_FIN);
	sock.fin = true;
	conn.room = 1;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	fake_unacked = 100000;
	r.now += 240000000000ULL;
	tap_ok(timers_pop(r.timers, r.now) == f, "240 s after both FINs");
	relay_tcp_timeout(&r, f);
	tap_ok(!ended && timers_next(r.timers) == r.now + 240000000000ULL,
	       "bytes are still on their way to the program: looked at again later");
	fake_unacked = 0;
	relay_tcp_timeout(&r, f);
	tap_ok(ended == 1, "all acknowledged: over");
	teardown("slow reader");
}

static void idle_connections_stay(void)
{
	struct flow *f;

	setup();
	f = opened();
	r.now += 7300 * 1000000000ULL;
	tap_ok(!timers_pop(r.timers, r.now), "open and idle for two hours: nobody looks");
	relay_tcp_engine(&r, f, ENGINE_EV_FIN);
	tap_ok(sock.shut && !timers_next(r.timers), "half-closed: still no deadline");
	relay_tcp_timeout(&r, f); /* as if one had come up late */
	tap_ok(!ended, "and none would end it");
	sock.fin = true;
	conn.room = 1;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	tap_ok(conn.shut && timers_next(r.timers) == r.now + 240000000000ULL,
	       "closed on both sides: the last acknowledgement has 240 s");
	r.now += 240000000000ULL;
	tap_ok(timers_pop(r.timers, r.now) == f, "then");
	relay_tcp_timeout(&r, f);
	tap_ok(ended == 1 && why == FLOW_ENDED_FIN && conn.aborted, "it is given up");
	teardown("idle");
}

static void back_pressure_holds_both_ways(void)
{
	struct flow *f;

	setup();
	f = opened();
	sock.in_len = 50000;
	conn.room = 1000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_is(sock.in_off, 1000, "no more is read than the program's window takes");
	conn.room = 60000;
	relay_tcp_engine(&r, f, ENGINE_EV_ROOM);
	tap_is(conn.tx_len, 50000, "the rest when the window opens");
	sock.out_room = 10;
	conn.rx_len = 5000;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_is(conn.rx_off, 10, "the program's window opens only by what the peer took");
	relay_tcp_stop(&r, f);
	tap_ok(sock.reset, "a transfer cut off by weir's end is a RST");
	teardown("back-pressure");
}

static void memory_of_all_flows_is_bounded(void)
{
	struct flow *f;

	setup();
	f = opened();
	sock.in_len = 5000;
	conn.room = 9000;
	fake_engine_memory = cfg.total_buffer + 1;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(conn.tx_len == 0 && notices == 1 && r.count.buffer_full == 1, "reading pauses");
	relay_tcp_resume(&r);
	tap_ok(conn.tx_len == 0 && r.count.buffer_full == 1, "also in later turns, untried");
	fake_engine_memory = 0;
	tap_ok(!relay_tcp_resume(&r), "a turn in which memory became free leaves nothing to do");
	tap_is(conn.tx_len, 5000, "and reading has gone on, without waiting for the tick");
	sock.in_len = 7000;
	fake_engine_memory = cfg.total_buffer + 1;
	relay_tcp_net(&r, f, EPOLLIN);
	fake_engine_memory = 0;
	relay_tcp_tick(&r);
	tap_is(conn.tx_len, 7000, "the tick does it as well");
	fake_no_memory = true;
	sock.in_len = 9000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_is(conn.tx_len, 7000, "no memory for a segment");
	tap_ok(!relay_tcp_resume(&r), "it does not keep the worker awake");
	fake_no_memory = false;
	relay_tcp_tick(&r);
	tap_is(conn.tx_len, 9000, "a little later there is");
	relay_tcp_stop(&r, f);
	teardown("total-buffer");
}

static void keepalive_is_the_peers_answer(void)
{
	struct packet p = segment(TCPF_ACK, 9);
	struct flow *f;

	setup();
	f = opened();
	sock.last_ack = 30000;
	relay_tcp_engine(&r, f, ENGINE_EV_KEEPALIVE);
	tap_ok(sock.probes == 1 && !conn.acked, "a probe asks the real peer first");
	r.now += 5000000;
	tap_ok(timers_pop(r.timers, r.now) == f, "looked at soon");
	relay_tcp_timeout(&r, f);
	tap_ok(!conn.acked, "no answer, no ACK");
	sock.last_ack = 1;
	r.now += 50000000;
	relay_tcp_timeout(&r, f);
	tap_ok(conn.acked, "answered: so is the program");
	relay_tcp_engine(&r, f, ENGINE_EV_KEEPALIVE);
	sock.last_ack = 60000;
	sock.err = ETIMEDOUT;
	relay_tcp_net(&r, f, EPOLLERR | EPOLLHUP);
	tap_ok(!conn.aborted && ended == 0, "a peer that fell silent is not a reset");
	relay_tcp_packet(&r, &p, NULL);
	tap_is(resets_sent, 0, "its flow swallows what the program sends");
	p = segment(TCPF_RST, 9);
	relay_tcp_packet(&r, &p, NULL);
	tap_ok(ended == 1 && why == FLOW_ENDED_TIMEOUT, "until the program gives up");
	teardown("keepalive");
}

/* --- hooks: every byte once, whatever is accepted when -------------------------------------- */

static int64_t picky_chunk(void *state, struct weir_flow *wf, const struct weir_payload *p)
{
	const unsigned dir = p->dir;
	const uint8_t *data = p->data;
	size_t most = picky.most ? (size_t)rand() % picky.most : p->len;
	size_t n = p->flags & WEIR_LAST ? p->len : MIN(p->len, most);

	(void)state;
	(void)wf;
	if (picky.block)
		return WEIR_BLOCK;
	if (picky.none)
		return 0;
	for (size_t i = 0; i < n; i++) {
		unsigned seed = dir == WEIR_UP ? 1 : 2;

		if (data[i] != (uint8_t)(((picky.seen[dir] + i) * 31 + seed) % 251))
			return WEIR_BLOCK;
	}
	picky.seen[dir] += n;
	return (int64_t)n;
}

static const struct weir_hook picky_hook = {
	WEIR_HOOK_HEAD,
	.name = "picky",
	.payload = picky_chunk,
};

static void add_picky(void)
{
	tap_ok(!hook_chain_add_hook(r.hooks, &picky_hook, NULL, hook_err, sizeof(hook_err)),
	       "hook added");
}

const char *owner_why_text(unsigned w)
{
	return w ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

static void random_life(unsigned seed)
{
	size_t up = (size_t)rand() % 200000, down = (size_t)rand() % 200000, down_given = 0;
	struct flow *f;

	setup();
	srand(seed);
	add_picky();
	picky.most = 1 + (size_t)rand() % 5000;
	f = opened();
	conn.piece = 1 + (size_t)rand() % 3000;
	pattern(conn.rx, up, 1);
	pattern(sock.in, down, 2);
	sock.out_room = 0;
	for (int i = 0; i < 100000 && !ended && !(sock.shut && conn.shut); i++) {
		unsigned ev = ENGINE_EV_DATA | ENGINE_EV_ROOM;

		conn.rx_len += (size_t)rand() % 4000;
		conn.rx_len = MIN(up, conn.rx_len);
		down_given += (size_t)rand() % 4000;
		down_given = MIN(down, down_given);
		sock.in_len = down_given;
		sock.fin = down_given == down;
		conn.room += (size_t)rand() % 3000;
		sock.out_room += (size_t)rand() % 3000;
		relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT);
		if (!ended && f->relay)
			relay_tcp_engine(&r, f, conn.rx_len == up ? ev | ENGINE_EV_FIN : ev);
		relay_tcp_resume(&r);
	}
	tap_ok(!ended && sock.out_len == up && !memcmp(sock.out, conn.rx, up),
	       "seed %u: %zu bytes up, each once", seed, up);
	tap_ok(conn.tx_len == down && !memcmp(conn.tx, sock.in, down),
	       "seed %u: %zu bytes down, each once", seed, down);
	tap_ok(picky.seen[0] == up && picky.seen[1] == down, "the hook accepted each once");
	if (!ended)
		relay_tcp_stop(&r, f);
	teardown("random life");
}

/* --- hooks that change -------------------------------------------------------------------------
 */

/* One that makes two bytes of each 7, drops each 9, holds and waits as it likes. */
static struct {
	const struct weir_host *host;
	struct weir_flow *f;
	bool waits[2];
	bool answers; /* instead: the request is answered by it */
} scissors;

static void *scissors_load(const struct weir_host *host, struct weir_hook_ref *ref,
			   const char **err)
{
	(void)ref;
	(void)err;
	memset(&scissors, 0, sizeof(scissors));
	scissors.host = host;
	return &scissors;
}

static int64_t scissors_payload(void *state, struct weir_flow *wf, const struct weir_payload *p)
{
	const bool last = p->flags & WEIR_LAST;
	const size_t n = last ? p->len : p->len - (size_t)rand() % (p->len / 4 + 1);

	(void)state;
	scissors.f = wf;
	if (scissors.answers) {
		scissors.host->inject(wf, WEIR_DOWN, "answer", 6);
		scissors.host->close(wf, WEIR_DOWN);
		scissors.host->close(wf, WEIR_UP);
		return (int64_t)p->len;
	}
	if (rand() % 8 == 0) {
		scissors.waits[p->dir] = true;
		return WEIR_PEND;
	}
	for (size_t i = 0; i < n; i++) {
		if (p->data[i] == 7)
			scissors.host->replace(wf, i, 1, "AB", 2);
		if (p->data[i] == 9)
			scissors.host->replace(wf, i, 1, NULL, 0);
	}
	return (int64_t)n;
}

static const struct weir_hook scissors_hook = {
	WEIR_HOOK_HEAD,
	.name = "scissors",
	.load = scissors_load,
	.payload = scissors_payload,
};

/** cut - what scissors make of @len bytes */
static size_t cut(const uint8_t *from, size_t len, uint8_t *to)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (from[i] == 7) {
			to[n++] = 'A';
			to[n++] = 'B';
		} else if (from[i] != 9) {
			to[n++] = from[i];
		}
	}
	return n;
}

static void wake(void)
{
	struct flow *f;

	for (int dir = 0; dir < 2; dir++)
		if (scissors.waits[dir] && rand() % 2) {
			scissors.waits[dir] = false;
			scissors.host->resume(scissors.f, (enum weir_dir)dir);
		}
	while ((f = hook_chain_woken(r.hooks)))
		relay_tcp_woken(&r, f);
}

static void random_edits(unsigned seed)
{
	static uint8_t want_up[QUEUE], want_down[QUEUE];
	size_t up = (size_t)rand() % 100000, down = (size_t)rand() % 100000, given = 0, n_up,
	       n_down;
	struct flow *f;

	setup();
	srand(seed);
	if (hook_chain_add_hook(r.hooks, &scissors_hook, NULL, hook_err, sizeof(hook_err)))
		abort();
	f = opened();
	conn.piece = 1 + (size_t)rand() % 3000;
	pattern(conn.rx, up, 1);
	pattern(sock.in, down, 2);
	n_up = cut(conn.rx, up, want_up);
	n_down = cut(sock.in, down, want_down);
	sock.out_room = 0;
	for (int i = 0; i < 100000 && !ended && !(sock.shut && conn.shut); i++) {
		conn.rx_len += (size_t)rand() % 4000;
		conn.rx_len = MIN(up, conn.rx_len);
		given += (size_t)rand() % 4000;
		given = MIN(down, given);
		sock.in_len = given;
		sock.fin = given == down;
		conn.room += (size_t)rand() % 3000;
		sock.out_room += (size_t)rand() % 3000;
		fake_no_memory = rand() % 50 == 0;
		relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT);
		if (!ended && f->relay)
			relay_tcp_engine(&r, f,
					 ENGINE_EV_DATA | ENGINE_EV_ROOM |
						 (conn.rx_len == up ? ENGINE_EV_FIN : 0));
		fake_no_memory = false;
		wake();
		relay_tcp_resume(&r);
	}
	tap_ok(!ended && sock.out_len == n_up && !memcmp(sock.out, want_up, n_up),
	       "seed %u: %zu bytes up become %zu", seed, up, n_up);
	tap_ok(conn.tx_len == n_down && !memcmp(conn.tx, want_down, n_down),
	       "seed %u: %zu bytes down become %zu", seed, down, n_down);
	tap_ok(f->rec->up.bytes == up && f->rec->down.bytes == down,
	       "the record has what each side has sent");
	tap_is(hook_chain_bytes(r.hooks), 0, "nothing is left in the chain");
	if (!ended)
		relay_tcp_stop(&r, f);
	teardown("random edits");
}

/** a_hook_may_answer - in the server's place, and neither side's bytes go any further */
static void a_hook_may_answer(void)
{
	struct flow *f, *woken;

	setup();
	if (hook_chain_add_hook(r.hooks, &scissors_hook, NULL, hook_err, sizeof(hook_err)))
		abort();
	scissors.answers = true;
	f = opened();
	conn.room = 1000;
	conn.piece = 1000;
	conn.rx_len = 10;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	while ((woken = hook_chain_woken(r.hooks)))
		relay_tcp_woken(&r, woken);
	tap_ok(conn.tx_len == 6 && !memcmp(conn.tx, "answer", 6) && conn.shut,
	       "a hook answers in the server's place");
	tap_ok(sock.out_len == 10 && sock.shut, "the server has the request and its end");
	conn.rx_len = 20;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(sock.out_len == 10 && conn.rx_off == 20, "what the program says then is forgotten");
	sock.in_len = 5000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(conn.tx_len == 6 && sock.in_off == 5000, "what the server says, too");
	sock.fin = true;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	relay_tcp_engine(&r, f, ENGINE_EV_FIN | ENGINE_EV_CLOSED);
	tap_ok(ended == 1 && why == FLOW_ENDED_FIN, "and it ends in order");
	teardown("answered");
}

/** what_a_hook_holds_is_bounded - the reads of the peer's bytes, in pieces of the window */
static void what_a_hook_holds_is_bounded(void)
{
	struct flow *f;

	setup_buffer(20000);
	add_picky();
	picky.none = true;
	f = opened();
	pattern(sock.in, 50000, 2);
	conn.room = 4000;
	for (unsigned i = 1; i <= 5 && !ended; i++) {
		sock.in_len = i * 4000;
		relay_tcp_net(&r, f, EPOLLIN);
	}
	tap_ok(!ended && conn.tx_len == 0 && sock.in_off == 20000, "a hook may hold --flow-buffer");
	sock.in_len = 20001;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(ended == 1 && why == FLOW_ENDED_LIMIT && conn.aborted && sock.reset,
	       "one byte more ends the flow");
	tap_ok(r.count.buffer_full == 1 && notices == 1, "counted and said");
	teardown("flow-buffer");
}

static void names_are_learnt_from_answers(void)
{
	static const uint8_t answer[] = {0, 5, 'h', 'e', 'l', 'l', 'o', 0, 2, 'y', 'o', 0};
	struct flow *f;

	raw_syn[23] = 53;
	setup();
	f = opened();
	memcpy(sock.in, answer, sizeof(answer));
	sock.in_len = 4;
	conn.room = 1000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_is(learnt, 0, "half an answer of port 53 teaches nothing");
	sock.in_len = sizeof(answer);
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(learnt == 2 && conn.tx_len == sizeof(answer),
	       "two whole ones do, and go on as they are");
	conn.rx_len = sizeof(answer);
	memcpy(conn.rx, answer, sizeof(answer));
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_is(learnt, 2, "what the program says does not");
	relay_tcp_stop(&r, f);
	teardown("names");
	raw_syn[23] = 80;
	setup();
	f = opened();
	memcpy(sock.in, answer, sizeof(answer));
	sock.in_len = sizeof(answer);
	conn.room = 1000;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_is(learnt, 0, "nor what comes from another port");
	relay_tcp_stop(&r, f);
	teardown("no names");
}

static void a_hook_may_block(void)
{
	struct flow *f;

	setup();
	add_picky();
	f = opened();
	picky.block = true;
	conn.rx_len = 10;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(why == FLOW_ENDED_BLOCKED && conn.aborted && sock.reset && sock.out_len == 0,
	       "blocked: nothing passed, both sides reset");
	teardown("blocked");
}

/* --- rules --------------------------------------------------------------------------- */

/** judged - a flow for which rules wait for the owner, and then say @say */
static struct flow *judged(enum judge_say say)
{
	struct flow *f;

	setup();
	judge_fake.late = true;
	judge_fake.say = say;
	connects = 0;
	f = connecting();
	tap_ok(f && !connects, "the network is not asked before rules have spoken");
	relay_tcp_owned(&r, f);
	return f;
}

static void no_more_rules(const char *what)
{
	judge_fake.late = false;
	judge_fake.say = JUDGE_PASS;
	teardown(what);
}

static void rules_say_what_becomes_of_a_syn(void)
{
	struct flow *f = judged(JUDGE_PASS);
	struct packet p;

	tap_ok(connects == 1 && f->rec->state == FLOW_CONNECTING, "pass: now it is");
	relay_tcp_net(&r, f, EPOLLOUT);
	tap_is(accepts, 1, "... and the SYN answered");
	relay_tcp_stop(&r, f);
	no_more_rules("rules: pass");

	judged(JUDGE_BLOCK);
	tap_ok(!connects && resets_sent == 1 && why == FLOW_ENDED_BLOCKED,
	       "block: a RST, nothing else");
	no_more_rules("rules: block");

	f = judged(JUDGE_DROP);
	p = segment(TCPF_SYN, 1);
	relay_tcp_packet(&r, &p, NULL);
	tap_ok(!connects && !resets_sent && !ended && asked == 1 && find(&p) == f,
	       "drop: silence, also to the same SYN again, which is no new flow");
	r.now += 76 * 1000000000ULL;
	tap_ok(timers_pop(r.timers, r.now) == f, "... for as long as a kernel tries");
	relay_tcp_timeout(&r, f);
	tap_is(why, FLOW_ENDED_BLOCKED, "... then it is over");
	no_more_rules("rules: drop");

	f = judged(JUDGE_RESET);
	tap_ok(!connects && accepts == 1 && !ended,
	       "reset: the handshake is made without the network");
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	tap_ok(conn.aborted && why == FLOW_ENDED_BLOCKED, "... and then reset");
	no_more_rules("rules: reset");
}

static void held_flows_wait_for_an_answer(void)
{
	struct flow *f = judged(JUDGE_HOLD);

	tap_ok(!connects && !resets_sent && !ended && f->rec->state == FLOW_OWNED, "held");
	f->held = false;
	relay_tcp_judged(&r, f, JUDGE_PASS);
	tap_ok(connects == 1 && f->rec->state == FLOW_CONNECTING, "allowed");
	relay_tcp_stop(&r, f);
	no_more_rules("rules: held, allowed");

	f = judged(JUDGE_HOLD);
	f->held = false;
	relay_tcp_judged(&r, f, JUDGE_BLOCK);
	tap_ok(!connects && resets_sent == 1 && why == FLOW_ENDED_BLOCKED, "denied");
	no_more_rules("rules: held, denied");

	setup();
	f = opened();
	f->held = true;
	conn.rx_len = 10;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_is(sock.out_len, 0, "an open flow that is held keeps its bytes");
	f->held = false;
	relay_tcp_judged(&r, f, JUDGE_PASS);
	tap_is(sock.out_len, 10, "... until it is let go");
	relay_tcp_judged(&r, f, JUDGE_BLOCK);
	tap_ok(conn.aborted && sock.reset && why == FLOW_ENDED_BLOCKED,
	       "not allowed any more: reset");
	teardown("rules: again");
}

static void a_quota_cuts_at_the_byte(void)
{
	struct flow *f;

	setup();
	f = opened();
	f->metered = true;
	judge_fake.allowance = 1500;
	sock.in_len = 4000;
	conn.room = 100000;
	fake_unacked = 1500;
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(conn.tx_len == 1500 && judge_fake.spent == 1500 && judge_fake.n_spent == 1 && !ended,
	       "down: %zu of 4000 bytes pass", conn.tx_len);
	r.now += 10000000;
	tap_ok(timers_pop(r.timers, r.now) == f, "it is looked at");
	relay_tcp_timeout(&r, f);
	tap_is(ended, 0, "... not reset before they have arrived");
	fake_unacked = 0;
	r.now += 10000000;
	timers_pop(r.timers, r.now);
	relay_tcp_timeout(&r, f);
	tap_ok(conn.aborted && sock.reset && why == FLOW_ENDED_BLOCKED, "... then it is");
	teardown("quota down");

	setup();
	f = opened();
	f->metered = true;
	judge_fake.allowance = 700;
	conn.rx_len = 3000;
	fake_unsent = 1;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_is(sock.out_len, 700, "up: 700 of 3000 bytes pass");
	r.now += 6000000000ULL;
	timers_pop(r.timers, r.now);
	relay_tcp_timeout(&r, f);
	tap_is(why, FLOW_ENDED_BLOCKED, "a peer that takes nothing is not waited for");
	fake_unsent = 0;
	judge_fake.allowance = SIZE_MAX;
	teardown("quota up");
}

static void gated_bytes_are_seen_but_do_not_pass(void)
{
	struct flow *f;

	setup();
	add_picky();
	f = opened();
	f->gated = true;
	hook_chain_gate(r.hooks, f, false);
	conn.rx_len = 10;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(judge_fake.seen[HOOK_UP] == 10 && !sock.out_len,
	       "rules are told of them, the peer is not");
	judge_fake.shown = JUDGE_BLOCK;
	conn.rx_len = 20;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(conn.aborted && sock.reset && !sock.out_len && why == FLOW_ENDED_BLOCKED,
	       "what they tell may end it: nothing has passed");
	judge_fake.shown = JUDGE_PASS;
	teardown("gated");
}

/* --- from outside ------------------------------------------------------------------ */

static struct relay_peer a_peer(uint16_t port)
{
	static const uint8_t client[4] = {198, 51, 100, 7}, me[4] = {10, 0, 0, 2};

	return (struct relay_peer){
		.client = {addr_from_v4(client), port},
		.net = {addr_from_v4(client), port},
		.app = {addr_from_v4(me), 80},
		.host_port = 8080,
	};
}

static struct flow *came_in(uint16_t port)
{
	struct relay_peer p = a_peer(port);

	relay_tcp_accepted(&r, &p, 99);
	return flow_find(r.flows, IPPROTO_TCP, &p.app, &p.net);
}

static struct flow *came_in_open(uint16_t port)
{
	struct flow *f = came_in(port);

	if (!f)
		return NULL;
	relay_tcp_owned(&r, f);
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	return f;
}

static void a_peer_comes_in(void)
{
	struct packet p;
	struct flow *f;

	setup();
	f = came_in(5000);
	tap_ok(f && f->rec->inbound && f->rec->host_port == 8080 && !f->rec->orig_port,
	       "an accepted connection is a flow of direction in");
	tap_ok(asked == 1 && !dials, "whose owner is asked for before the program sees it");
	memcpy(sock.in, "GET", 3);
	sock.in_len = 3;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLOUT);
	app_port = 80;
	p = segment(TCPF_RST, 2);
	p.net = f->rec->net;
	relay_tcp_packet(&r, &p, NULL);
	tap_is(ended, 0, "a late reset of an older connection does not end it");
	app_port = 40000;
	relay_tcp_owned(&r, f);
	tap_ok(dials == 1 && !accepts && f->rec->state == FLOW_CONNECTING, "then lwIP dials");
	relay_tcp_net(&r, f, EPOLLIN);
	tap_is(conn.tx_len, 0, "nothing goes in before the program has answered");
	conn.room = 1000;
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	tap_ok(conn.tx_len == 3 && f->rec->connected == r.now, "then what the peer sent");
	tap_is(asked, 1, "one question so far");
	memcpy(conn.rx, "OK", 2);
	conn.rx_len = 2;
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	relay_tcp_engine(&r, f, ENGINE_EV_DATA);
	tap_ok(sock.out_len == 2 && asked == 2,
	       "the answer goes out, and who gave it is asked for");
	tap_ok(f->rec->up.bytes == 2 && f->rec->down.bytes == 3, "up is from the program");
	relay_tcp_engine(&r, f, ENGINE_EV_RESET);
	tap_ok(sock.reset && why == FLOW_ENDED_RESET_APP, "an open one is reset as any other");
	teardown("inbound");
}

static void a_refusal_inside_is_a_reset_outside(void)
{
	struct flow *f;

	setup();
	f = came_in(5001);
	relay_tcp_owned(&r, f);
	relay_tcp_engine(&r, f, ENGINE_EV_RESET);
	tap_ok(sock.reset && why == FLOW_ENDED_REFUSED, "nobody listens");
	teardown("refused inside");
	setup();
	f = came_in(5002);
	relay_tcp_owned(&r, f);
	relay_tcp_engine(&r, f, ENGINE_EV_RESET | ENGINE_EV_SILENT);
	tap_ok(sock.reset && why == FLOW_ENDED_TIMEOUT, "nobody answers");
	teardown("silent inside");
	setup();
	dial_rc = -ENOMEM;
	f = came_in(5003);
	relay_tcp_owned(&r, f);
	tap_ok(sock.reset && why == FLOW_ENDED_LIMIT, "no memory to dial");
	teardown("no dial");
	setup();
	watch_rc = -ENOSPC;
	tap_ok(!came_in(5004) && sock.reset && why == FLOW_ENDED_LIMIT, "no way to watch it");
	teardown("no watch");
}

static void a_peer_that_leaves_early(void)
{
	struct flow *f;

	setup();
	f = came_in(5005);
	relay_tcp_owned(&r, f);
	sock.err = ECONNRESET;
	relay_tcp_net(&r, f, EPOLLERR | EPOLLHUP);
	tap_ok(conn.aborted && why == FLOW_ENDED_RESET_NET, "a reset while dialling ends the dial");
	teardown("left early");
	setup();
	f = came_in(5006);
	memcpy(sock.in, "x", 1);
	sock.in_len = 1;
	sock.fin = true;
	relay_tcp_net(&r, f, EPOLLIN | EPOLLRDHUP);
	relay_tcp_owned(&r, f);
	conn.room = 1000;
	relay_tcp_engine(&r, f, ENGINE_EV_OPEN);
	tap_ok(conn.tx_len == 1 && conn.shut, "a half-close before the answer follows its bytes");
	relay_tcp_stop(&r, f);
	teardown("half-closed early");
}

/** a server's backlog has room for who asks alone, whatever the order in which others came */
static void one_dial_at_a_time(void)
{
	struct relay_peer other = a_peer(7010);
	struct flow *f[5];

	setup();
	for (uint16_t i = 0; i < 4; i++) {
		f[i] = came_in((uint16_t)(7000 + i));
		relay_tcp_owned(&r, f[i]);
	}
	tap_is(dials, 1, "four peers of one server: one is on its way");
	other.app.port = 81;
	relay_tcp_accepted(&r, &other, 99);
	f[4] = flow_find(r.flows, IPPROTO_TCP, &other.app, &other.net);
	relay_tcp_owned(&r, f[4]);
	tap_is(dials, 2, "another server has its own");
	conn.room = 1000;
	relay_tcp_engine(&r, f[0], ENGINE_EV_OPEN);
	tap_is(dials, 3, "the second goes when the first was answered");
	r.now += 19 * NSEC_PER_MSEC;
	relay_tcp_resume(&r);
	tap_is(dials, 3, "the third waits for an answer to the second");
	r.now += NSEC_PER_MSEC;
	relay_tcp_resume(&r);
	tap_is(dials, 4, "... but no longer than 20 ms");
	relay_tcp_engine(&r, f[1], ENGINE_EV_OPEN);
	tap_is(dials, 4, "whose answer came late holds up nobody, and lets nobody through");
	relay_tcp_stop(&r, f[3]);
	relay_tcp_stop(&r, f[2]);
	r.now += 20 * NSEC_PER_MSEC;
	relay_tcp_resume(&r);
	tap_is(dials, 4, "who has gone while waiting is not dialled");
	f[2] = came_in(7004);
	relay_tcp_owned(&r, f[2]);
	tap_is(dials, 5, "and one that ended unanswered is nobody's turn");
	flow_each(r.flows, stop_one, NULL);
	conn_live = false; /* all have shared it */
	teardown("one at a time");
}

static void peers_get_half_of_the_table(void)
{
	unsigned n;

	setup();
	for (n = 0; came_in_open((uint16_t)(6000 + n)); n++)
		sock.reset = false;
	tap_ok(n == 8 && sock.reset && notices, "the ninth of 16 is reset, and said");
	tap_ok(opened() != NULL, "the program still gets out");
	flow_each(r.flows, stop_one, NULL);
	teardown("half the table");
}

static void a_client_is_no_resolver(void)
{
	static const uint8_t answer[] = {0, 5, 'h', 'e', 'l', 'l', 'o'};
	struct flow *f;

	setup();
	f = came_in_open(53);
	conn.room = 1000;
	memcpy(sock.in, answer, sizeof(answer));
	sock.in_len = sizeof(answer);
	relay_tcp_net(&r, f, EPOLLIN);
	tap_ok(conn.tx_len == sizeof(answer) && !learnt, "bytes from port 53 teach no names");
	relay_tcp_stop(&r, f);
	teardown("port 53");
}

int main(void)
{
	a_peer_comes_in();
	a_refusal_inside_is_a_reset_outside();
	a_peer_that_leaves_early();
	one_dial_at_a_time();
	peers_get_half_of_the_table();
	a_client_is_no_resolver();
	syn_waits_for_connect_and_owner();
	refusals_reach_the_program();
	a_program_that_gives_up_resets_the_peer();
	strays_are_reset();
	half_close_goes_each_way_alone();
	bytes_outlive_the_programs_side();
	resets_cross();
	a_reset_waits_for_the_reader();
	the_oldest_silence_makes_room();
	a_slow_reader_keeps_its_bytes();
	idle_connections_stay();
	back_pressure_holds_both_ways();
	memory_of_all_flows_is_bounded();
	keepalive_is_the_peers_answer();
	for (unsigned seed = 1; seed <= 20; seed++)
		random_life(seed);
	what_a_hook_holds_is_bounded();
	names_are_learnt_from_answers();
	a_hook_may_block();
	rules_say_what_becomes_of_a_syn();
	held_flows_wait_for_an_answer();
	a_quota_cuts_at_the_byte();
	gated_bytes_are_seen_but_do_not_pass();
	for (unsigned seed = 1; seed <= 20; seed++)
		random_edits(seed);
	a_hook_may_answer();
	return tap_done();
}
