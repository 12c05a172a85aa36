/* SPDX-License-Identifier: MIT */
/*
 * dgram_world: the world around relay_udp.c and relay_icmp.c, faked: sockets
 * with a script, a log of what went out on either side, hooks that go by the first
 * byte of a payload. The flow table, timers and relay.c are the real ones.
 */
#ifndef WEIR_TESTS_DGRAM_WORLD_H
#define WEIR_TESTS_DGRAM_WORLD_H

#include "relay_dgram.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errqueue.h>

#include "../lib/tap.h"
#include "base/util.h"
#include "fake_judge.h"

#define LOG_MAX 1024

/* What was sent outside. */
struct sent {
	int fd;
	struct addrport peer;
	uint8_t ttl, tos;
	bool df;
	size_t len;
	uint8_t first; /* byte of the payload */
};

/* What was written to the program: a datagram (or several), or an ICMP error. */
struct written {
	struct addrport from, app;
	uint8_t ttl, tos;
	uint16_t gso_size, ident, seqno;
	size_t len;
	uint8_t data[256];
};

struct error_out {
	struct icmp_error e;
	struct addrport app, net;
	uint8_t proto;
	uint16_t ident;
	size_t len;
};

static struct {
	struct relay r;
	struct config cfg;
	struct sent sent[LOG_MAX];
	struct written written[LOG_MAX];
	struct error_out errors[LOG_MAX];
	int n_sent, n_written, n_errors, n_send_calls;
	int script[16], n_script; /* results of the next sends: <0 error, 0 all */
	struct netsock_dgram inbox[256];
	int inbox_first, inbox_last;
	struct netsock_dgram_error queue[16];
	int queue_first, queue_last;
	bool gate_closed;
	int next_fd, open_error, n_opened, n_closed;
	uint16_t opened_port;
	uint64_t token;
	int n_rearm;
	bool rearm_out;
	int hook_open, n_hooked, n_hook_up, resumed;
	bool hook_late_block;
	struct hook_dgram taken;
	char made[8];
	int n_asked, n_ended, n_opened_flows, n_learnt, n_notices;
	char notice[160]; /* the last one */
	struct flow *asked[LOG_MAX];
	uint8_t ended_reason;
	int ended_errno;
	uint64_t ended_up, ended_down;
} w;

/* --- fakes ----------------------------------------------------------------------- */

static int fake_open(uint16_t port, uint64_t token)
{
	if (w.open_error)
		return w.open_error;
	w.n_opened++;
	w.opened_port = port;
	w.token = token;
	return w.next_fd++;
}

int netsock_udp_open(struct netsock_set *s, bool v4, uint16_t port, uint64_t token)
{
	(void)s;
	(void)v4;
	return fake_open(port, token);
}

int netsock_udp_adopt(struct netsock_set *s, int fd, bool v4, uint64_t token)
{
	(void)s;
	(void)fd;
	(void)v4;
	w.token = token;
	w.n_opened++;
	return w.open_error;
}

int netsock_icmp_open(struct netsock_set *s, bool v4, uint16_t *ident, uint64_t token)
{
	(void)s;
	(void)v4;
	return fake_open(*ident, token);
}

int netsock_dgram_rearm(struct netsock_set *s, int fd, uint64_t token, bool out)
{
	(void)s;
	(void)fd;
	(void)token;
	w.n_rearm++;
	w.rearm_out = out;
	return 0;
}

void netsock_close(int *fd)
{
	if (*fd >= 0)
		w.n_closed++;
	*fd = -1;
}

int netsock_dgram_send(int fd, bool v4, const struct netsock_dgram *d, int n)
{
	int rc = w.n_script ? w.script[0] : 0;

	w.n_send_calls++;
	if (w.n_script)
		memmove(w.script, w.script + 1, (size_t)--w.n_script * sizeof(w.script[0]));
	if (rc < 0)
		return rc;
	for (int i = 0; i < n; i++) {
		weir_assert(addr_is_v4(&d[i].peer.addr) == v4 && w.n_sent < LOG_MAX);
		w.sent[w.n_sent++] = (struct sent){
			.fd = fd,
			.peer = d[i].peer,
			.ttl = d[i].ttl,
			.tos = d[i].tos,
			.df = d[i].df,
			.len = d[i].len,
			.first = d[i].len ? d[i].data[0] : 0,
		};
	}
	return n;
}

