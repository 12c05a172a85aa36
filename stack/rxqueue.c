/* SPDX-License-Identifier: MIT */
#include "rxqueue.h"

#include "base/util.h"
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_BUFFER_MIN (PKTBUF_SIZE / 2) /* a segment of this size is worth its buffer */
#define BLOCK_MIN	2048		  /* room for the small segments that follow */
#define BLOCK_MAX	16384

/**
 * struct rxblock - settled bytes: in @store, or in @buf where that is not NULL
 * @off, @len: what is left
 * @cap: size of @store
 */
struct rxblock {
	struct rxblock *next;
	struct pktbuf *buf;
	const uint8_t *base;
	uint32_t off, len, cap;
	uint8_t store[];
};

static size_t held; /* by all queues */

size_t rxqueue_memory(void)
{
	return held;
}

static size_t block_cost(const struct rxblock *b)
{
	return sizeof(*b) + b->cap + (b->buf ? PKTBUF_SIZE : 0);
}

/** block_append - a new block behind the others; NULL on ENOMEM */
static struct rxblock *block_append(struct rxqueue *q, uint32_t cap)
{
	struct rxblock *b = malloc(sizeof(*b) + cap);

	if (!b)
		return NULL;
	*b = (struct rxblock){.cap = cap};
	b->base = b->store;
	if (q->tail)
		q->tail->next = b;
	else
		q->head = b;
	q->tail = b;
	return b;
}

static void block_free_head(struct rxqueue *q)
{
	struct rxblock *b = q->head;

	q->head = b->next;
	if (!q->head)
		q->tail = NULL;
	held -= block_cost(b);
	if (b->buf)
		pktbuf_put(b->buf);
	free(b);
}

static void fresh_release(struct rxqueue *q)
{
	pktbuf_put(q->fresh);
	held -= PKTBUF_SIZE;
	q->fresh = NULL;
	q->data = NULL;
	q->len = 0;
}

void rxqueue_add(struct rxqueue *q, struct pktbuf *buf, const void *data, size_t len)
{
	weir_assert(!q->fresh && len <= PKTBUF_SIZE);
	if (!len)
		return;
	q->fresh = pktbuf_ref(buf);
	q->data = data;
	q->len = (uint32_t)len;
	q->bytes += q->len;
	held += PKTBUF_SIZE;
}

/** settle_by_reference - the buffer moves from fresh into a block */
static int settle_by_reference(struct rxqueue *q)
{
	struct rxblock *b = block_append(q, 0);

	if (!b)
		return -ENOMEM;
	b->buf = pktbuf_ref(q->fresh);
	b->base = q->data;
	b->len = q->len;
	held += block_cost(b);
	fresh_release(q);
	return 0;
}

static uint32_t block_room(const struct rxblock *b)
{
	return b && !b->buf ? b->cap - b->off - b->len : 0;
}

static int settle_by_copy(struct rxqueue *q)
{
	struct rxblock *b = q->tail;
	uint32_t cap;

	if (block_room(b) < q->len) {
		/* twice the last one: few blocks for many bytes, few bytes for one segment */
		cap = b && !b->buf ? MIN(2 * b->cap, (uint32_t)BLOCK_MAX) : BLOCK_MIN;
		b = block_append(q, MAX(cap, q->len));
		if (!b)
			return -ENOMEM;
		held += block_cost(b);
	}
	memcpy(b->store + b->off + b->len, q->data, q->len);
	b->len += q->len;
	fresh_release(q);
	return 0;
}

int rxqueue_settle(struct rxqueue *q)
{
	if (!q->fresh)
		return 0;
	return q->len >= KEEP_BUFFER_MIN ? settle_by_reference(q) : settle_by_copy(q);
}

int rxqueue_peek(const struct rxqueue *q, struct iovec *iov, int max)
{
	const struct rxblock *b;
	int n = 0;

	for (b = q->head; b && n < max; b = b->next, n++) {
		iov[n].iov_base = (void *)(uintptr_t)(b->base + b->off);
		iov[n].iov_len = b->len;
	}
	if (q->fresh && n < max) {
		iov[n].iov_base = (void *)(uintptr_t)q->data;
		iov[n++].iov_len = q->len;
	}
	return n;
}

void rxqueue_drop(struct rxqueue *q, size_t len)
{
	uint32_t n;

	weir_assert(len <= q->bytes);
	q->bytes -= (uint32_t)len;
	while (len && q->head) {
		n = (uint32_t)MIN(len, (size_t)q->head->len);
		q->head->off += n;
		q->head->len -= n;
		len -= n;
		if (!q->head->len)
			block_free_head(q);
	}
	if (!len)
		return;
	q->data += len;
	q->len -= (uint32_t)len;
	if (!q->len)
		fresh_release(q);
}

void rxqueue_clear(struct rxqueue *q)
{
	rxqueue_drop(q, q->bytes);
}
