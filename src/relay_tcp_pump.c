/* SPDX-License-Identifier: MIT */
/*
 * The two directions of an open TCP flow, and the hooks in their middle.
 *
 * Up: bytes stay in lwIP's receive queue (at most its 256 KiB window) until the socket has taken
 * them; only then is the window opened again. At the head of that queue lie up_ok bytes that go on
 * as they are, and behind them up_taken ones that the chain has taken: these leave the queue as
 * soon as they are at its head.
 *
 * Down: a recv() is never larger than what lwIP can send at once, so nothing is kept in
 * between; `held` is for the case that lwIP has no memory after all. A large read lies in a counted
 * buffer that lwIP's segment refers to until it is acknowledged: no copy. A small one is copied, so
 * that a trickle does not pin 64 KiB for each of its drops.
 *
 * What hooks hold, change or make lies in the chain (hook.h) and goes behind the bytes that it let
 * pass before; while any of that waits for its way out, nothing more is offered. A direction
 * that a hook has ended is still read: what comes is forgotten.
 *
 * A quota is looked at where bytes leave weir, as late as can be: it cuts at the byte.
 *
 * The record's bytes are those that each side has sent, whatever hooks made of them.
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

/** offer_gated - while rules wait for what the client says first; then they may refuse the flow */
static int offer_gated(struct relay *r, struct flow *f, enum hook_dir dir, const uint8_t *data,
		       size_t len, bool last, struct hook_passed *out)
{
	int rc;

	*out = (struct hook_passed){.as_is = 0};
	if (judge_payload(r, f, dir, len, last) != JUDGE_PASS)
		return HOOK_BLOCK;
	rc = hook_chain_chunk(r->hooks, f, dir, data, len, last, out);
	if (!rc && judge_shown(r, f) != JUDGE_PASS)
		rc = HOOK_BLOCK;
	return rc;
}

/** offer - to the hooks, where there are any; as hook_chain_chunk() */
static int offer(struct relay *r, struct flow *f, enum hook_dir dir, const uint8_t *data,
		 size_t len, bool last, struct hook_passed *out)
{
	if (f->gated || f->silent)
		return offer_gated(r, f, dir, data, len, last, out);
	if (!hook_direct(f))
		return hook_chain_chunk(r->hooks, f, dir, data, len, last, out);
	*out = (struct hook_passed){.as_is = len};
	return 0;
}

/** tell_last - no more will come in @dir; false when the flow has ended */
static bool tell_last(struct relay *r, struct flow *f, enum hook_dir dir)
{
	struct hook_passed p;
	int rc = offer(r, f, dir, NULL, 0, true, &p);

	if (rc)
		relay_tcp_refused(r, f, rc);
	return !rc;
}

/* --- up ------------------------------------------------------------------------ */

/** offer_up - one piece of lwIP's queue; false when the next one must wait. As hook_chain_chunk()
 */
static int offer_up(struct relay *r, struct flow *f, const uint8_t *data, size_t len, bool last)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct hook_passed p;
	int rc = offer(r, f, HOOK_UP, data, len, last, &p);

	rt->up_ok += (uint32_t)p.as_is;
	rt->up_taken += (uint32_t)p.taken;
	rt->up_last |= last;
	return rc;
}

/**
 * show_up - let the hooks see what is new in the queue, up to the first piece that they take
 *
 * Adds to up_ok and up_taken; as hook_chain_chunk().
 */
static int show_up(struct relay *r, struct flow *f, const struct iovec *iov, int n, bool all_here)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t skip = rt->up_ok;
	int rc = 0;

	for (int i = 0; i < n && !rc && !rt->up_taken; i++) {
		const uint8_t *data = iov[i].iov_base;
		size_t len = iov[i].iov_len, room;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		data += skip;
		len -= skip;
		skip = 0;
		room = hook_chain_room(f, HOOK_UP);
		if (!room)
			break;
		if (len > room)
			return offer_up(r, f, data, room, false);
		rc = offer_up(r, f, data, len, all_here && i == n - 1);
	}
	return rc;
}

/** sent_up - the socket took @n bytes of @of, or failed; 1 = go on, 0 = not now, -1 = it has ended
 */
static int sent_up(struct relay *r, struct flow *f, ssize_t n, size_t of)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (n < 0 && n != -EAGAIN)
		return relay_tcp_net_broken(r, f, (int)-n) ? 0 : -1;
	if (n < 0 || (size_t)n < of)
		rt->net_writable = false;
	if (n > 0) {
		r->moved += (size_t)n;
		f->rec->last = r->now;
		if (f->metered)
			judge_spend(r, f, (size_t)n);
	}
	return rt->net_writable;
}