int netsock_dgram_recv(int fd, bool v4, struct netsock_dgram *d, int n, uint8_t *buf, size_t slot)
{
	int got = 0;

	(void)fd;
	(void)v4;
	n = MIN(n, NETSOCK_DGRAM_BATCH);
	for (; got < n && w.inbox_first < w.inbox_last; got++) {
		d[got] = w.inbox[w.inbox_first++];
		memcpy(buf + (size_t)got * slot, d[got].data, d[got].len);
		d[got].data = buf + (size_t)got * slot;
	}
	return got ? got : -EAGAIN;
}

int netsock_dgram_error(int fd, bool v4, struct netsock_dgram_error *e)
{
	(void)fd;
	(void)v4;
	if (w.queue_first == w.queue_last)
		return 0;
	*e = w.queue[w.queue_first++];
	return 1;
}

static void log_written(const struct written *to, const void *data, size_t len)
{
	weir_assert(w.n_written < LOG_MAX);
	w.written[w.n_written] = *to;
	w.written[w.n_written].len = len;
	if (len)
		memcpy(w.written[w.n_written].data, data, MIN(len, sizeof(to->data)));
	w.n_written++;
}

int udpout_send(const struct stack_sink *sink, const struct udpout *d, bool uso, unsigned mtu)
{
	struct written to = {.from = d->from,
			     .app = d->app,
			     .ttl = d->ttl,
			     .tos = d->tos,
			     .gso_size = d->gso_size};

	(void)sink;
	(void)uso;
	(void)mtu;
	log_written(&to, d->data, d->len);
	return 0;
}

void icmp_send_echo_reply(const struct stack_sink *sink, const struct addr *from,
			  const struct addr *app, uint16_t ident, uint16_t seqno, uint8_t ttl,
			  uint8_t tos, const void *payload, size_t len)
{
	struct written to = {.from = {.addr = *from},
			     .app = {.addr = *app},
			     .ttl = ttl,
			     .tos = tos,
			     .ident = ident,
			     .seqno = seqno};

	(void)sink;
	log_written(&to, payload, len);
}

bool icmp_error_for_errno(int err, const struct addr *dest, uint32_t mtu, struct icmp_error *e)
{
	*e = (struct icmp_error){.from = *dest, .type = 99, .code = (uint8_t)err, .info = mtu};
	return true;
}

void icmp_send_error_tuple(const struct stack_sink *sink, uint8_t proto, const struct addrport *app,
			   const struct addrport *net, uint16_t ident, const void *payload,
			   size_t len, const struct icmp_error *e)
{
	(void)sink;
	(void)payload;
	weir_assert(w.n_errors < LOG_MAX);
	w.errors[w.n_errors++] = (struct error_out){
		.e = *e, .app = *app, .net = *net, .proto = proto, .ident = ident, .len = len};
}

int hook_chain_open(struct hook_chain *c, struct flow *f)
{
	(void)c;
	(void)f;
	return w.hook_open;
}

void hook_chain_close(struct hook_chain *c, struct flow *f)
{
	(void)c;
	(void)f;
}

/* 'D': drop this one, 'B': block the flow, 'R': another in its place, 'T': taken, see below */
int hook_chain_datagram(struct hook_chain *c, struct flow *f, enum hook_dir dir,
			struct hook_dgram *d)
{
	const char what = d->len ? (char)d->data[0] : '\0';

	(void)c;
	weir_assert(f->rec->state == FLOW_OPEN);
	w.n_hooked++;
	w.n_hook_up += dir == HOOK_UP;
	if (what == 'R') {
		strcpy(w.made, "other");
		d->data = (const uint8_t *)w.made;
		d->len = 5;
	}
	if (what == 'T')
		w.taken = *d;
	return what == 'B' ? HOOK_BLOCK : what == 'D' ? HOOK_DROP : what == 'T' ? HOOK_TAKEN : 0;
}

int hook_chain_gate(struct hook_chain *c, struct flow *f, bool open)
{
	(void)c;
	(void)f;
	w.gate_closed = !open;
	return 0;
}

/* what was taken comes once w.resumed says so, as "late"; its other marks stay */
int hook_chain_next_datagram(struct flow *f, enum hook_dir dir, struct hook_dgram *d)
{
	(void)f;
	(void)dir;
	if (w.hook_late_block)
		return HOOK_BLOCK;
	if (!w.resumed)
		return 0;
	w.resumed--;
	strcpy(w.made, "late");
	*d = w.taken;
	d->data = (const uint8_t *)w.made;
	d->len = 4;
	return 1;
}

