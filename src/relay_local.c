/* SPDX-License-Identifier: MIT */
#include "relay_local.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "dnsstream.h"

/*
 * Token of an event: index is the flow's, or the number of the bound socket; these bits
 * tell which. Flow tables never reach 2^30 entries.
 */
#define SIDE_APP  0x80000000u
#define SIDE_BIND 0x40000000u
#define BIND_TCP  0x100u

/* Datagrams, or connections, taken in one turn: then others have theirs. */
#define LOCAL_BATCH 256

/* One DNS message over TCP is at most this long with its length in front. */
#define STREAM_BUF 65537

/** struct half - bytes on their way in one direction, past the hooks */
struct half {
	uint8_t *buf; /* owned; while bytes wait */
	uint32_t len;
	int from, to; /* borrowed from struct pair */
	bool readable, writable, fin, told, shut;
};

/** struct pair - an accepted connection and the one made for it; f->relay of a local flow */
struct pair {
	int app, net;
	bool connected;
	struct half up, down;
	struct dnsstream *dns; /* owned */
};

struct relay_local {
	struct sandbox_dns dns[SANDBOX_DNS_MAX];
	unsigned n, n_borrowed; /* the first ones belong to the caller */
	uint8_t buf[65536];
};

/* --- datagrams ------------------------------------------------------------------------ */

/** local_packet - a datagram as relay_udp knows it, had it come by the TUN */
static void local_packet(struct relay *r, const struct addrport *app, const struct addrport *net,
			 uint8_t *data, size_t len)
{
	struct packet p = {
		.data = data,
		.len = len,
		.app = *app,
		.net = *net,
		.version = addr_is_v4(&app->addr) ? 4 : 6,
		.proto = IPPROTO_UDP,
		.ttl = 64,
		.l4len = (uint16_t)MIN(len + 8, (size_t)65535),
		.csum_trusted = true,
	};

	relay_udp_packet(r, &p, NULL);
}

/** read_datagrams - what waits for @dns; false when more may */
static bool read_datagrams(struct relay *r, const struct sandbox_dns *dns)
{
	const struct addrport net = {.addr = dns->addr, .port = 53};
	int n_read = 0;

	for (; n_read < LOCAL_BATCH; n_read++) {
		struct sockaddr_storage ss;
		socklen_t sslen = sizeof(ss);
		struct addrport app;
		ssize_t n = recvfrom(dns->udp_fd, r->local->buf, sizeof(r->local->buf),
				     MSG_DONTWAIT, (struct sockaddr *)&ss, &sslen);

		if (n < 0)
			break;
		if (addr_from_sockaddr((struct sockaddr *)&ss, &app) == 0)
			local_packet(r, &app, &net, r->local->buf, (size_t)n);
	}
	relay_udp_flush(r);
	return n_read < LOCAL_BATCH;
}

static const struct sandbox_dns *find_dns(const struct relay *r, const struct addr *a)
{
	for (unsigned i = 0; i < r->local->n; i++) {
		if (addr_equal(&r->local->dns[i].addr, a))
			return &r->local->dns[i];
	}
	return NULL;
}

int relay_local_reply(struct relay *r, const struct udpout *d)
{
	const struct sandbox_dns *dns = r->local ? find_dns(r, &d->from.addr) : NULL;
	const uint8_t *at = d->data;
	size_t left = d->len, step = d->gso_size ? d->gso_size : d->len;
	struct sockaddr_storage ss;
	socklen_t sslen = addr_to_sockaddr(&d->app, &ss);

	if (!dns)
		return -EADDRNOTAVAIL;
	do {
		size_t n = MIN(step, left);

		if (sendto(dns->udp_fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&ss,
			   sslen) < 0)
			return -errno;
		at += n;
		left -= n;
	} while (left);
	return 0;
}

/* --- connections ------------------------------------------------------------------------ */

static struct pair *pair_of(const struct flow *f)
{
	return f->relay;
}

static void end_pair(struct relay *r, struct flow *f, enum flow_reason reason)
{
	struct pair *p = pair_of(f);

	relay_flow_end(r, f, reason);
	if (reason == FLOW_ENDED_FIN) {
		netsock_close(&p->app);
		netsock_close(&p->net);
	} else {
		netsock_reset(&p->app);
		netsock_reset(&p->net);
	}
	free(p->up.buf);
	free(p->down.buf);
	dnsstream_free(p->dns);
	free(p);
	f->relay = NULL;
	flow_release(r->flows, f);
}