/** allowed - how many of @want bytes a quota lets pass; 0: it is used up, and the flow ends */
static size_t allowed(struct relay *r, struct flow *f, size_t want)
{
	if (!f->metered)
		return want;
	want = judge_allowance(r, f, want);
	if (!want)
		relay_tcp_spent(r, f);
	return want;
}

/** send_up - the head of the queue that goes on as it is; as sent_up() */
static int send_up(struct relay *r, struct flow *f, struct iovec *iov, int n)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t len = allowed(r, f, rt->up_ok), left = len;
	int used = 0;
	ssize_t sent;

	if (!len)
		return 0;

	while (used < n && left) {
		iov[used].iov_len = MIN(iov[used].iov_len, left);
		left -= iov[used++].iov_len;
	}
	len -= left;
	sent = netsock_sendv(rt->fd, iov, used);
	if (sent > 0) {
		rt->up_ok -= (uint32_t)sent;
		f->rec->up.bytes += (uint64_t)sent;
		engine_consume(rt->conn, (size_t)sent);
	}
	return sent_up(r, f, sent, len);
}

/** send_made - what the hooks have made; as sent_up() */
static int send_made(struct relay *r, struct flow *f, const uint8_t *data, size_t len)
{
	/* sendmsg() does not write to it */
	struct iovec iov = {(void *)(uintptr_t)data, allowed(r, f, len)};
	ssize_t sent;

	if (!iov.iov_len)
		return 0;
	sent = netsock_sendv(relay_tcp_of(f)->fd, &iov, 1);
	if (sent > 0)
		hook_chain_sent(f, HOOK_UP, (size_t)sent);
	return sent_up(r, f, sent, iov.iov_len);
}

/** forget_taken - what the chain has taken is at the queue's head: it leaves, the window opens */
static void forget_taken(struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	f->rec->up.bytes += rt->up_taken;
	engine_consume(rt->conn, rt->up_taken);
	rt->up_taken = 0;
}

/** fin_up - is there nothing more for the peer? As sent_up() */
static int fin_up(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	const bool empty = rt->app_fin && !engine_pending(rt->conn);

	if (empty && !rt->up_last) {
		rt->up_last = true;
		if (!hook_direct(f))
			return tell_last(r, f, HOOK_UP) ? 1 : -1;
	}
	if (rt->up_shut || !(hook_chain_over(f, HOOK_UP) || (empty && hook_direct(f))))
		return 0;
	rt->up_shut = true;
	f->rec->up.fin = rt->app_fin;
	netsock_shutdown_write(rt->fd);
	return 0;
}

/** up_step - the next thing that can be done; 1 = go on, 0 = nothing now, -1 = it has ended */
static int up_step(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t pending = engine_pending(rt->conn), shown = 0, len;
	struct iovec iov[UP_PIECES];
	const uint8_t *made;
	int n = 0, rc;

	if (pending && (rt->net_writable || rt->up_shut || f->gated)) {
		n = engine_peek(rt->conn, iov, UP_PIECES);
		for (int i = 0; i < n; i++)
			shown += iov[i].iov_len;
	}
	if (rt->up_ok < shown && !rt->up_taken) {
		rc = show_up(r, f, iov, n, rt->app_fin && shown == pending);
		if (rc) {
			relay_tcp_refused(r, f, rc);
			return -1;
		}
	}
	if (rt->up_ok)
		return rt->net_writable ? send_up(r, f, iov, n) : 0;
	if (rt->up_taken) {
		forget_taken(f);
		return 1;
	}
	len = hook_chain_output(f, HOOK_UP, &made);
	if (len)
		return rt->net_writable ? send_made(r, f, made, len) : 0;
	return fin_up(r, f);
}

bool relay_tcp_pump_up(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	int rc;

	if (f->held || rt->cut)
		return true;
	if (rt->net_err && engine_pending(rt->conn))
		return relay_tcp_net_broken(r, f, rt->net_err);
	do
		rc = up_step(r, f);
	while (rc > 0);
	return !rc;
}

/* --- down ------------------------------------------------------------------------ */

/** keep_down - put @len bytes that lwIP has no memory for behind `held`; 0 or -ENOMEM */
static int keep_down(struct relay_tcp *rt, const uint8_t *data, size_t len)
{
	size_t need = rt->held_len + len;

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
 * write_down - to the program
 * @buf: where @data lie, when they may be shared; else NULL
 *
 * Returns how many bytes from the front were written.
 */
static size_t write_down(struct relay *r, struct flow *f, struct pktbuf *buf, const uint8_t *data,
			 size_t len)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	size_t done = 0;

	while (done < len) {
		const size_t some = allowed(r, f, len - done);
		ssize_t n;

		if (!some)
			break;
		n = buf ? engine_write_buf(rt->conn, buf, data + done, some)
			: engine_write(rt->conn, data + done, some);
		if (n <= 0)
			break;
		if (f->metered)
			judge_spend(r, f, (size_t)n);
		if (f->rec->net.port == DNS_PORT && !f->rec->inbound) /* a client is no resolver */
			dnsstream_feed(&rt->dns, data + done, (size_t)n, learn, r);
		done += (size_t)n;
	}
	return done;
}

