/* SPDX-License-Identifier: MIT */
/*
 * hostile: a peer with a TCP/IP of its own behind a TUN device, for what a kernel would never do.
 *
 *   hostile        makes the device "hostile" and routes 10.76.0.0/24 and fd76::/64 to it
 *
 * It answers on every address that is routed to it; the port (wire.h) chooses the behaviour.
 * Nothing is retransmitted: the path of the tests loses nothing, and a peer that does not try
 * again shows whoever loses bytes. Prints "ready" when packets can come.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#include "wire.h"

#define F_FIN 1
#define F_SYN 2
#define F_RST 4
#define F_PSH 8
#define F_ACK 16

#define CONNS_MAX 512
#define WINDOW	  60000
#define NARROW	  4000 /* what HOSTILE_ZERO_WINDOW takes before it closes its window */

/* One packet as read, in host byte order; both ends as (v4: 4, v6: 16) address bytes. */
struct seg {
	bool v6;
	uint8_t peer[16], us[16];
	uint8_t proto;
	const uint8_t *l4, *ip;
	size_t l4len, iplen;
	uint16_t peer_port, us_port;
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *data;
	size_t len;
};

struct conn {
	bool used, v6, open, closed, peer_fin;
	uint8_t peer[16], us[16];
	uint16_t peer_port, us_port;
	uint32_t snd, rcv; /* next sequence numbers */
	uint32_t window;
	unsigned syns, round, step;
	size_t count;
	uint32_t sum;
	uint64_t due; /* ms; 0 = no step waits */
	uint64_t born;
};

static struct conn conns[CONNS_MAX];
static int tun_fd;
static unsigned heard; /* by the last connection to HOSTILE_DIES */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- packets out ---------------------------------------------------------------------- */

