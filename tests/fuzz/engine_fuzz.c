/* SPDX-License-Identifier: MIT */
/*
 * Random segments near the right ones, reads, writes, closes, aborts, refused
 * and lost packets and timers, against the real lwIP: nothing may abort, and what the
 * engine promises must hold after every step.
 * With libFuzzer: LLVMFuzzerTestOneInput. Alone: engine_fuzz [STEPS [SEED]]; every
 * fourth seed runs without GSO.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "stack.h"

#define CONNS	    4
#define SEND_BUFFER (1 << 18)
#define MEMORY_MAX  (CONNS * (4 * SEND_BUFFER + (8 << 20)))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- where decisions come from: the fuzzer's bytes, or a generator ------------------- */

static const uint8_t *input;
static size_t input_left;
static uint64_t rng;

static uint32_t rnd(void)
{
	uint32_t v = 0;

	if (input) {
		for (int i = 0; i < 2 && input_left; i++, input_left--)
			v = v << 8 | *input++;
		return v;
	}
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 16);
}

static uint32_t below(uint32_t n)
{
	return rnd() % n;
}

/* ---- a program that answers what it likes ------------------------------------------------ */

struct conn {
	struct engine_conn *c;
	bool over, used;
	uint32_t seq, ack; /* nearly right: the engine's last ACK, and the end of what it sent */
	uint16_t port;
	uint8_t scale;
};

static struct conn conns[CONNS];
static unsigned long dialled, opened, reset, closed, got_data, got_fin,
	segments;     /* what was reached */
static int sink_mode; /* 0 takes, 1 refuses now and then, 2 always refuses */

static struct conn *conn_of_port(uint16_t port)
{
	for (int i = 0; i < CONNS; i++)
		if (conns[i].port == port)
			return &conns[i];
	return NULL;
}

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "engine_fuzz: %s\n", what);
	abort();
}

