/* SPDX-License-Identifier: MIT */
#include "outbox.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct waiting {
	struct waiting *next;
	size_t size;
	struct ipc_msg m; /* only its first size bytes are allocated */
};

struct outbox {
	int fd;
	struct waiting *first, **last;
	size_t bytes;
	uint64_t lost;
};

struct outbox *outbox_new(int fd)
{
	struct outbox *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->fd = fd;
	o->last = &o->first;
	return o;
}

static void pop(struct outbox *o)
{
	struct waiting *w = o->first;

	o->first = w->next;
	if (!o->first)
		o->last = &o->first;
	o->bytes -= w->size;
	free(w);
}

void outbox_free(struct outbox *o)
{
	if (!o)
		return;
	while (o->first)
		pop(o);
	free(o);
}

static void push(struct outbox *o, const struct ipc_msg *m)
{
	size_t size = ipc_size(m);
	struct waiting *w = NULL;

	if (o->bytes + size <= OUTBOX_MAX)
		w = malloc(offsetof(struct waiting, m) + size);
	if (!w) {
		o->lost++;
		return;
	}
	w->next = NULL;
	w->size = size;
	memcpy(&w->m, m, size);
	*o->last = w;
	o->last = &w->next;
	o->bytes += size;
}

void outbox_send(struct outbox *o, const struct ipc_msg *m)
{
	int rc = o->first ? -EAGAIN : ipc_send(o->fd, m);

	if (rc == -EAGAIN || rc == -ENOBUFS)
		push(o, m);
	else if (rc)
		o->lost++;
}

void outbox_flush(struct outbox *o)
{
	while (o->first) {
		int rc = ipc_send(o->fd, &o->first->m);

		if (rc == -EAGAIN || rc == -ENOBUFS)
			return;
		o->lost += rc != 0;
		pop(o);
	}
}

bool outbox_empty(const struct outbox *o)
{
	return !o->first;
}

void outbox_finish(struct outbox *o)
{
	struct pollfd p = {.fd = o->fd, .events = POLLOUT};

	outbox_flush(o);
	while (o->first && poll(&p, 1, 1000) > 0 && !(p.revents & (POLLERR | POLLHUP)))
		outbox_flush(o);
}

uint64_t outbox_lost(const struct outbox *o)
{
	return o->lost;
}