int names_learn(struct names *n, const uint8_t *msg, size_t len, uint64_t now)
{
	(void)n;
	(void)msg;
	(void)len;
	(void)now;
	w.n_learnt++;
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
	return "";
}

static void ask_owner(void *ctx, struct flow *f)
{
	(void)ctx;
	weir_assert(w.n_asked < LOG_MAX);
	w.asked[w.n_asked++] = f;
}

__attribute__((format(printf, 3, 4))) static void notice(void *ctx, const char *what,
							 const char *fmt, ...)
{
	va_list ap;

	(void)ctx;
	(void)what;
	va_start(ap, fmt);
	vsnprintf(w.notice, sizeof(w.notice), fmt, ap);
	va_end(ap);
	w.n_notices++;
}

static void flow_ended(void *ctx, struct flow *f)
{
	(void)ctx;
	w.n_ended++;
	w.ended_reason = f->rec->reason;
	w.ended_errno = f->rec->net_errno;
	w.ended_up = f->rec->up.bytes;
	w.ended_down = f->rec->down.bytes;
}

static void flow_opened(void *ctx, struct flow *f)
{
	(void)ctx;
	(void)f;
	w.n_opened_flows++;
}

/* --- helpers ----------------------------------------------------------------------- */

static struct addrport at(const char *text, uint16_t port)
{
	struct addrport ap = {.port = port};

	weir_assert(!addr_parse(text, &ap.addr));
	return ap;
}

/** world_begin - everything anew */
static void world_begin(void)
{
	static const struct timers_config tc = {
		.udp_idle = 300, .dns_idle = 30, .icmp_idle = 60, .owner_wait = 5};
	static const struct flow_table_config fc = {.max_flows = 512};

	memset(&w, 0, sizeof(w));
	w.next_fd = 100;
	w.cfg.max_flows = fc.max_flows;
	w.cfg.flow_buffer = 1 << 20;
	w.cfg.total_buffer = 4 << 20;
	w.r.cfg = &w.cfg;
	w.r.flows = flow_table_new(&fc);
	w.r.timers = timers_new(&tc, fc.max_flows);
	/* Only their fakes look behind these. */
	w.r.hooks = (struct hook_chain *)&w;
	w.r.names = (struct names *)&w;
	w.r.socks = (struct netsock_set *)&w;
	w.r.uso = true;
	w.r.mtu = 1500;
	w.r.now = 1000;
	w.r.ask_owner = ask_owner;
	w.r.notice = notice;
	w.r.flow_ended = flow_ended;
	w.r.flow_opened = flow_opened;
	w.r.dest.own4 = at("192.0.2.10", 0).addr;
	w.r.dest.loop4 = at("10.0.2.2", 0).addr;
}

/** world_end - nothing is left but the table itself; checks it */
static void world_end(const char *test)
{
	if (w.n_opened != w.n_closed || flow_count(w.r.flows) || timers_next(w.r.timers))
		tap_ok(false, "%s: leaves %d sockets, %u flows, a timer: %d", test,
		       w.n_opened - w.n_closed, flow_count(w.r.flows), !!timers_next(w.r.timers));
	timers_free(w.r.timers);
	flow_table_free(w.r.flows);
}

/** receive_datagram - put into the socket what @peer sent; @data must stay */
static void receive_datagram(struct addrport peer, const void *data, size_t len, uint16_t gso_size)
{
	weir_assert(w.inbox_last < (int)ARRAY_SIZE(w.inbox));
	w.inbox[w.inbox_last++] = (struct netsock_dgram){
		.peer = peer, .ttl = 55, .tos = 4, .gso_size = gso_size, .data = data, .len = len};
}

static void queue_error(struct addrport peer, const char *offender, int err, uint8_t origin,
			uint8_t type, uint8_t code, uint32_t info)
{
	struct netsock_dgram_error *e = &w.queue[w.queue_last++];

	weir_assert(w.queue_last <= (int)ARRAY_SIZE(w.queue));
	memset(e, 0, sizeof(*e));
	e->peer = peer;
	if (offender)
		e->offender = at(offender, 0).addr;
	e->err = err;
	e->origin = origin;
	e->type = type;
	e->code = code;
	e->info = info;
	e->len = 3;
}

static void script(int a, int b, int c)
{
	w.script[0] = a;
	w.script[1] = b;
	w.script[2] = c;
	w.n_script = 3;
}

#endif
