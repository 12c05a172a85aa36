/* SPDX-License-Identifier: MIT */
/*
 * The two directions of an open TCP flow.
 *
 * Up: bytes stay in lwIP's receive queue (at most its 64 KiB window) until the
 * socket has taken them; only then is the window opened again. The head of the
 * queue that hooks have accepted, but the socket has not, is counted in up_ok.
 *
 * Down: a recv() is never larger than what lwIP can send at once, so nothing
 * is kept in between, unless a hook holds bytes back: those wait in `held`,
 * and later reads go behind them. A large read lies in a counted buffer that
 * lwIP's segment refers to until it is acknowledged: no copy. A small one is copied, so
 * that a trickle does not pin 64 KiB for each of its drops.
 *
 * Readiness is remembered (edge-triggered epoll): net_readable and net_writable
 * are true until EAGAIN says otherwise.
 */
#include "relay_tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dnsstream.h"

#define DNS_PORT 53

/*
 * Reads of one flow in one turn. Each is up to RELAY_TCP_BUFS * ENGINE_CHUNK, so one
 * flow may take about half a millisecond before the others have theirs.
 */
#define DOWN_READS_MAX 4

/* Reads below this are copied. */
#define SHARE_MIN 16384

/* Pieces of lwIP's queue looked at in one go; a window has at most 45 full segments. */
#define UP_PIECES 16

static ssize_t offer(struct relay *r, struct flow *f, enum hook_dir dir, const uint8_t *data,
		     size_t len, bool last)
{
	if (hook_chain_empty(r->hooks))
		return (ssize_t)len;

	struct hook_view v = relay_view(r, f);

	return hook_chain_chunk(r->hooks, f, &v, dir, data, len, last);
}

/* --- up ------------------------------------------------------------------------ */

/**
 * offer_joined - a hook wants more than one piece at once: show them as one
 *
 * Returns how many more bytes were accepted, HOOK_BLOCK, or -ENOMEM.
 */
static ssize_t offer_joined(struct relay *r, struct flow *f, const struct iovec *iov, int n,
			    size_t skip, bool last)
{
	size_t total = 0, at = 0;
	ssize_t got;
	uint8_t *all;

	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	all = malloc(total);
	if (!all)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		memcpy(all + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	got = offer(r, f, HOOK_UP, all + skip, total - skip, last);
	free(all);
	return got;
}

/**
 * show_up - let the hooks see what they have not accepted yet
 *
 * Returns 0, HOOK_BLOCK or -ENOMEM; adds to up_ok.
 */
static int show_up(struct relay *r, struct flow *f, const struct iovec *iov, int n, bool all_here)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t skip = rt->up_ok;

	for (int i = 0; i < n; i++) {
		size_t len = iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		bool last = all_here && i == n - 1;
		ssize_t got = offer(r, f, HOOK_UP, (const uint8_t *)iov[i].iov_base + skip,
				    len - skip, last);

		if (got < 0)
			return (int)got;
		rt->up_ok += (uint32_t)got;
		if ((size_t)got < len - skip) {
			if (i == n - 1)
				return 0;
			got = offer_joined(r, f, iov + i, n - i, skip + (size_t)got, all_here);
			if (got < 0)
				return (int)got;
			rt->up_ok += (uint32_t)got;
			return 0;
		}
		skip = 0;
	}
	return 0;
}

/** send_up - the accepted head of the queue to the socket; 0, or the socket's -errno */
static int send_up(struct relay *r, struct flow *f, struct iovec *iov, int n)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t left = rt->up_ok;
	int used = 0;
	ssize_t sent;

	while (used < n && left) {
		iov[used].iov_len = MIN(iov[used].iov_len, left);
		left -= iov[used++].iov_len;
	}
	sent = netsock_sendv(rt->fd, iov, used);
	if (sent == -EAGAIN) {
		rt->net_writable = false;
		return 0;
	}
	if (sent < 0)
		return (int)sent;
	if ((size_t)sent < rt->up_ok - left)
		rt->net_writable = false;
	rt->up_ok -= (uint32_t)sent;
	f->rec->up.bytes += (uint64_t)sent;
	r->moved += (size_t)sent;
	f->rec->last = r->now;
	engine_consume(rt->conn, (size_t)sent);
	return 0;
}

static bool fin_up(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!rt->up_last) {
		rt->up_last = true;
		if (offer(r, f, HOOK_UP, NULL, 0, true) < 0) {
			relay_tcp_blocked(r, f, FLOW_ENDED_BLOCKED);
			return false;
		}
	}
	rt->up_shut = true;
	f->rec->up.fin = 1;
	netsock_shutdown_write(rt->fd);
	return true;
}

