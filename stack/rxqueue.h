/* SPDX-License-Identifier: MIT */
/*
 * rxqueue: the program's bytes that nobody has consumed yet, in order.
 *
 * The newest segment is kept by reference to the buffer it was read into: as a
 * rule it is consumed within the call's own turn, and then nothing was copied
 * and nothing allocated. What is still there when the next packet comes is
 * settled: a segment that fills about half of its buffer keeps it, a smaller one is
 * copied behind the bytes before it, so that a thousand small segments cannot
 * pin a thousand large buffers.
 */
#ifndef WEIR_STACK_RXQUEUE_H
#define WEIR_STACK_RXQUEUE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct pktbuf;
struct rxblock;

/**
 * struct rxqueue - zeroed is empty
 * @head, @tail: settled blocks, owned
 * @fresh: reference to the buffer of the newest segment, or NULL
 * @data, @len: that segment's bytes
 * @bytes: in blocks and fresh together
 */
struct rxqueue {
	struct rxblock *head, *tail;
	struct pktbuf *fresh;
	const uint8_t *data;
	uint32_t len, bytes;
};

/** rxqueue_add - @len bytes at @data, inside @buf; call only when q->fresh is NULL */
void rxqueue_add(struct rxqueue *q, struct pktbuf *buf, const void *data, size_t len);
/** rxqueue_settle - let go of the newest buffer where that is worth it; 0 or -ENOMEM */
int rxqueue_settle(struct rxqueue *q);
int rxqueue_peek(const struct rxqueue *q, struct iovec *iov, int max);
/** rxqueue_drop - forget the first @len bytes (at most q->bytes) */
void rxqueue_drop(struct rxqueue *q, size_t len);
void rxqueue_clear(struct rxqueue *q);
/** rxqueue_memory - bytes held by all queues of the process */
size_t rxqueue_memory(void);

#endif
