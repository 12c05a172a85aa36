/* SPDX-License-Identifier: MIT */
/* pktbuf: 64 KiB packet buffers, counted and recycled; malloc's trimming would fault them anew. */
#include "stack.h"

#include <stdlib.h>

#include "base/util.h"

#define PKTBUF_KEEP 128 /* 8 MiB: two batches of the TUN; more go back to malloc */

static struct pktbuf *free_list;
static unsigned free_count, live_count;

struct pktbuf *pktbuf_get(void)
{
	struct pktbuf *b = free_list;

	if (b) {
		free_list = b->next;
		free_count--;
	} else {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
	}
	b->refs = 1;
	b->next = NULL;
	live_count++;
	return b;
}

struct pktbuf *pktbuf_ref(struct pktbuf *b)
{
	weir_assert(b->refs);
	b->refs++;
	return b;
}

void pktbuf_put(struct pktbuf *b)
{
	weir_assert(b->refs);
	if (--b->refs)
		return;
	live_count--;
	if (free_count == PKTBUF_KEEP) {
		free(b);
		return;
	}
	b->next = free_list;
	free_list = b;
	free_count++;
}

unsigned pktbuf_live(void)
{
	return live_count;
}

void pktbuf_drain(void)
{
	struct pktbuf *b;

	while ((b = free_list)) {
		free_list = b->next;
		free(b);
	}
	free_count = 0;
}