bool relay_tcp_pump_up(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct iovec iov[UP_PIECES];
	size_t pending;

	if (rt->net_err && engine_pending(rt->conn))
		return relay_tcp_net_broken(r, f, rt->net_err);
	while ((pending = engine_pending(rt->conn)) > 0 && rt->net_writable) {
		int n = engine_peek(rt->conn, iov, UP_PIECES);
		size_t shown = 0;

		for (int i = 0; i < n; i++)
			shown += iov[i].iov_len;

		bool all_here = rt->app_fin && shown == pending;

		if (rt->up_ok < shown) {
			int rc = show_up(r, f, iov, n, all_here);

			rt->up_last |= all_here;
			if (rc == -ENOMEM || rc == HOOK_BLOCK || (all_here && rt->up_ok < shown)) {
				relay_tcp_blocked(r, f, FLOW_ENDED_BLOCKED);
				return false;
			}
		}
		if (!rt->up_ok)
			return true;
		int rc = send_up(r, f, iov, n);

		if (rc < 0)
			return relay_tcp_net_broken(r, f, -rc);
	}
	if (!pending && rt->app_fin && !rt->up_shut)
		return fin_up(r, f);
	return true;
}

/* --- down ------------------------------------------------------------------------ */

/** keep_down - put @len bytes that could not go on behind `held`; 0, -ENOMEM or -ENOBUFS */
static int keep_down(struct relay *r, struct relay_tcp *rt, const uint8_t *data, size_t len)
{
	size_t need = rt->held_len + len;

	if (need > r->cfg->flow_buffer) {
		r->count.buffer_full++;
		r->notice(r->ctx, "flow-buffer", "a hook holds more than --flow-buffer allows");
		return -ENOBUFS;
	}
	if (need > rt->held_cap) {
		uint8_t *bigger = realloc(rt->held, need);

		if (!bigger)
			return -ENOMEM;
		rt->held = bigger;
		rt->held_cap = (uint32_t)need;
	}
	memcpy(rt->held + rt->held_len, data, len);
	rt->held_len = (uint32_t)need;
	return 0;
}

static void drop_held(struct relay_tcp *rt, size_t len)
{
	rt->held_len -= (uint32_t)len;
	if (rt->held_len) {
		memmove(rt->held, rt->held + len, rt->held_len);
		return;
	}
	free(rt->held);
	rt->held = NULL;
	rt->held_cap = 0;
}

static void learn(void *ctx, const uint8_t *msg, size_t len)
{
	struct relay *r = ctx;

	names_learn(r->names, msg, len, r->now);
}

/**
 * pass_down - show what is not accepted yet, write what is
 * @buf: where @data lie, when they may be shared; else NULL
 * @ok: in: how many bytes of @data were accepted before; out: accepted but not written
 *
 * Returns how many bytes from the front were written, or HOOK_BLOCK.
 */
static ssize_t pass_down(struct relay *r, struct flow *f, struct pktbuf *buf, const uint8_t *data,
			 size_t len, uint32_t *ok, bool last)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t done = 0;

	if (*ok < len || last) {
		ssize_t got = offer(r, f, HOOK_DOWN, len ? data + *ok : NULL, len - *ok, last);

		if (got < 0)
			return got;
		*ok += (uint32_t)got;
	}
	while (*ok) {
		ssize_t n = buf ? engine_write_buf(rt->conn, buf, data + done, *ok)
				: engine_write(rt->conn, data + done, *ok);

		if (n <= 0)
			break;
		if (f->rec->net.port == DNS_PORT && !f->rec->inbound) /* a client is no resolver */
			dnsstream_feed(&rt->dns, data + done, (size_t)n, learn, r);
		done += (size_t)n;
		*ok -= (uint32_t)n;
	}
	return (ssize_t)done;
}

/** flush_held - try the bytes that wait; 1 = all gone, 0 = some stay, -1 = the flow has ended */
static int flush_held(struct relay *r, struct flow *f, bool last)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	ssize_t done = pass_down(r, f, NULL, rt->held, rt->held_len, &rt->held_ok, last);

	if (done < 0) {
		relay_tcp_blocked(r, f, FLOW_ENDED_BLOCKED);
		return -1;
	}
	if (done)
		drop_held(rt, (size_t)done);
	return rt->held_len ? 0 : 1;
}

/** read_buf - buffer @i to read into, with one reference, ours; NULL on ENOMEM */
static struct pktbuf *read_buf(struct relay_tcp_state *t, int i)
{
	if (t->bufs[i] && t->bufs[i]->refs > 1) { /* a segment still refers to it */
		pktbuf_put(t->bufs[i]);
		t->bufs[i] = NULL;
	}
	if (!t->bufs[i])
		t->bufs[i] = pktbuf_get();
	return t->bufs[i];
}

