/* SPDX-License-Identifier: MIT */
#include "processor_hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIME_DEFAULT  (5 * UINT64_C(1000000000))
#define TIME_MIN      UINT64_C(1000000)
#define TIME_MAX      (3600 * UINT64_C(1000000000))
#define QUEUE_DEFAULT (4u << 20)
#define QUEUE_MIN     (64u << 10)
#define QUEUE_MAX     (UINT64_C(1) << 30)
#define READ_SIZE     65536
#define READS_MAX     4 /* a turn: others wait, too */
/* Lines that nobody holds back (a flow's end) may go beyond the queue by so much. */
#define QUEUE_OVER (4u << 20)

static uint64_t now(const struct processor *p)
{
	return p->host->now(p->ref);
}

/* --- the window ------------------------------------------------------------------------------ */

static struct request **place(struct processor *p, uint64_t id)
{
	return &p->window[id & (PROCESSOR_WINDOW - 1)];
}

static void arm(struct processor *p);

/** on_time - the oldest may have waited long enough, and those behind it */
static void on_time(void *ctx)
{
	struct processor *p = ctx;
	bool any = false;

	p->timer = NULL;
	while (p->oldest < p->next) {
		struct request *r = *place(p, p->oldest);

		if (r && r->deadline > now(p))
			break;
		if (r) {
			complain(&p->complaints, p->host, p->ref, r->flow->f,
				 "no answer within the time");
			request_fail(r);
			*place(p, p->oldest) = NULL;
			any = true;
		}
		p->oldest++;
	}
	arm(p);
	if (any && p->out.len >= p->queue) /* those that wait for room would wait for ever */
		link_down(p, "it reads nothing");
	else if (p->state == LINK_UP)
		link_flush(p);
}

/** arm - the timer for the oldest request that is out */
static void arm(struct processor *p)
{
	uint64_t wait;

	while (p->oldest < p->next && !*place(p, p->oldest))
		p->oldest++;
	if (p->timer || p->oldest == p->next)
		return;
	wait = (*place(p, p->oldest))->deadline;
	wait = wait > now(p) ? wait - now(p) : 0;
	p->timer = p->host->timer(p->ref, (unsigned)(wait / 1000000 + 1), on_time, p);
}

int request_start(struct processor *p, struct request *r)
{
	if (p->next - p->oldest == PROCESSOR_WINDOW)
		return -1;
	r->id = p->next++;
	r->deadline = now(p) + p->time_ns;
	*place(p, r->id) = r;
	p->requests++;
	arm(p);
	return 0;
}

void request_forget(struct processor *p, struct request *r)
{
	if (r->id)
		*place(p, r->id) = NULL;
	if (r->waits)
		TAILQ_REMOVE(&p->waiting, r, next);
	wire_free(r->answer);
	*r = (struct request){.flow = r->flow, .kind = r->kind, .dir = r->dir};
}

/** request_of - the request that is out as number @id, or NULL */
static struct request *request_of(struct processor *p, uint64_t id)
{
	return id >= p->oldest && id < p->next ? *place(p, id) : NULL;
}

/** fail_all - whatever is out or waits */
static void fail_all(struct processor *p)
{
	struct request *r;

	for (; p->oldest < p->next; p->oldest++) {
		r = *place(p, p->oldest);
		*place(p, p->oldest) = NULL;
		if (r)
			request_fail(r);
	}
	while ((r = TAILQ_FIRST(&p->waiting))) {
		TAILQ_REMOVE(&p->waiting, r, next);
		r->waits = false;
		request_fail(r);
	}
}

/** link_error - @error of its socket; at the end of a program it is one of several */
static void link_error(struct processor *p, int error)
{
	link_down(p, error && error != ECONNRESET && error != EPIPE
			     ? strerror(error)
			     : "it has ended the connection");
}

/* --- out ----------------------------------------------------------------------------------------
 */

bool link_room(const struct processor *p)
{
	return p->out.len < p->queue && p->next - p->oldest < PROCESSOR_WINDOW / 2;
}

/**
 * wake_waiting - show those again that wait, as far as there is room for what they may be shown
 *
 * Each adds to the buffer in a later turn, and then comes by here again.
 */
static void wake_waiting(struct processor *p)
{
	size_t room = link_room(p) ? (p->queue - p->out.len) / READ_SIZE + 1 : 0;
	struct request *r;

	for (; room && (r = TAILQ_FIRST(&p->waiting)); room--) {
		TAILQ_REMOVE(&p->waiting, r, next);
		r->waits = false;
		p->host->resume(r->flow->f, r->dir);
	}
}