static uint32_t sum16(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *b = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	if (len & 1)
		sum += (uint32_t)b[len - 1] << 8;
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static size_t build_ip(uint8_t *p, bool v6, const uint8_t *from, const uint8_t *to, uint8_t proto,
		       size_t len)
{
	memset(p, 0, 40);
	if (v6) {
		p[0] = 0x60;
		put16(p + 4, (unsigned)len);
		p[6] = proto;
		p[7] = 64;
		memcpy(p + 8, from, 16);
		memcpy(p + 24, to, 16);
		return 40;
	}
	p[0] = 0x45;
	put16(p + 2, (unsigned)(len + 20));
	p[8] = 64;
	p[9] = proto;
	memcpy(p + 12, from, 4);
	memcpy(p + 16, to, 4);
	put16(p + 10, sum_fold(sum16(0, p, 20)));
	return 20;
}

static uint16_t l4_sum(bool v6, const uint8_t *from, const uint8_t *to, uint8_t proto,
		       const uint8_t *l4, size_t len)
{
	size_t a = v6 ? 16 : 4;
	uint32_t sum = sum16(sum16(proto + (uint32_t)len, from, a), to, a);

	return sum_fold(sum16(sum, l4, len));
}

static void tun_write(const uint8_t *p, size_t len)
{
	if (write(tun_fd, p, len) < 0 && errno != EAGAIN && errno != EIO)
		fail("write tun");
}

struct out {
	uint32_t seq;
	uint8_t flags;
	const uint8_t *data;
	size_t len;
	bool bad_sum;
};

static void emit(const struct conn *c, const struct out *o)
{
	uint8_t p[2048];
	size_t opt = o->flags & F_SYN ? 4 : 0;
	size_t ip = build_ip(p, c->v6, c->us, c->peer, IPPROTO_TCP, 20 + opt + o->len);
	uint8_t *t = p + ip;

	memset(t, 0, 24);
	put16(t, c->us_port);
	put16(t + 2, c->peer_port);
	put32(t + 4, o->seq);
	put32(t + 8, o->flags & F_ACK ? c->rcv : 0);
	t[12] = (uint8_t)((20 + opt) / 4 << 4);
	t[13] = o->flags;
	put16(t + 14, c->window);
	if (opt)
		memcpy(t + 20, "\x02\x04\x05\x50", 4); /* MSS 1360 */
	if (o->len)
		memcpy(t + 20 + opt, o->data, o->len);
	put16(t + 16, l4_sum(c->v6, c->us, c->peer, IPPROTO_TCP, t, 20 + opt + o->len));
	if (o->bad_sum)
		t[16] ^= 0x55;
	tun_write(p, ip + 20 + opt + o->len);
}

static void emit_flags(const struct conn *c, uint8_t flags)
{
	emit(c, &(struct out){.seq = c->snd, .flags = flags});
}

static void emit_at(const struct conn *c, const uint8_t *data, size_t off, size_t len)
{
	emit(c, &(struct out){c->snd + (uint32_t)off, F_ACK | F_PSH, data + off, len, false});
}

static void send_fin(struct conn *c)
{
	emit_flags(c, F_FIN | F_ACK);
	c->snd++;
	c->closed = true;
}

static void send_text(struct conn *c, const char *text)
{
	emit_at(c, (const uint8_t *)text, 0, strlen(text));
	c->snd += (uint32_t)strlen(text);
}

/* --- how an echo can be cut --------------------------------------------------------------- */

static const size_t cuts[] = {1, 2, 3, 5, 7, 11, 100, 1, 333, 13};

static size_t cut_at(size_t i, size_t off, size_t len)
{
	size_t n = cuts[i % (sizeof(cuts) / sizeof(cuts[0]))];

	return n < len - off ? n : len - off;
}

static void echo_in_order(const struct conn *c, const uint8_t *d, size_t len)
{
	for (size_t i = 0, off = 0; off < len; off += cut_at(i++, off, len))
		emit_at(c, d, off, cut_at(i, off, len));
}

static void echo_reversed(const struct conn *c, const uint8_t *d, size_t len)
{
	for (size_t end = len, n; end; end -= n) {
		n = end < 97 ? end : 97;
		emit_at(c, d, end - n, n);
	}
}

static void echo_doubled(const struct conn *c, const uint8_t *d, size_t len)
{
	for (size_t i = 0, off = 0; off < len; off += cut_at(i++, off, len)) {
		emit_at(c, d, off, cut_at(i, off, len));
		emit_at(c, d, off, cut_at(i, off, len));
	}
}

static void echo_overlapping(const struct conn *c, const uint8_t *d, size_t len)
{
	for (size_t off = 0; off < len; off += 50) {
		size_t from = off < 30 ? 0 : off - 30, n = len - from < 80 ? len - from : 80;

		emit_at(c, d, from, n);
	}
}

/* lies - segments that a sound receiver throws away: bad checksum, old, far in the future */
static void echo_with_lies(const struct conn *c, const uint8_t *d, size_t len)
{
	static const uint8_t lie[64] = "lies";

	emit(c, &(struct out){c->snd, F_ACK | F_PSH, lie, sizeof(lie), true});
	emit(c, &(struct out){c->snd - 100000, F_ACK | F_PSH, lie, sizeof(lie), false});
	emit(c, &(struct out){c->snd + 100000000, F_ACK | F_PSH, lie, sizeof(lie), false});
	echo_in_order(c, d, len);
}

static void echo(struct conn *c, const uint8_t *d, size_t len)
{
	static void (*const ways[])(const struct conn *, const uint8_t *, size_t) = {
		echo_in_order, echo_reversed, echo_doubled, echo_overlapping, echo_with_lies,
	};

	ways[c->round++ % (sizeof(ways) / sizeof(ways[0]))](c, d, len);
	c->snd += (uint32_t)len;
}

/* --- connections ---------------------------------------------------------------------------- */

static struct conn *conn_find(const struct seg *s)
{
	size_t a = s->v6 ? 16 : 4;

	for (struct conn *c = conns; c < conns + CONNS_MAX; c++)
		if (c->used && c->v6 == s->v6 && c->peer_port == s->peer_port &&
		    c->us_port == s->us_port && !memcmp(c->peer, s->peer, a) &&
		    !memcmp(c->us, s->us, a))
			return c;
	return NULL;
}

/* conn_new - a free entry, or the oldest one */
static struct conn *conn_new(const struct seg *s)
{
	struct conn *c = conns;

	for (struct conn *i = conns; i < conns + CONNS_MAX && c->used; i++)
		if (!i->used || i->born < c->born)
			c = i;
	*c = (struct conn){.used = true,
			   .v6 = s->v6,
			   .peer_port = s->peer_port,
			   .us_port = s->us_port,
			   .window = WINDOW,
			   .sum = 1,
			   .born = now_ms()};
	memcpy(c->peer, s->peer, 16);
	memcpy(c->us, s->us, 16);
	return c;
}

static void answer_syn(struct conn *c, const struct seg *s)
{
	c->rcv = s->seq + 1;
	c->snd = 0x10000u * (unsigned)rand();
	emit_flags(c, F_SYN | F_ACK);
	c->snd++;
	if (c->us_port == HOSTILE_DIES)
		heard = 0;
	if (c->us_port == HOSTILE_ZERO_WINDOW)
		c->window = NARROW;
}

static void refuse(const struct seg *s)
{
	struct conn c = {.v6 = s->v6, .peer_port = s->peer_port, .us_port = s->us_port};

	memcpy(c.peer, s->peer, 16);
	memcpy(c.us, s->us, 16);
	c.rcv = s->seq + (uint32_t)s->len + !!(s->flags & F_SYN) + !!(s->flags & F_FIN);
	c.snd = s->flags & F_ACK ? s->ack : 0;
	emit_flags(&c, s->flags & F_ACK ? F_RST : F_RST | F_ACK);
}

static void on_syn(const struct seg *s)
{
	struct conn *c = conn_find(s);
	bool again = c && !c->open && c->rcv == s->seq + 1;

	if (s->us_port == HOSTILE_SILENT || again)
		return;
	if (s->us_port == HOSTILE_REFUSE || s->us_port < HOSTILE_ECHO ||
	    s->us_port >= HOSTILE_PORT_END) {
		refuse(s);
		return;
	}
	if (!c || s->us_port != HOSTILE_LATE || c->open)
		c = c ? (c->used = false, conn_new(s)) : conn_new(s);
	if (s->us_port == HOSTILE_LATE && ++c->syns < 3)
		return;
	answer_syn(c, s);
	if (s->us_port == HOSTILE_RST_AFTER_SYNACK) {
		emit_flags(c, F_RST | F_ACK);
		c->used = false;
	}
}

/* on_open - the handshake is complete */
static void on_open(struct conn *c)
{
	uint8_t d[2000];
	char text[32];

	c->open = true;
	wire_fill(d, sizeof(d), 0);
	switch (c->us_port) {
	case HOSTILE_HEARD:
		snprintf(text, sizeof(text), "%u\n", heard);
		send_text(c, text);
		send_fin(c);
		break;
	case HOSTILE_RST_MIDWAY:
		emit_at(c, d, 0, 700);
		emit_at(c, d, 700, 300);
		c->snd += 1000;
		c->due = now_ms() + 150;
		break;
	case HOSTILE_FIN_FIRST:
		emit(c, &(struct out){.seq = c->snd + 2000, .flags = F_FIN | F_ACK});
		emit_at(c, d, 1000, 1000);
		c->due = now_ms() + 50;
		break;
	case HOSTILE_BLIND_RST:
		emit(c, &(struct out){.seq = c->snd + 100, .flags = F_RST});
		emit(c, &(struct out){.seq = c->snd - 1000, .flags = F_RST});
		c->due = now_ms() + 100;
		break;
	}
}

/* on_due - the second step of what on_open() or on_data() began */
static void on_due(struct conn *c)
{
	uint8_t d[1000];

	c->due = 0;
	wire_fill(d, sizeof(d), 0);
	switch (c->us_port) {
	case HOSTILE_RST_MIDWAY:
		emit_flags(c, F_RST | F_ACK);
		c->used = false;
		break;
	case HOSTILE_FIN_FIRST:
		emit_at(c, d, 0, 1000);
		c->snd += 2001;
		c->closed = true;
		break;
	case HOSTILE_BLIND_RST:
		send_text(c, "alive");
		send_fin(c);
		break;
	case HOSTILE_SIMCLOSE:
		c->rcv++; /* only now its FIN is acknowledged */
		emit_flags(c, F_ACK);
		break;
	case HOSTILE_ZERO_WINDOW:
		c->window = ++c->step < 2 ? NARROW : WINDOW;
		emit_flags(c, F_ACK);
		break;
	}
}

static void take(struct conn *c, const uint8_t *data, size_t len)
{
	c->rcv += (uint32_t)len;
	c->sum = wire_sum(c->sum, data, len);
	c->count += len;
	if (c->us_port != HOSTILE_ZERO_WINDOW || c->step >= 2)
		return;
	c->window = c->window > len ? c->window - (uint32_t)len : 0;
	if (!c->window)
		c->due = now_ms() + 1200;
}

static void on_data(struct conn *c, const uint8_t *data, size_t len)
{
	if (len > c->window) /* beyond the window, as a window probe may be */
		len = c->window;
	take(c, data, len);
	if (len && (c->us_port == HOSTILE_ECHO || c->us_port == HOSTILE_LATE))
		echo(c, data, len);
	else if (len && c->us_port == HOSTILE_SIMCLOSE)
		send_text(c, "x");
	else
		emit_flags(c, F_ACK);
}

static void on_fin(struct conn *c)
{
	char text[64];

	if (c->peer_fin)
		return;
	c->peer_fin = true;
	if (c->us_port == HOSTILE_SIMCLOSE) {
		send_fin(c);
		c->due = now_ms() + 50;
		return;
	}
	c->rcv++;
	if (c->us_port == HOSTILE_ZERO_WINDOW) {
		snprintf(text, sizeof(text), "%zu %08x\n", c->count, c->sum);
		send_text(c, text);
	}
	if (c->closed)
		emit_flags(c, F_ACK);
	else
		send_fin(c);
}

static void on_segment(struct conn *c, const struct seg *s)
{
	uint32_t old = c->rcv - s->seq; /* bytes of it that are known already */

	if (s->flags & F_RST) {
		c->used = false;
		return;
	}
	if (!c->open)
		on_open(c);
	else if (c->us_port == HOSTILE_DIES)
		heard += !s->len;
	if (c->us_port == HOSTILE_DIES)
		return;
	if (s->len && old < s->len)
		on_data(c, s->data + old, s->len - old);
	else if (s->len || (int32_t)old > 0) /* repeated, a keepalive or a window probe */
		emit_flags(c, F_ACK);
	if ((s->flags & F_FIN) && s->seq + (uint32_t)s->len == c->rcv)
		on_fin(c);
}

static void on_tcp_packet(struct seg *s)
{
	size_t hdr = s->l4len >= 20 ? (size_t)(s->l4[12] >> 4) * 4 : 0;
	struct conn *c;

	if (hdr < 20 || hdr > s->l4len)
		return;
	s->seq = get32(s->l4 + 4);
	s->ack = get32(s->l4 + 8);
	s->flags = s->l4[13];
	s->data = s->l4 + hdr;
	s->len = s->l4len - hdr;
	if ((s->flags & (F_SYN | F_ACK)) == F_SYN) {
		on_syn(s);
		return;
	}
	c = conn_find(s);
	if (c)
		on_segment(c, s);
	else if (!(s->flags & F_RST) && s->us_port != HOSTILE_DIES)
		refuse(s);
}

/* --- UDP: the error that the port names --------------------------------------------------------
 */

struct icmp_answer {
	uint8_t type, code;
	uint32_t info;
	bool router; /* says the router .99, not the destination */
};

static bool icmp_for_port(unsigned port, bool v6, struct icmp_answer *e)
{
	*e = (struct icmp_answer){.router = true};
	if (port >= HOSTILE_UNREACH && port < HOSTILE_EXCEEDED)
		*e = (struct icmp_answer){v6 ? 1 : 3, (uint8_t)(port - HOSTILE_UNREACH), 0, false};
	else if (port == HOSTILE_EXCEEDED)
		e->type = v6 ? 3 : 11;
	else if (port == HOSTILE_PARAMETER)
		e->type = v6 ? 4 : 12;
	else if (port == HOSTILE_TOO_BIG)
		*e = (struct icmp_answer){v6 ? 2 : 3, v6 ? 0 : 4, 1300, true};
	else
		return false;
	return true;
}

static void on_udp_packet(const struct seg *s)
{
	size_t quote = s->iplen < 548 ? s->iplen : 548, ip;
	uint8_t p[700], from[16], proto = s->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	struct icmp_answer e;

	if (!icmp_for_port(s->us_port, s->v6, &e))
		return;
	memcpy(from, s->us, 16);
	if (e.router)
		from[s->v6 ? 15 : 3] = 0x63;
	ip = build_ip(p, s->v6, from, s->peer, proto, 8 + quote);
	memset(p + ip, 0, 8);
	p[ip] = e.type;
	p[ip + 1] = e.code;
	put32(p + ip + 4, e.info);
	memcpy(p + ip + 8, s->ip, quote);
	put16(p + ip + 2, s->v6 ? l4_sum(true, from, s->peer, proto, p + ip, 8 + quote)
				: sum_fold(sum16(0, p + ip, 8 + quote)));
	tun_write(p, ip + 8 + quote);
}

/* --- packets in ------------------------------------------------------------------------------- */

static bool seg_parse(struct seg *s, const uint8_t *p, size_t len)
{
	size_t hdr;

	*s = (struct seg){.ip = p, .iplen = len, .v6 = len && p[0] >> 4 == 6};
	hdr = s->v6 ? 40 : (size_t)(len ? p[0] & 15 : 0) * 4;
	if (hdr < 20 || len < hdr + 8)
		return false;
	memcpy(s->peer, p + (s->v6 ? 8 : 12), s->v6 ? 16 : 4);
	memcpy(s->us, p + (s->v6 ? 24 : 16), s->v6 ? 16 : 4);
	s->proto = p[s->v6 ? 6 : 9];
	s->l4 = p + hdr;
	s->l4len = len - hdr;
	s->peer_port = (uint16_t)get16(s->l4);
	s->us_port = (uint16_t)get16(s->l4 + 2);
	return s->v6 || !(get16(p + 6) & 0x3fff); /* no fragments here */
}

static void on_readable(void)
{
	static uint8_t p[65536];
	ssize_t n = read(tun_fd, p, sizeof(p));
	struct seg s;

	if (n < 0 || !seg_parse(&s, p, (size_t)n))
		return;
	if (s.proto == IPPROTO_TCP)
		on_tcp_packet(&s);
	else if (s.proto == IPPROTO_UDP)
		on_udp_packet(&s);
}

static void run_due(void)
{
	uint64_t now = now_ms();

	for (struct conn *c = conns; c < conns + CONNS_MAX; c++)
		if (c->used && c->due && c->due <= now)
			on_due(c);
}

static void tun_open(void)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};

	strcpy(r.ifr_name, "hostile");
	tun_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tun_fd < 0 || ioctl(tun_fd, TUNSETIFF, &r))
		fail("/dev/net/tun");
	if (system("ip link set hostile up && ip route add 10.76.0.0/24 dev hostile && "
		   "ip route add fd76::/64 dev hostile"))
		fail("ip");
}

int main(void)
{
	tun_open();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd p = {.fd = tun_fd, .events = POLLIN};

		if (poll(&p, 1, 10) > 0)
			on_readable();
		run_due();
	}
}
