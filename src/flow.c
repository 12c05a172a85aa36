/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Three arrays, all sized by max_flows, mapped without reserve and touched
 * from the front only, so that a table for a million flows costs nothing until
 * there are a million flows:
 *
 *   recs[]     struct flow_rec, shared with the supervisor
 *   flows[]    struct flow, this process' half; flows[i].rec == &recs[i]
 *   buckets[]  1 + index of the first flow of a hash chain, 0 = empty
 *
 * An entry is found through its chain (hash_next, 1 + index). Freed entries
 * form a list through the same member, the last one freed comes first: its
 * cache lines are still warm. Behind @fresh no entry has ever been used.
 *
 * The generation is bumped when an entry is freed, so a reference taken before
 * finds nothing from that moment on. It has 28 bits and is never 0: it fits
 * a netsock token, and a packed reference of 0 refers to nothing.
 *
 * An entry that was released waits in the reap list (reap_next): code further
 * up in the same loop turn may still hold its pointer. It does not count against
 * max_flows any more, so the arrays are FLOW_SPARE longer than that.
 *
 * Open datagram flows are also linked by the time of their last datagram (older, newer;
 * 1 + index). A busy flow is the newest already: a touch then costs one comparison.
 */
#include "flow.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/util.h"

#define FLOW_MAX	    (1U << 28) /* indexes stay far from overflow */
#define FLOW_GEN_MASK	    0xfffffffU
#define FLOW_ID_BITS	    53 /* what a JSON number holds exactly */
#define FLOW_ID_WORKER_BITS 4

struct flow_table {
	struct flow_rec *recs;
	struct flow *flows;
	uint32_t *buckets;
	uint32_t bucket_mask;
	uint32_t max, fresh;
	uint32_t free_head, reap_head; /* 1 + index, 0 = end */
	uint32_t oldest, newest;       /* of the touched ones, 1 + index */
	uint32_t used, released;
	uint32_t count[2][FLOW_STATE_MAX]; /* [is TCP] */
	uint64_t id_base, id_count;
	uint16_t worker;
	bool recs_owned;
	struct hash_key hash_key;
};

static const char *const state_texts[FLOW_STATE_MAX] = {
	[FLOW_FREE] = "free",
	[FLOW_NEW] = "new",
	[FLOW_OWNED] = "owned",
	[FLOW_JUDGED] = "judged",
	[FLOW_CONNECTING] = "connecting",
	[FLOW_OPEN] = "open",
	[FLOW_CLOSING] = "closing",
};

static const char *const reason_texts[FLOW_REASON_MAX] = {
	[FLOW_ENDED_NOT] = "open",
	[FLOW_ENDED_FIN] = "fin",
	[FLOW_ENDED_RESET_APP] = "reset-app",
	[FLOW_ENDED_RESET_NET] = "reset-net",
	[FLOW_ENDED_REFUSED] = "refused",
	[FLOW_ENDED_TIMEOUT] = "timeout",
	[FLOW_ENDED_APP_GONE] = "app-gone",
	[FLOW_ENDED_BLOCKED] = "blocked",
	[FLOW_ENDED_LIMIT] = "limit",
	[FLOW_ENDED_CRASH] = "crash",
	[FLOW_ENDED_SHUTDOWN] = "shutdown",
	[FLOW_ENDED_UNSUPPORTED] = "unsupported",
	[FLOW_ENDED_EVICTED] = "evicted",
};

static const char *const verdict_texts[FLOW_VERDICT_MAX] = {
	[FLOW_ALLOW] = "allow", [FLOW_BLOCK] = "block", [FLOW_DROP] = "drop",
	[FLOW_RESET] = "reset", [FLOW_HELD] = "held",	[FLOW_WAITS] = "wait",
};

/* edges[from] has bit 1 << to set where the step exists; CLOSING -> FREE is flow_reap()'s */
#define TO(s) (1U << (s))
static const uint8_t edges[FLOW_STATE_MAX] = {
	[FLOW_NEW] = TO(FLOW_OWNED) | TO(FLOW_CLOSING),
	[FLOW_OWNED] = TO(FLOW_JUDGED) | TO(FLOW_CLOSING),
	[FLOW_JUDGED] = TO(FLOW_CONNECTING) | TO(FLOW_OPEN) | TO(FLOW_CLOSING),
	[FLOW_CONNECTING] = TO(FLOW_OPEN) | TO(FLOW_CLOSING),
	[FLOW_OPEN] = TO(FLOW_CLOSING),
};
#undef TO

const char *flow_state_text(unsigned state)
{
	return state < FLOW_STATE_MAX ? state_texts[state] : "?";
}

const char *flow_reason_text(unsigned reason)
{
	return reason < FLOW_REASON_MAX ? reason_texts[reason] : "?";
}