/** read_places - buffers for up to @room bytes; returns how many, and the bytes in @total */
static int read_places(struct relay_tcp_state *t, struct iovec *iov, size_t room, size_t *total)
{
	int n = 0;

	*total = 0;
	while (n < RELAY_TCP_BUFS && *total < room && read_buf(t, n)) {
		iov[n].iov_base = t->bufs[n]->data;
		iov[n].iov_len = MIN(room - *total, (size_t)ENGINE_CHUNK);
		*total += iov[n++].iov_len;
	}
	return n;
}

/** take_down - @n bytes were read to @buf; 1 = go on, 0 = some are held, -1 = the flow has ended */
static int take_down(struct relay *r, struct flow *f, struct pktbuf *buf, size_t n)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	uint32_t ok = rt->held_ok;
	ssize_t done = 0;

	if (!f->rec->first_byte)
		f->rec->first_byte = r->now;
	f->rec->last = r->now;
	f->rec->down.bytes += n;
	f->rec->down.packets++;
	r->moved += n;
	if (!rt->held_len) {
		done = pass_down(r, f, n >= SHARE_MIN ? buf : NULL, buf->data, n, &ok, false);
		if (done < 0) {
			relay_tcp_blocked(r, f, FLOW_ENDED_BLOCKED);
			return -1;
		}
	}
	if ((size_t)done == n)
		return 1;
	rt->held_ok = ok;
	if (keep_down(r, rt, buf->data + done, n - (size_t)done) < 0) {
		relay_tcp_blocked(r, f, FLOW_ENDED_LIMIT);
		return -1;
	}
	return done ? 1 : flush_held(r, f, false);
}

/** take_all - @n bytes were read to the buffers in turn; as take_down() */
static int take_all(struct relay *r, struct flow *f, size_t n)
{
	int rc = 1;

	for (int i = 0; n && rc >= 0; i++) {
		size_t len = MIN(n, (size_t)ENGINE_CHUNK);

		weir_assert(r->tcp->bufs[i]);
		rc = take_down(r, f, r->tcp->bufs[i], len);
		n -= len;
	}
	return rc;
}

/** read_down - one recv(); 1 = go on, 0 = nothing more now, -1 = the flow has ended */
static int read_down(struct relay *r, struct flow *f, size_t room)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct iovec iov[RELAY_TCP_BUFS];
	int places = read_places(r->tcp, iov, room, &room);
	ssize_t n;

	if (!places) { /* a later turn, or the tick, may have more luck */
		relay_tcp_again(&r->tcp->starved, f);
		return 0;
	}
	n = netsock_recvv(rt->fd, iov, places);
	if (n > 0) {
		/* A short read has emptied the socket: what comes later is a new event. */
		if ((size_t)n < room && !rt->net_over)
			rt->net_readable = false;
		return take_all(r, f, (size_t)n);
	}
	if ((n == 0 || n == -EAGAIN) && rt->net_err)
		n = -rt->net_err;
	if (n < 0 && n != -EAGAIN) {
		relay_tcp_net_failed(r, f, (int)-n);
		return -1;
	}
	rt->net_readable = false;
	if (n == 0) {
		rt->net_fin = true;
		f->rec->down.fin = 1;
	}
	return 0;
}

static bool fin_down(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!rt->down_last) {
		rt->down_last = true;
		if (flush_held(r, f, true) < 0)
			return false;
		if (rt->held_ok < rt->held_len) {
			relay_tcp_blocked(r, f, FLOW_ENDED_BLOCKED);
			return false;
		}
	}
	if (rt->held_len)
		return true;
	rt->down_shut = true;
	relay_tcp_engine(r, f, engine_shutdown(rt->conn));
	return f->relay != NULL;
}

bool relay_tcp_pump_down(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->held_len && rt->held_ok && flush_held(r, f, rt->down_last) < 0)
		return false;
	for (int turn = 0; rt->net_readable && !rt->net_fin; turn++) {
		size_t room = engine_room(rt->conn);

		if (!room || rt->held_ok)
			break;
		if (turn == DOWN_READS_MAX) {
			relay_tcp_again(&r->tcp->ready, f);
			break;
		}
		if (engine_memory() > r->cfg->total_buffer) {
			r->count.buffer_full++;
			r->notice(r->ctx, "total-buffer", "--total-buffer is full: reading pauses");
			relay_tcp_again(&r->tcp->starved, f);
			break;
		}
		int rc = read_down(r, f, room);

		if (rc < 0)
			return false;
		if (!rc && rt->queued)
			break;
	}
	/* Accepted, room, and yet not written: no memory, and no ACK may come to try again. */
	if (rt->held_ok && engine_room(rt->conn))
		relay_tcp_again(&r->tcp->starved, f);
	if (rt->net_fin && !rt->down_shut)
		return fin_down(r, f);
	return true;
}