static int sink_write(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov, int n)
{
	static uint8_t pkt[70000];
	size_t len = 0, iphl;
	const uint8_t *tcp;
	struct conn *c;

	(void)ctx;
	for (int i = 0; i < n; i++) {
		memcpy(pkt + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	check(len <= 65535, "packet too long");
	iphl = pkt[0] >> 4 == 6 ? 40 : 20;
	tcp = pkt + iphl;
	check(!vh->gso_type || vh->gso_size, "GSO without a size");
	check(iphl + 20 <= len && vh->csum_start == iphl, "header out of place");
	c = conn_of_port(get_be16(tcp + 2));
	if (sink_mode == 2 || (sink_mode == 1 && !below(4)))
		return -11;
	if (!c)
		return 0; /* of the self-test */
	if (tcp[13] & TCPF_ACK)
		c->seq = get_be32(tcp + 8);
	c->ack = get_be32(tcp + 4) + (uint32_t)(len - iphl - (size_t)(tcp[12] >> 4) * 4) +
		 !!(tcp[13] & (TCPF_SYN | TCPF_FIN));
	return 0;
}

static struct packet forge(const struct conn *c, struct pktbuf *b, uint8_t flags, uint32_t seq,
			   uint32_t ack, size_t len)
{
	static const uint8_t a4[4] = {10, 0, 0, 1}, b4[4] = {10, 0, 0, 2};
	static const uint8_t a6[16] = {0x20, [15] = 1}, b6[16] = {0x20, [15] = 2};
	bool v6 = c->port & 1;
	size_t iphl = v6 ? 40 : 20, optlen = below(3) ? 0 : below(11) * 4;
	struct packet p = {
		.data = b->data,
		.version = v6 ? 6 : 4,
		.proto = IPPROTO_TCP,
		.l4 = (uint16_t)iphl,
		.payload = (uint16_t)(iphl + 20 + optlen),
		.app = {v6 ? addr_from_v6(a6) : addr_from_v4(a4), c->port},
		.net = {v6 ? addr_from_v6(b6) : addr_from_v4(b4), 80},
		.tcp = {.seq = seq, .ack = ack, .flags = flags, .hdrlen = (uint8_t)(20 + optlen)},
	};

	p.len = MIN(p.payload + len, (size_t)65535);
	p.l4len = (uint16_t)(p.len - iphl);
	for (size_t i = 0; i < optlen; i++)
		b->data[iphl + 20 + i] = (uint8_t)(below(2) ? below(10) : rnd());
	switch (below(6)) {
	case 0:
		p.tcp.wnd = 0;
		break;
	case 1:
		p.tcp.wnd = (uint16_t)below(20);
		break;
	case 2:
		p.tcp.wnd = (uint16_t)(1 << below(16));
		break;
	default:
		p.tcp.wnd = (uint16_t)rnd();
	}
	return p;
}

/** near - mostly @v itself, sometimes off by little, sometimes by anything */
static uint32_t near(uint32_t v)
{
	switch (below(8)) {
	case 0:
		return v + below(5) - 2;
	case 1:
		return v + below(70000) - 35000;
	case 2:
		return below(4) ? v : rnd() * 65536 + rnd();
	default:
		return v;
	}
}

static size_t some_length(void)
{
	switch (below(6)) {
	case 0:
		return 1 + below(3);
	case 1:
		return below(1460);
	case 2:
		return 1460;
	case 3:
		return below(65535);
	default:
		return 0;
	}
}

static uint8_t some_flags(void)
{
	switch (below(24)) {
	case 0:
		return (uint8_t)rnd();
	case 1:
		return TCPF_ACK | TCPF_FIN;
	case 2:
		return below(8) ? TCPF_ACK : TCPF_RST;
	case 3:
		return below(2) ? TCPF_SYN : TCPF_SYN | TCPF_ACK;
	case 4:
		return TCPF_ACK | TCPF_URG | TCPF_PSH;
	default:
		return TCPF_ACK;
	}
}

static void conn_drop(struct conn *c)
{
	if (below(2) && !c->over)
		engine_abort(c->c);
	engine_free(c->c);
	c->c = NULL;
	c->used = c->over = false;
}

static void note(struct conn *c, unsigned ev)
{
	check(!(ev & ENGINE_EV_RESET) || engine_pending(c->c) == 0, "bytes after a reset");
	opened += !!(ev & ENGINE_EV_OPEN);
	reset += !!(ev & ENGINE_EV_RESET);
	closed += !!(ev & ENGINE_EV_CLOSED);
	got_data += !!(ev & ENGINE_EV_DATA);
	got_fin += !!(ev & ENGINE_EV_FIN);
	if (ev & (ENGINE_EV_RESET | ENGINE_EV_CLOSED))
		c->over = true;
	check(!c->over || engine_room(c->c) == 0, "room in a connection that is over");
}

static void step_open(struct conn *c)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p;

	c->seq = rnd() * 65536 + rnd();
	p = forge(c, b, TCPF_SYN, c->seq, 0, some_length());
	c->seq++;
	c->used = engine_accept(&p, (uint64_t)(c - conns), &c->c) == 0;
	pktbuf_put(b);
	if (c->used && below(8)) { /* complete the handshake, else leave it half open */
		b = pktbuf_get();
		p = forge(c, b, TCPF_ACK, c->seq, c->ack, 0);
		note(c, engine_input(c->c, &p, b));
		pktbuf_put(b);
	}
}

/** step_dial - the other direction; the answer may be near the right one, or never come */
static void step_dial(struct conn *c)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p = forge(c, b, TCPF_SYN | TCPF_ACK, 0, 0, 0);

	c->used = engine_connect(&p.app, &p.net, (uint64_t)(c - conns), &c->c) == 0;
	dialled += c->used;
	if (c->used && below(4)) {
		c->seq = rnd() * 65536 + rnd();
		p = forge(c, b, below(8) ? TCPF_SYN | TCPF_ACK : some_flags(), c->seq,
			  below(4) ? c->ack : near(c->ack), some_length());
		c->seq++;
		note(c, engine_input(c->c, &p, b));
	}
	pktbuf_put(b);
}

