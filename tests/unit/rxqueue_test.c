/* SPDX-License-Identifier: MIT */
/*
 * The queue of unread bytes: order, parts, memory.
 * LINK: stack/rxqueue.o stack/pktbuf.o src/base/util.o
 */
#include "rxqueue.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "stack.h"

#define TOTAL 2000000

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static void add(struct rxqueue *q, size_t at, size_t len)
{
	struct pktbuf *b = pktbuf_get();

	for (size_t i = 0; i < len; i++)
		b->data[i + 60] = byte_at(at + i);
	rxqueue_add(q, b, b->data + 60, len);
	pktbuf_put(b);
}

/** matches - what peek shows is the stream from @at on */
static bool matches(const struct rxqueue *q, size_t at)
{
	struct iovec iov[200];
	size_t seen = 0;
	int n = rxqueue_peek(q, iov, 200);

	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < iov[i].iov_len; j++, seen++)
			if (((const uint8_t *)iov[i].iov_base)[j] != byte_at(at + seen))
				return false;
	return n == 200 || seen == q->bytes;
}

/** random_life - sizes of all kinds, settled or not, dropped in parts */
static void random_life(void)
{
	struct rxqueue q = {0};
	size_t in = 0, out = 0, len, peak = 0;
	bool right = true;

	srandom(7);
	while (out < TOTAL) {
		len = (size_t)random() % (random() % 4 ? 50 : 65000) + 1;
		if (in < TOTAL && q.bytes + len <= 131070) {
			rxqueue_settle(&q);
			add(&q, in, len);
			in += len;
		} else {
			len = (size_t)random() % (q.bytes + 1);
			rxqueue_drop(&q, len);
			out += len;
		}
		if (random() % 3 == 0)
			rxqueue_settle(&q);
		peak = rxqueue_memory() > peak ? rxqueue_memory() : peak;
		right = right && matches(&q, out) && q.bytes == in - out;
	}
	tap_ok(right, "%d bytes come out as they went in", TOTAL);
	tap_ok(peak < 5 * 131070, "128 KiB of them never take more than %zu bytes", peak);
	rxqueue_clear(&q);
	tap_is(rxqueue_memory(), 0, "an empty queue holds nothing");
}

static void fresh_is_not_copied(void)
{
	struct rxqueue q = {0};
	struct pktbuf *b = pktbuf_get();
	struct iovec iov;

	rxqueue_add(&q, b, b->data + 7, 100);
	tap_ok(rxqueue_peek(&q, &iov, 1) == 1 && iov.iov_base == b->data + 7 && iov.iov_len == 100,
	       "the newest segment is shown where it was read");
	tap_is(b->refs, 2, "by reference");
	rxqueue_drop(&q, 40);
	tap_ok(rxqueue_peek(&q, &iov, 1) == 1 && iov.iov_base == b->data + 47, "also in part");
	rxqueue_settle(&q);
	tap_is(b->refs, 1, "settling lets the buffer of a small one go");
	tap_is(q.bytes, 60, "and keeps its bytes");
	rxqueue_add(&q, b, b->data, 40000);
	rxqueue_settle(&q);
	tap_is(b->refs, 2, "and keeps the buffer of a large one");
	rxqueue_drop(&q, q.bytes);
	tap_is(b->refs, 1, "until it is read");
	rxqueue_add(&q, b, b->data, 0);
	tap_is(b->refs, 1, "an empty segment is nothing");
	tap_is(rxqueue_peek(&q, &iov, 1), 0, "and shows nothing");
	pktbuf_put(b);
}

int main(void)
{
	fresh_is_not_copied();
	random_life();
	tap_is(pktbuf_live(), 0, "no buffer is left");
	pktbuf_drain();
	return tap_done();
}