/** fill - read up to @room bytes behind what waits; how many, or -EAGAIN or another -errno */
static ssize_t fill(struct half *h, size_t room)
{
	ssize_t n;

	room = MIN(room, (size_t)STREAM_BUF - h->len);
	if (!h->readable || h->fin || !room)
		return -EAGAIN;
	if (!h->buf) { /* also for a FIN that comes alone: hooks are shown a place */
		h->buf = malloc(STREAM_BUF);
		if (!h->buf)
			return -ENOMEM;
	}
	n = netsock_recv(h->from, h->buf + h->len, room);
	if (n == -EAGAIN)
		h->readable = false;
	h->fin = n == 0;
	return n;
}

static void learn(void *ctx, const uint8_t *msg, size_t len)
{
	struct relay *r = ctx;

	names_learn(r->names, msg, len, r->now);
}

/** show - @n bytes just read, and the end behind them, to the hooks; as hook_chain_chunk() */
static int show(struct relay *r, struct flow *f, struct half *h, enum hook_dir dir, size_t n)
{
	struct hook_passed p = {.as_is = 0};
	int rc;

	if (judge_payload(r, f, dir, n, h->fin) != JUDGE_PASS)
		return HOOK_BLOCK;
	rc = hook_chain_chunk(r->hooks, f, dir, h->buf + h->len, n, h->fin, &p);
	if (!rc && judge_shown(r, f) != JUDGE_PASS)
		rc = HOOK_BLOCK;
	if (dir == HOOK_DOWN)
		dnsstream_feed(&pair_of(f)->dns, h->buf + h->len, p.as_is, learn, r);
	h->len += (uint32_t)p.as_is;
	return rc;
}

/** drain - write what waits, and behind it what hooks have made; 0 or -errno, -EAGAIN: not all */
static int drain(struct flow *f, struct half *h, enum hook_dir dir)
{
	const uint8_t *made = NULL;

	while (h->len || hook_chain_output(f, dir, &made)) {
		const size_t len = h->len ? h->len : hook_chain_output(f, dir, &made);
		struct iovec iov = {h->len ? h->buf : (uint8_t *)(uintptr_t)made, len};
		ssize_t n = h->writable ? netsock_sendv(h->to, &iov, 1) : -EAGAIN;

		if (n == -EAGAIN)
			h->writable = false;
		if (n < 0)
			return (int)n;
		if (h->len) {
			h->len -= (uint32_t)n;
			memmove(h->buf, h->buf + n, h->len);
		} else {
			hook_chain_sent(f, dir, (size_t)n);
		}
	}
	free(h->buf);
	h->buf = NULL;
	return 0;
}

/** finish - is there nothing more to pass on in this direction? Then its end is */
static void finish(struct flow *f, struct half *h, enum hook_dir dir)
{
	if (h->shut || h->len || !(hook_chain_over(f, dir) || (h->fin && hook_direct(f))))
		return;
	h->shut = true;
	netsock_shutdown_write(h->to);
}

/**
 * pump - move one direction as far as it goes
 * @err: the socket's -errno, or 0
 *
 * Returns 0, or what hook_chain_chunk() has refused it with.
 */
static int pump(struct relay *r, struct flow *f, struct half *h, enum hook_dir dir, int *err)
{
	struct flow_side *side = dir == HOOK_UP ? &f->rec->up : &f->rec->down;
	ssize_t n = 0;

	while (n >= 0) {
		int rc;

		*err = drain(f, h, dir);
		if (*err && *err != -EAGAIN)
			return 0;
		n = fill(h, *err ? 0 : hook_chain_room(f, dir));
		if (n < 0)
			continue;
		side->bytes += (uint64_t)n;
		side->packets += n > 0;
		side->fin = h->fin;
		rc = show(r, f, h, dir, (size_t)n);
		if (rc)
			return rc;
	}
	*err = n == -EAGAIN ? 0 : (int)n;
	finish(f, h, dir);
	return 0;
}

static void pump_pair(struct relay *r, struct flow *f)
{
	struct pair *p = pair_of(f);
	int err = 0, rc;

	if (!p->connected || f->rec->state != FLOW_OPEN || f->held)
		return;
	f->rec->last = r->now;
	rc = pump(r, f, &p->up, HOOK_UP, &err);
	if (!rc && !err)
		rc = pump(r, f, &p->down, HOOK_DOWN, &err);
	if (f->rec->down.bytes && !f->rec->first_byte)
		f->rec->first_byte = r->now;
	f->rec->net_errno = -err;
	if (rc)
		end_pair(r, f, rc == HOOK_LIMIT ? FLOW_ENDED_LIMIT : FLOW_ENDED_BLOCKED);
	else if (err)
		end_pair(r, f, FLOW_ENDED_RESET_NET);
	else if (p->up.shut && p->down.shut)
		end_pair(r, f, FLOW_ENDED_FIN);
}