static void step_segment(struct conn *c)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p = forge(c, b, some_flags(), near(c->seq), near(c->ack), some_length());

	segments++;
	note(c, engine_input(c->c, &p, b));
	pktbuf_put(b);
}

static void step_write(struct conn *c)
{
	static uint8_t data[200000];
	size_t room = engine_room(c->c), len = below(3) ? 1 + some_length() : below(sizeof(data));
	struct pktbuf *b;
	ssize_t n;

	if (below(2)) {
		n = engine_write(c->c, data, len);
	} else {
		b = pktbuf_get();
		len = MIN(len, (size_t)PKTBUF_SIZE);
		n = engine_write_buf(c->c, b, b->data, len);
		pktbuf_put(b);
	}
	check(n < 0 || (size_t)n == MIN(room, len) || (size_t)n < len,
	      "took more than there was room");
	check(n <= 0 || (size_t)n <= room, "took more than the room");
	check(engine_unacked(c->c) <= SEND_BUFFER, "more under way than allowed");
}

static void step_read(struct conn *c)
{
	struct iovec iov[64];
	size_t sum = 0;
	int n = engine_peek(c->c, iov, 64);

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	check(sum <= engine_pending(c->c), "peek shows more than pending");
	check(engine_pending(c->c) <= 4 * 65535, "more queued than the window");
	if (sum)
		engine_consume(c->c, below(3) ? sum : 1 + below((uint32_t)sum));
}

static void step_tick(void)
{
	uint64_t cookie;
	unsigned ev;

	for (uint32_t n = 1 + below(12); n; n--) {
		engine_tick();
		while (engine_next(&cookie, &ev))
			note(&conns[cookie], ev);
	}
}

static void step(void)
{
	struct conn *c = &conns[below(CONNS)];

	if (!c->used) {
		if (below(3))
			step_open(c);
		else
			step_dial(c);
		return;
	}
	switch (below(40)) {
	case 0 ... 5:
		step_write(c);
		break;
	case 6 ... 11:
		step_read(c);
		break;
	case 12:
	case 13:
		step_tick();
		break;
	case 14:
		sink_mode = below(4) ? 0 : (int)below(3);
		break;
	case 15:
		if (!below(8))
			note(c, engine_shutdown(c->c));
		break;
	case 16:
		if (c->over || !below(30))
			conn_drop(c);
		break;
	case 17:
		engine_settle();
		break;
	default:
		step_segment(c);
	}
	check(engine_memory() < MEMORY_MAX, "memory is not bounded");
}

static void start(bool gso)
{
	static const struct stack_sink sink = {.write = sink_write};
	struct engine_config cfg = {&sink, gso, 1500, SEND_BUFFER};
	static bool started;

	if (started)
		return;
	started = gso;
	for (int i = 0; i < CONNS; i++)
		conns[i].port = (uint16_t)(1000 + i);
	check(engine_init(&cfg) == 0, "engine_init");
}

static void finish(void)
{
	for (int i = 0; i < CONNS; i++)
		if (conns[i].used)
			conn_drop(&conns[i]);
	check(engine_memory() == 0, "memory leaked");
	check(pktbuf_live() == 0, "packet buffers leaked");
	sink_mode = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	start(true);
	input = data;
	input_left = size;
	while (input_left)
		step();
	finish();
	return 0;
}

#ifndef FUZZ_LIBFUZZER
int main(int argc, char **argv)
{
	unsigned long steps = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000000;
	unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

	rng = seed * 0x9e3779b97f4a7c15u + 1;
	start(seed % 4 != 0);
	for (unsigned long i = 1; i <= steps; i++) {
		step();
		if (i % 100000 == 0)
			finish();
	}
	finish();
	pktbuf_drain();
	printf("# %lu segments: dialled %lu, opened %lu, data %lu, FIN %lu, closed %lu, reset %lu\n",
	       segments, dialled, opened, got_data, got_fin, closed, reset);
	printf("ok 1 - %lu random steps, seed %llu\n1..1\n", steps, seed);
	return 0;
}
#endif
