/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A binary heap of flows by deadline, at most one entry per flow: f->timer_pos
 * is its place (1 is the top, 0 means not in the heap), so re-arming and
 * clearing cost O(log n) without a search. The array has room for every flow
 * of the table and is touched from the front only.
 *
 * For a datagram flow the deadline is a promise to look, not a sentence: a
 * datagram that passes only writes rec->last. When the deadline comes up,
 * timers_pop() compares with the fact and puts the flow back if it was busy.
 * So a busy flow moves in the heap once per idle period, whatever its rate.
 */
#include "timers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"

struct timers {
	struct timers_config cfg;
	uint32_t max, n;
	struct flow **heap; /* 1-based: heap[0] is not used */
};

static size_t heap_bytes(uint32_t max)
{
	return ((size_t)max + 1) * sizeof(struct flow *);
}

struct timers *timers_new(const struct timers_config *cfg, uint32_t max_flows)
{
	struct timers *t = calloc(1, sizeof(*t));
	void *heap;

	if (!t)
		return NULL;
	heap = mmap(NULL, heap_bytes(max_flows), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap == MAP_FAILED) {
		free(t);
		return NULL;
	}
	t->cfg = *cfg;
	t->max = max_flows;
	t->heap = heap;
	return t;
}

void timers_free(struct timers *t)
{
	if (!t)
		return;
	munmap(t->heap, heap_bytes(t->max));
	free(t);
}

const struct timers_config *timers_config(const struct timers *t)
{
	return &t->cfg;
}

/* --- the heap ------------------------------------------------------------------ */

static void place(struct timers *t, uint32_t pos, struct flow *f)
{
	t->heap[pos] = f;
	f->timer_pos = pos;
}

/** sift - let the flow at @pos find its place, upwards or downwards */
static void sift(struct timers *t, uint32_t pos)
{
	struct flow *f = t->heap[pos];

	while (pos > 1 && f->deadline < t->heap[pos / 2]->deadline) {
		place(t, pos, t->heap[pos / 2]);
		pos /= 2;
	}
	while (2 * pos <= t->n) {
		uint32_t child = 2 * pos;

		if (child < t->n && t->heap[child + 1]->deadline < t->heap[child]->deadline)
			child++;
		if (f->deadline <= t->heap[child]->deadline)
			break;
		place(t, pos, t->heap[child]);
		pos = child;
	}
	place(t, pos, f);
}

void timers_set(struct timers *t, struct flow *f, uint64_t at)
{
	f->deadline = at;
	if (!f->timer_pos) {
		weir_assert(t->n < t->max);
		place(t, ++t->n, f);
	}
	weir_assert(t->heap[f->timer_pos] == f);
	sift(t, f->timer_pos);
}

void timers_clear(struct timers *t, struct flow *f)
{
	uint32_t pos = f->timer_pos;
	struct flow *moved;

	if (!pos)
		return;
	weir_assert(t->heap[pos] == f);
	f->timer_pos = 0;
	f->deadline = 0;
	moved = t->heap[t->n--];
	if (moved == f)
		return;
	place(t, pos, moved);
	sift(t, pos);
}

uint64_t timers_next(const struct timers *t)
{
	return t->n ? t->heap[1]->deadline : 0;
}

/* --- what the facts mean --------------------------------------------------------- */

#define DNS_PORT 53

/** idle_limit - how long a datagram flow may be silent; 0 = not a datagram flow */
static uint64_t idle_limit(const struct timers *t, const struct flow_rec *rec)
{
	switch (rec->proto) {
	case IPPROTO_UDP:
		return rec->net.port == DNS_PORT ? t->cfg.dns_idle : t->cfg.udp_idle;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return t->cfg.icmp_idle;
	default:
		return 0;
	}
}

void timers_datagram(struct timers *t, struct flow *f, uint64_t now)
{
	f->rec->last = now;
	if (!f->timer_pos)
		timers_set(t, f, now + idle_limit(t, f->rec));
}

/** truly_due - when @f's deadline really is, by the facts of this moment */
static uint64_t truly_due(const struct timers *t, const struct flow *f)
{
	uint64_t idle = idle_limit(t, f->rec);

	/* NEW: the owner's answer is late. CLOSING: whatever its relay asked for. */
	if (!idle || f->rec->state == FLOW_NEW || f->rec->state == FLOW_CLOSING || f->held ||
	    f->gated)
		return f->deadline;
	return MAX(f->rec->last + idle, f->deadline);
}

struct flow *timers_pop(struct timers *t, uint64_t now)
{
	while (t->n && t->heap[1]->deadline <= now) {
		struct flow *f = t->heap[1];
		uint64_t due = truly_due(t, f);

		if (due <= now) {
			timers_clear(t, f);
			return f;
		}
		timers_set(t, f, due);
	}
	return NULL;
}