static void open_pair(struct relay *r, struct flow *f)
{
	struct pair *p = pair_of(f);

	if (!p->connected || f->rec->state != FLOW_CONNECTING)
		return;
	flow_set_state(r->flows, f, FLOW_OPEN);
	r->flow_opened(r->ctx, f);
	judge_opened(r, f);
	pump_pair(r, f);
}

static void ask_net(struct relay *r, struct flow *f);

/** judged_pair - the program's half is there already: there is no silence, a refusal is a reset */
static void judged_pair(struct relay *r, struct flow *f, enum judge_say say)
{
	if (say == JUDGE_HOLD)
		return;
	if (say != JUDGE_PASS) {
		end_pair(r, f, FLOW_ENDED_BLOCKED);
		return;
	}
	flow_set_state(r->flows, f, FLOW_CONNECTING);
	if (pair_of(f)->net < 0)
		ask_net(r, f);
	else
		open_pair(r, f);
}

void relay_local_owned(struct relay *r, struct flow *f)
{
	judged_pair(r, f, relay_flow_owned(r, f));
}

void relay_local_judged(struct relay *r, struct flow *f, enum judge_say say)
{
	if (f->rec->state == FLOW_OWNED)
		say = relay_flow_passed(r, f, say);
	if (f->rec->state <= FLOW_JUDGED)
		judged_pair(r, f, say);
	else if (say != JUDGE_PASS && say != JUDGE_HOLD)
		end_pair(r, f, FLOW_ENDED_BLOCKED);
	else if (say == JUDGE_PASS)
		relay_local_woken(r, f);
}

void relay_local_woken(struct relay *r, struct flow *f)
{
	int rc = hook_chain_run(f, HOOK_UP);

	if (!rc)
		rc = hook_chain_run(f, HOOK_DOWN);
	if (rc)
		end_pair(r, f, rc == HOOK_LIMIT ? FLOW_ENDED_LIMIT : FLOW_ENDED_BLOCKED);
	else
		pump_pair(r, f);
}

void relay_local_stop(struct relay *r, struct flow *f)
{
	end_pair(r, f, FLOW_ENDED_SHUTDOWN);
}

static void halves(struct pair *p)
{
	p->up.from = p->down.to = p->app;
	p->up.to = p->down.from = p->net;
	p->up.readable = p->down.writable = true;
}

/** ask_net - connect to the resolver outside */
static void ask_net(struct relay *r, struct flow *f)
{
	struct pair *p = pair_of(f);
	const struct flow_ref ref = flow_ref(f);
	struct addrport out;
	int rc = dest_out(&r->dest, &f->rec->net, &out);

	if (!rc)
		rc = netsock_tcp_connect(r->socks, &out,
					 netsock_token(NETSOCK_LOCAL, ref.index, ref.gen), &p->net);
	if (rc && rc != -EINPROGRESS) {
		f->rec->net_errno = -rc;
		end_pair(r, f, FLOW_ENDED_REFUSED);
		return;
	}
	halves(p);
}

/** take - a connection to @dns was accepted as @fd: make the flow; connect on if rules allow it */
static void take(struct relay *r, const struct sandbox_dns *dns, int fd, const struct addrport *app)
{
	const struct addrport net = {.addr = dns->addr, .port = 53};
	struct flow *f = relay_flow_new(r, IPPROTO_TCP, app, &net);
	struct pair *p = f ? calloc(1, sizeof(*p)) : NULL;
	struct flow_ref ref;

	if (!f) {
		netsock_reset(&fd);
		return;
	}
	f->local = true;
	if (!p) {
		netsock_reset(&fd);
		relay_flow_end(r, f, FLOW_ENDED_LIMIT);
		flow_release(r->flows, f);
		return;
	}
	f->relay = p;
	p->app = fd;
	p->net = -1;
	ref = flow_ref(f);
	if (netsock_watch(r->socks, fd,
			  netsock_token(NETSOCK_LOCAL, ref.index | SIDE_APP, ref.gen)))
		end_pair(r, f, FLOW_ENDED_LIMIT);
	else if (judge_early(r, f))
		ask_net(r, f);
}