/** flush_down - write what waits, the chain's output behind the rest; true: nothing waits now */
static bool flush_down(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	const uint8_t *made;
	size_t len, done;

	if (rt->held_len) {
		drop_held(rt, write_down(r, f, NULL, rt->held, rt->held_len));
		if (rt->held_len)
			return false;
	}
	while ((len = hook_chain_output(f, HOOK_DOWN, &made)) > 0) {
		done = write_down(r, f, NULL, made, len);
		if (done)
			hook_chain_sent(f, HOOK_DOWN, done);
		if (done < len)
			return false;
	}
	return true;
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

/** take_down - @n bytes were read to @buf; false when the flow has ended */
static bool take_down(struct relay *r, struct flow *f, struct pktbuf *buf, size_t n)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct hook_passed p;
	size_t done = 0;
	int rc;

	if (!f->rec->first_byte)
		f->rec->first_byte = r->now;
	f->rec->last = r->now;
	f->rec->down.bytes += n;
	f->rec->down.packets++;
	r->moved += n;
	rc = offer(r, f, HOOK_DOWN, buf->data, n, false, &p);
	if (rc) {
		relay_tcp_refused(r, f, rc);
		return false;
	}
	if (!rt->held_len)
		done = write_down(r, f, p.as_is >= SHARE_MIN ? buf : NULL, buf->data, p.as_is);
	if (done < p.as_is && keep_down(rt, buf->data + done, p.as_is - done)) {
		relay_tcp_blocked(r, f, FLOW_ENDED_LIMIT);
		return false;
	}
	return true;
}

/** take_all - @n bytes were read to the buffers in turn; as take_down() */
static bool take_all(struct relay *r, struct flow *f, size_t n)
{
	bool lives = true;

	for (int i = 0; n && lives; i++) {
		size_t len = MIN(n, (size_t)ENGINE_CHUNK);

		weir_assert(r->tcp->bufs[i]);
		lives = take_down(r, f, r->tcp->bufs[i], len);
		n -= len;
	}
	return lives;
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
		if (!take_all(r, f, (size_t)n))
			return -1;
		return flush_down(r, f);
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

/** fin_down - is there nothing more for the program? False when the flow has ended */
static bool fin_down(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->net_fin && !rt->down_last) {
		rt->down_last = true;
		if (!hook_direct(f) && !tell_last(r, f, HOOK_DOWN))
			return false;
	}
	if (!flush_down(r, f) || rt->down_shut ||
	    !(hook_chain_over(f, HOOK_DOWN) || (rt->net_fin && hook_direct(f))))
		return true;
	rt->down_shut = true;
	relay_tcp_engine(r, f, engine_shutdown(rt->conn));
	return f->relay != NULL;
}

/** down_room - how much may be read now */
static size_t down_room(struct relay *r, struct flow *f)
{
	const struct relay_tcp *rt = relay_tcp_of(f);
	const size_t room = hook_chain_room(f, HOOK_DOWN);

	(void)r;
	/* Ended by a hook: what still comes goes nowhere. */
	return rt->down_shut ? MIN(room, (size_t)ENGINE_CHUNK) : MIN(room, engine_room(rt->conn));
}

/** is_full - bytes of all flows are what they may be; reading goes on when there are fewer */
static bool is_full(struct relay *r, struct flow *f)
{
	if (engine_memory() + hook_chain_bytes(r->hooks) <= r->cfg->total_buffer)
		return false;
	r->count.buffer_full++;
	r->notice(r->ctx, "total-buffer", "--total-buffer is full: reading pauses");
	relay_tcp_again(&r->tcp->starved, f);
	return true;
}

/** read_some - as much as a turn allows; false when the flow has ended */
static bool read_some(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	for (int turn = 0; rt->net_readable && !rt->net_fin; turn++) {
		size_t room = down_room(r, f);
		int rc;

		if (!room)
			break;
		if (turn == DOWN_READS_MAX) {
			relay_tcp_again(&r->tcp->ready, f);
			break;
		}
		if (is_full(r, f))
			break;
		rc = read_down(r, f, room);
		if (rc < 0)
			return false;
		if (!rc)
			break;
	}
	return true;
}

bool relay_tcp_pump_down(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (f->held || rt->cut)
		return true;
	if (flush_down(r, f) && !read_some(r, f))
		return false;
	/* Room, and yet not written: no memory, and no ACK may come to try again. */
	if (!flush_down(r, f) && engine_room(rt->conn))
		relay_tcp_again(&r->tcp->starved, f);
	return fin_down(r, f);
}