const char *flow_verdict_text(unsigned verdict)
{
	return verdict < FLOW_VERDICT_MAX ? verdict_texts[verdict] : "?";
}

/* --- memory ------------------------------------------------------------------ */

/** map_lazily - @size zero bytes that cost memory only where they are written; NULL on failure */
static void *map_lazily(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

size_t flow_table_shared_size(uint32_t max_flows)
{
	return (size_t)flow_table_entries(max_flows) * sizeof(struct flow_rec);
}

struct flow_rec *flow_rec_at(void *shared, uint32_t max_flows, uint32_t index)
{
	return index < flow_table_entries(max_flows) ? (struct flow_rec *)shared + index : NULL;
}

/** bucket_count - a power of two, at least one bucket per flow */
static uint32_t bucket_count(uint32_t max_flows)
{
	uint32_t n = 16;

	while (n < max_flows)
		n *= 2;
	return n;
}

struct flow_table *flow_table_new(const struct flow_table_config *cfg)
{
	struct flow_table *t;

	if (!cfg->max_flows || cfg->max_flows > FLOW_MAX)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->max = cfg->max_flows;
	t->worker = cfg->worker;
	t->bucket_mask = bucket_count(t->max) - 1;
	t->recs_owned = !cfg->shared;
	t->recs = cfg->shared ? cfg->shared : map_lazily(flow_table_shared_size(t->max));
	t->flows = map_lazily(flow_table_entries(t->max) * sizeof(*t->flows));
	t->buckets = map_lazily(((size_t)t->bucket_mask + 1) * sizeof(*t->buckets));
	if (!t->recs || !t->flows || !t->buckets || hash_key_random(&t->hash_key)) {
		flow_table_free(t);
		return NULL;
	}
	return t;
}

void flow_table_free(struct flow_table *t)
{
	if (!t)
		return;
	if (t->recs_owned)
		unmap(t->recs, flow_table_shared_size(t->max));
	unmap(t->flows, flow_table_entries(t->max) * sizeof(*t->flows));
	unmap(t->buckets, ((size_t)t->bucket_mask + 1) * sizeof(*t->buckets));
	free(t);
}

/* --- counting ---------------------------------------------------------------- */

uint32_t flow_count(const struct flow_table *t)
{
	return t->used;
}

uint32_t flow_count_state(const struct flow_table *t, enum flow_state s)
{
	if (s == FLOW_FREE)
		return t->max - (t->used - t->released);
	return t->count[0][s] + t->count[1][s];
}

uint32_t flow_count_half_open(const struct flow_table *t)
{
	const uint32_t *tcp = t->count[1];

	return tcp[FLOW_NEW] + tcp[FLOW_OWNED] + tcp[FLOW_JUDGED] + tcp[FLOW_CONNECTING];
}

/** put_state - write the state and keep the counters true; the one writer of rec->state */
static void put_state(struct flow_table *t, struct flow_rec *rec, enum flow_state s)
{
	uint32_t *count = t->count[rec->proto == IPPROTO_TCP];

	if (rec->state != FLOW_FREE)
		count[rec->state]--;
	if (s != FLOW_FREE)
		count[s]++;
	/* The supervisor reads the rest of the record by this byte after a crash. */
	__atomic_store_n(&rec->state, (uint8_t)s, __ATOMIC_RELEASE);
}

/* --- the hash ---------------------------------------------------------------- */

static bool is_echo(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static struct flow_key key_make(uint8_t proto, const struct addrport *app,
				const struct addrport *net)
{
	return (struct flow_key){
		.app = app->addr,
		.net = net->addr,
		.app_port = app->port,
		.net_port = is_echo(proto) ? 0 : net->port,
		.proto = proto,
	};
}

/** key_of_rec - the key an entry was made with: an echo's identifier is its app port */
static struct flow_key key_of_rec(const struct flow_rec *rec)
{
	struct flow_key k = key_make(rec->proto, &rec->app, &rec->net);

	if (is_echo(rec->proto))
		k.app_port = rec->icmp_ident;
	return k;
}

static uint32_t *bucket_of(const struct flow_table *t, const struct flow_key *k)
{
	_Static_assert(sizeof(*k) == 40, "no padding: it is hashed and compared as memory");

	return &t->buckets[hash_bytes(&t->hash_key, k, sizeof(*k)) & t->bucket_mask];
}

static void hash_insert(struct flow_table *t, struct flow *f, const struct flow_key *k)
{
	uint32_t *bucket = bucket_of(t, k);

	f->hash_next = *bucket;
	*bucket = f->index + 1;
	f->hashed = true;
}

static void hash_remove(struct flow_table *t, struct flow *f)
{
	struct flow_key k = key_of_rec(f->rec);
	uint32_t *link = bucket_of(t, &k);

	while (*link != f->index + 1) {
		weir_assert(*link);
		link = &t->flows[*link - 1].hash_next;
	}
	*link = f->hash_next;
	f->hash_next = 0;
	f->hashed = false;
}

static struct flow *key_find(struct flow_table *t, const struct flow_key *k)
{
	uint32_t i = *bucket_of(t, k);

	while (i) {
		struct flow *f = &t->flows[i - 1];
		struct flow_key have = key_of_rec(f->rec);

		if (!memcmp(&have, k, sizeof(have)))
			return f;
		i = f->hash_next;
	}
	return NULL;
}

struct flow *flow_find(struct flow_table *t, uint8_t proto, const struct addrport *app,
		       const struct addrport *net)
{
	struct flow_key k = key_make(proto, app, net);

	return key_find(t, &k);
}

/* --- birth -------------------------------------------------------------------- */

/** entry_take - from the free list or the untouched part; NULL when the table is full */
static struct flow *entry_take(struct flow_table *t)
{
	struct flow *f;

	if (t->used - t->released >= t->max)
		return NULL;
	if (t->free_head) {
		f = &t->flows[t->free_head - 1];
		t->free_head = f->hash_next;
	} else if (t->fresh < flow_table_entries(t->max)) {
		f = &t->flows[t->fresh];
		f->index = t->fresh;
		f->rec = &t->recs[t->fresh++];
	} else {
		return NULL;
	}
	f->hash_next = 0;
	t->used++;
	return f;
}

/**
 * id_next - a flow id that no other worker of this run gives, nor one before a restart
 *
 * Time of the first flow in units of 16 us, plus a counter, then the worker's
 * number: a worker that starts later starts above, as long as the one before
 * it made less than 62,500 flows a second over its whole life.
 */
static uint64_t id_next(struct flow_table *t, uint64_t wall)
{
	uint64_t worker = t->worker & ((1U << FLOW_ID_WORKER_BITS) - 1);

	if (!t->id_count)
		t->id_base = (wall / 1000) >> FLOW_ID_WORKER_BITS;
	t->id_count++;
	return (((t->id_base + t->id_count) << FLOW_ID_WORKER_BITS) | worker) &
	       ((1ULL << FLOW_ID_BITS) - 1);
}

static uint32_t gen_next(uint32_t gen)
{
	gen = (gen + 1) & FLOW_GEN_MASK;
	return gen ? gen : 1;
}

static void rec_fill(struct flow_rec *rec, const struct flow_key *k, uint64_t id, uint64_t now,
		     uint64_t wall)
{
	uint32_t gen = rec->gen ? rec->gen : 1;
	bool echo = is_echo((uint8_t)k->proto);

	*rec = (struct flow_rec){
		.id = id,
		.app = {.addr = k->app, .port = echo ? 0 : k->app_port},
		.net = {.addr = k->net, .port = k->net_port},
		.proto = (uint8_t)k->proto,
		.gen = gen,
		.owner_uid = (uint32_t)-1,
		.icmp_ident = echo ? k->app_port : 0,
		.start_wall = wall,
		.start = now,
		.last = now,
	};
}

struct flow *flow_new(struct flow_table *t, uint8_t proto, const struct addrport *app,
		      const struct addrport *net, uint64_t now, uint64_t wall)
{
	struct flow_key k = key_make(proto, app, net);
	char from[ADDRPORT_STRLEN], to[ADDRPORT_STRLEN];
	struct flow *f;

	weir_assert(!key_find(t, &k));
	f = entry_take(t);
	if (!f)
		return NULL;
	rec_fill(f->rec, &k, id_next(t, wall), now, wall);
	put_state(t, f->rec, FLOW_NEW);
	hash_insert(t, f, &k);
	if (log_level >= LOG_DEBUG)
		log_debug("flow %llu: new, proto %u, %s -> %s", (unsigned long long)f->rec->id,
			  proto, addrport_format(app, from), addrport_format(net, to));
	return f;
}

/* --- references --------------------------------------------------------------- */

void flow_set_inbound(struct flow *f, uint16_t host_port, uint16_t orig_port)
{
	f->rec->inbound = 1;
	f->rec->host_port = host_port;
	f->rec->orig_port = orig_port == f->rec->net.port ? 0 : orig_port;
}

struct flow_ref flow_ref(const struct flow *f)
{
	return (struct flow_ref){.index = f->index, .gen = f->rec->gen};
}

struct flow *flow_get(struct flow_table *t, struct flow_ref ref)
{
	if (ref.index >= t->fresh || t->recs[ref.index].gen != ref.gen ||
	    t->recs[ref.index].state == FLOW_FREE)
		return NULL;
	return &t->flows[ref.index];
}

uint64_t flow_ref_pack(struct flow_ref ref)
{
	return (uint64_t)ref.gen << 32 | ref.index;
}

struct flow_ref flow_ref_unpack(uint64_t packed)
{
	return (struct flow_ref){.index = (uint32_t)packed, .gen = (uint32_t)(packed >> 32)};
}

/* --- who was used last ----------------------------------------------------------- */

static void order_remove(struct flow_table *t, struct flow *f)
{
	if (f->older)
		t->flows[f->older - 1].newer = f->newer;
	else if (t->oldest == f->index + 1)
		t->oldest = f->newer;
	if (f->newer)
		t->flows[f->newer - 1].older = f->older;
	else if (t->newest == f->index + 1)
		t->newest = f->older;
	f->older = f->newer = 0;
}

void flow_touch(struct flow_table *t, struct flow *f, uint64_t now)
{
	uint32_t self = f->index + 1;

	f->rec->last = now;
	if ((f->rec->state != FLOW_OPEN && !f->refused) || t->newest == self)
		return;
	order_remove(t, f);
	f->older = t->newest;
	if (t->newest)
		t->flows[t->newest - 1].newer = self;
	else
		t->oldest = self;
	t->newest = self;
}

struct flow *flow_oldest(struct flow_table *t)
{
	return t->oldest ? &t->flows[t->oldest - 1] : NULL;
}

/* --- life and death ------------------------------------------------------------ */

void flow_set_state(struct flow_table *t, struct flow *f, enum flow_state s)
{
	unsigned from = f->rec->state;

	weir_assert(from < FLOW_STATE_MAX && s < FLOW_STATE_MAX);
	weir_assert(edges[from] & 1U << s);
	log_debug("flow %llu: %s -> %s", (unsigned long long)f->rec->id, state_texts[from],
		  state_texts[s]);
	if (s == FLOW_CLOSING) {
		hash_remove(t, f);
		order_remove(t, f);
	}
	put_state(t, f->rec, s);
}

void flow_end(struct flow_table *t, struct flow *f, enum flow_reason reason, uint64_t now)
{
	weir_assert(reason > FLOW_ENDED_NOT && reason < FLOW_REASON_MAX);
	weir_assert(f->rec->state != FLOW_FREE);
	if (f->rec->reason == FLOW_ENDED_NOT) {
		f->rec->reason = (uint8_t)reason;
		f->rec->end = now;
		log_debug("flow %llu: ended: %s", (unsigned long long)f->rec->id,
			  reason_texts[reason]);
	}
	if (f->rec->state != FLOW_CLOSING)
		flow_set_state(t, f, FLOW_CLOSING);
}

void flow_release(struct flow_table *t, struct flow *f)
{
	if (f->reaping)
		return;
	weir_assert(f->rec->state == FLOW_CLOSING);
	f->reaping = true;
	t->released++;
	f->reap_next = t->reap_head;
	t->reap_head = f->index + 1;
}

/** entry_free - back to the free list; every reference to it is stale from here on */
static void entry_free(struct flow_table *t, struct flow *f)
{
	weir_assert(f->rec->state == FLOW_CLOSING && !f->hashed);
	weir_assert(!f->timer_pos);
	put_state(t, f->rec, FLOW_FREE);
	f->rec->gen = gen_next(f->rec->gen);
	f->reaping = false;
	t->released--;
	f->reap_next = 0;
	f->deadline = 0;
	f->owner = NULL;
	f->local = false;
	f->relay = NULL;
	f->hookdata = NULL;
	f->judged = NULL;
	f->held = f->gated = f->silent = f->metered = f->refused = false;
	f->hash_next = t->free_head;
	t->free_head = f->index + 1;
	t->used--;
}

unsigned flow_reap(struct flow_table *t, void (*freeing)(void *ctx, struct flow *f), void *ctx)
{
	unsigned n = 0;

	/* @freeing may release others: they go in the same call. */
	while (t->reap_head) {
		struct flow *f = &t->flows[t->reap_head - 1];

		t->reap_head = f->reap_next;
		if (freeing)
			freeing(ctx, f);
		entry_free(t, f);
		n++;
	}
	return n;
}

bool flow_walk(struct flow_table *t, uint32_t *at, uint32_t n,
	       void (*fn)(void *ctx, struct flow *f), void *ctx)
{
	for (; n && *at < t->fresh; n--, (*at)++) {
		struct flow *f = &t->flows[*at];

		if (f->rec->state != FLOW_FREE && !f->reaping)
			fn(ctx, f);
	}
	return *at < t->fresh;
}

void flow_each(struct flow_table *t, void (*fn)(void *ctx, struct flow *f), void *ctx)
{
	uint32_t end = t->fresh; /* what @fn makes behind it is not visited */

	for (uint32_t i = 0; i < end; i++) {
		struct flow *f = &t->flows[i];

		if (f->rec->state != FLOW_FREE && !f->reaping)
			fn(ctx, f);
	}
}