static void look_for_room(struct processor *p, bool yes)
{
	if (p->writing == yes)
		return;
	p->writing = yes;
	p->host->watch_set(p->watch, WEIR_READABLE | (yes ? WEIR_WRITABLE : 0));
}

void link_flush(struct processor *p)
{
	if (p->out.failed || p->out.len > p->queue + QUEUE_OVER) {
		link_down(p, p->out.failed ? "out of memory" : "it does not read what it is told");
		return;
	}
	while (p->state == LINK_UP && p->out.len) {
		ssize_t n =
			send(p->fd, p->out.p + p->out.off, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			link_error(p, errno);
			return;
		}
		if (n < 0)
			break;
		bytes_drop(&p->out, (size_t)n);
	}
	if (p->state != LINK_UP)
		return;
	look_for_room(p, p->out.len != 0);
	wake_waiting(p);
}

/* --- in ------------------------------------------------------------------------------------------
 */

/** take_message - a message is whole */
static void take_message(struct processor *p, struct wire_message *m)
{
	struct request *r = m->has_id ? request_of(p, m->id) : NULL;

	if (m->has_id && !r) {
		p->late++; /* its flow has ended, or it has waited too long */
		wire_free(m);
		return;
	}
	p->answered = true;
	if (r)
		*place(p, r->id) = NULL;
	flow_answer(p, r, m);
}

/** bad_line - what it says is nothing that can be read on from */
static void bad_line(struct processor *p, const char *err)
{
	char text[128];

	snprintf(text, sizeof(text), "its line is wrong: %s", err);
	link_down(p, text);
}

/** bad_answer - what it answers to @m's request is no answer */
static void bad_answer(struct processor *p, const struct wire_message *m, const char *err)
{
	struct request *r = request_of(p, m->id);
	char text[160];

	snprintf(text, sizeof(text), "its answer is wrong: %s", err);
	complain(&p->complaints, p->host, p->ref, r ? r->flow->f : NULL, text);
	if (r) {
		*place(p, r->id) = NULL;
		request_fail(r);
	}
}

static void take_line(struct processor *p, const char *line, size_t len)
{
	struct wire_message *m;
	const char *err;

	if (!wire_parse(line, len, p->raw, &m, &err)) {
		if (m->body)
			p->head = m;
		else
			take_message(p, m);
		return;
	}
	if (!m) {
		bad_line(p, err);
		return;
	}
	bad_answer(p, m, err);
	wire_free(m);
}

/** take_body - the bytes of the message whose line has come; false: not all are there */
static bool take_body(struct processor *p)
{
	struct wire_message *m = p->head;

	if (p->in.len < m->body)
		return false;
	p->head = NULL;
	if (wire_set_body(m, p->in.p + p->in.off)) {
		wire_free(m);
		link_down(p, "out of memory");
		return false;
	}
	bytes_drop(&p->in, m->body);
	take_message(p, m);
	return true;
}

/** take_in - all that is whole in the buffer */
static void take_in(struct processor *p)
{
	unsigned connection = p->connection;

	while (p->state == LINK_UP && p->connection == connection) {
		const uint8_t *from = p->in.p + p->in.off, *newline;
		size_t len;

		if (p->head) {
			if (!take_body(p))
				return;
			continue;
		}
		if (!p->in.len)
			return;
		newline = memchr(from + p->scanned, '\n', p->in.len - p->scanned);
		if (!newline) {
			p->scanned = p->in.len;
			if (p->in.len > WIRE_LINE_MAX)
				bad_line(p, "it is too long");
			return;
		}
		len = (size_t)(newline - from);
		p->scanned = 0;
		bytes_drop(&p->in, len + 1); /* the line stays where it is until more is read */
		if (len)
			take_line(p, (const char *)from, len);
	}
}

static void read_some(struct processor *p)
{
	static uint8_t chunk[READ_SIZE];
	unsigned connection = p->connection;

	for (unsigned i = 0; i < READS_MAX && p->connection == connection; i++) {
		ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			link_error(p, n ? errno : 0);
			return;
		}
		bytes_add(&p->in, chunk, (size_t)n);
		if (p->in.failed) {
			link_down(p, "out of memory");
			return;
		}
		take_in(p);
		if (p->state != LINK_UP || (size_t)n < sizeof(chunk))
			return;
	}
}