/** accept_some - what waits for @dns; false when more may */
static bool accept_some(struct relay *r, const struct sandbox_dns *dns)
{
	for (int n = 0; n < LOCAL_BATCH; n++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct addrport app;
		int fd = accept4(dns->tcp_fd, (struct sockaddr *)&ss, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return true;
		if (addr_from_sockaddr((struct sockaddr *)&ss, &app))
			close_fd(&fd);
		else
			take(r, dns, fd, &app);
	}
	return false;
}

/** bound_event - something came to the address of a resolver */
static void bound_event(struct relay *r, uint64_t token)
{
	uint32_t index = netsock_token_index(token);
	const struct sandbox_dns *dns = &r->local->dns[index & 0xff];
	bool tcp = index & BIND_TCP;

	if (tcp ? accept_some(r, dns) : read_datagrams(r, dns))
		return;
	netsock_dgram_rearm(r->socks, tcp ? dns->tcp_fd : dns->udp_fd, token, false);
}

static void net_event(struct relay *r, struct flow *f, uint32_t ev)
{
	struct pair *p = pair_of(f);

	if (ev & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		p->down.readable = true;
	if (ev & EPOLLOUT)
		p->up.writable = true;
	if (p->connected) {
		pump_pair(r, f);
		return;
	}
	int err = netsock_error(p->net);

	if (err) {
		f->rec->net_errno = err;
		end_pair(r, f, FLOW_ENDED_REFUSED);
	} else if (ev & EPOLLOUT) {
		p->connected = true;
		f->rec->connected = r->now;
		open_pair(r, f);
	}
}

void relay_local_net(struct relay *r, uint64_t token, uint32_t epoll_events)
{
	uint32_t index = netsock_token_index(token);
	struct flow_ref ref = {index & ~SIDE_APP, netsock_token_gen(token)};
	struct flow *f;

	if ((index & SIDE_BIND) && !(index & SIDE_APP)) {
		bound_event(r, token);
		return;
	}
	f = flow_get(r->flows, ref);
	if (!f || !f->relay)
		return;
	if (!(index & SIDE_APP)) {
		net_event(r, f, epoll_events);
		return;
	}
	if (epoll_events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		pair_of(f)->up.readable = true;
	if (epoll_events & EPOLLOUT)
		pair_of(f)->down.writable = true;
	pump_pair(r, f);
}

/* --- set-up -------------------------------------------------------------------------------- */

static int watch_bound(struct relay *r, unsigned i)
{
	const struct sandbox_dns *d = &r->local->dns[i];
	int rc = 0;

	if (d->udp_fd >= 0)
		rc = netsock_watch(r->socks, d->udp_fd,
				   netsock_token(NETSOCK_LOCAL, SIDE_BIND | i, 0));
	if (!rc && d->tcp_fd >= 0)
		rc = netsock_watch(r->socks, d->tcp_fd,
				   netsock_token(NETSOCK_LOCAL, SIDE_BIND | BIND_TCP | i, 0));
	return rc;
}

/** serve - the next resolver of the table; its sockets stay the caller's */
static int serve(struct relay *r, const struct sandbox_dns *dns)
{
	struct relay_local *l = r->local;
	const unsigned i = l->n;
	int rc;

	if (i == SANDBOX_DNS_MAX)
		return -ENOSPC;
	l->dns[i] = *dns;
	rc = watch_bound(r, i);
	if (rc)
		return rc;
	l->n++;
	r->dest.dns[i].inside = dns->addr;
	r->dest.dns[i].outside = dns->outside;
	r->dest.n_dns = l->n;
	return 0;
}

int relay_local_new(struct relay *r, const struct sandbox_dns *dns, unsigned n)
{
	int rc = 0;

	_Static_assert(SANDBOX_DNS_MAX <= DEST_DNS_MAX, "each resolver has its destination");
	r->local = calloc(1, sizeof(*r->local));
	if (!r->local)
		return -ENOMEM;
	r->local_reply = relay_local_reply;
	for (unsigned i = 0; i < n && !rc; i++)
		rc = serve(r, &dns[i]);
	r->local->n_borrowed = r->local->n;
	return rc;
}

int relay_local_add(struct relay *r, const struct sandbox_dns *dns)
{
	struct sandbox_dns own = *dns;
	/* descriptors that found no place in our table are lost on the way */
	int rc = dns->udp_fd < 0 || dns->tcp_fd < 0 ? -EMFILE : serve(r, dns);

	if (rc) {
		close_fd(&own.udp_fd);
		close_fd(&own.tcp_fd);
	}
	return rc;
}

void relay_local_free(struct relay *r)
{
	struct relay_local *l = r->local;

	for (unsigned i = l ? l->n_borrowed : 0; l && i < l->n; i++) {
		close_fd(&l->dns[i].udp_fd);
		close_fd(&l->dns[i].tcp_fd);
	}
	free(l);
	r->local = NULL;
}