static void on_ready(void *ctx, unsigned events)
{
	struct processor *p = ctx;
	unsigned connection = p->connection;

	if (events & WEIR_READABLE)
		read_some(p);
	if (p->state == LINK_UP && p->connection == connection)
		link_flush(p);
}

/* --- up and down
 * ---------------------------------------------------------------------------------- */

/** hang_up - close what there is of a connection */
static void hang_up(struct processor *p)
{
	if (p->watch)
		p->host->watch_stop(p->watch);
	if (p->fd >= 0)
		close(p->fd);
	p->watch = NULL;
	p->fd = -1;
	p->writing = false;
	wire_free(p->head);
	p->head = NULL;
	bytes_free(&p->in);
	p->scanned = 0;
}

/** fresh_out - nothing but a greeting waits to be said */
static void fresh_out(struct processor *p)
{
	bytes_free(&p->out);
	p->connection++;
	say_hello(p);
}

void link_up(struct processor *p, int fd)
{
	if (p->state == LINK_UP)
		link_down(p, "there is a new connection");
	p->fd = fd;
	p->watch = p->host->watch(p->ref, fd, WEIR_READABLE, on_ready, p);
	if (!p->watch) {
		link_down(p, "it cannot be watched");
		return;
	}
	if (p->state == LINK_DOWN)
		fresh_out(p);
	p->answered = false;
	p->state = LINK_UP;
	link_flush(p);
}

void link_down(struct processor *p, const char *why)
{
	bool was = p->state != LINK_DOWN;
	char text[256];

	hang_up(p);
	p->state = LINK_DOWN;
	bytes_free(&p->out);
	if (was) {
		p->lost++;
		snprintf(text, sizeof(text), "the processor: %s", why);
		complain(&p->complaints, p->host, p->ref, NULL, text);
	}
	fail_all(p);
	if (was && p->ended)
		p->ended(p->ended_ctx);
}

/* --- configuration
 * ----------------------------------------------------------------------------------- */

/** set_wants - "open+payload": which events */
static int set_wants(struct processor *p, const char *value)
{
	static const char *const names[] = {"open", "payload", "datagram", "half_close", "name"};

	p->wants = 0;
	while (*value) {
		size_t len = strcspn(value, "+"), i = 0;

		while (i < 5 && (strncmp(names[i], value, len) != 0 || names[i][len]))
			i++;
		if (i == 5)
			return -1;
		p->wants |= 1U << i;
		value += len + (value[len] != 0);
	}
	return p->wants ? 0 : -1;
}

int processor_config(struct processor *p, const char *key, const char *value, const char **err)
{
	uint64_t n;

	if (!strcmp(key, "format")) {
		*err = "wants raw or json";
		p->raw = !strcmp(value, "raw");
		return p->raw || !strcmp(value, "json") ? 0 : -1;
	}
	if (!strcmp(key, "timeout")) {
		*err = "wants a time from 1ms to 3600s";
		n = parse_time(value, TIME_MIN, TIME_MAX);
		p->time_ns = n;
		return n ? 0 : -1;
	}
	if (!strcmp(key, "queue")) {
		*err = "wants a size from 64kb to 1gb";
		n = parse_size(value, QUEUE_MIN, QUEUE_MAX);
		p->queue = n;
		return n ? 0 : -1;
	}
	if (!strcmp(key, "wants")) {
		*err = "wants some of open, payload, datagram, half_close, name, joined by +";
		return set_wants(p, value);
	}
	*err = "there is no such key";
	return -1;
}

void processor_init(struct processor *p, const struct weir_host *host, struct weir_hook_ref *ref)
{
	*p = (struct processor){
		.host = host,
		.ref = ref,
		.raw = true,
		.wants = PROCESSOR_ALL,
		.time_ns = TIME_DEFAULT,
		.queue = QUEUE_DEFAULT,
		.fd = -1,
		.oldest = 1,
		.next = 1,
	};
	TAILQ_INIT(&p->waiting);
}

int processor_ready(struct processor *p, const char **err)
{
	json_object_seed(0); /* reads a file, so not when the first answer comes */
	fresh_out(p);
	*err = "out of memory";
	return p->out.failed ? -1 : 0;
}

void processor_end(struct processor *p)
{
	hang_up(p);
	bytes_free(&p->out);
	if (p->timer)
		p->host->timer_stop(p->timer);
}
