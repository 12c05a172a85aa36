/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A queue collects one datagram. Fragments are copied to where they belong in a
 * 64 KiB packet buffer at once, the IP header of the first one right in front of
 * them, so a complete datagram needs no further copy:
 *
 *   buf->data:  [ ... | IP header | payload 0 ............ 65535 ]
 *                                 ^ HEAD
 *
 * What has come is kept in two bit maps of one bit per 8 bytes, the unit of
 * fragment offsets: @have says that the bytes are here, @start that a fragment
 * began here. As accepted fragments never overlap, the two tell the borders of
 * each of them, and so an exact duplicate (ignored) from an overlap.
 *
 * An overlap makes the whole datagram void (RFC 5722): who overlaps wants weir
 * and the peer to read different things. Its queue stays, without its buffer,
 * until its time is over, so that late fragments do not start it anew.
 *
 * Bounds: every queue is charged as if it held its buffer, which bounds memory
 * and count with one number; a new datagram pushes the oldest one out. The hash
 * is keyed, so nobody can aim at one chain. Queues of a family all have the same
 * time-out, so that its list in order of age is also in order of expiry.
 */
#include "reass.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/util.h"
#include "csum.h"

#define HEAD	64 /* longest header kept: IPv4 with all options, IPv6 with 24 bytes of extensions */
#define BUCKETS 256
#define BLOCKS	8192 /* of 8 bytes in 64 KiB */
#define WORDS	(BLOCKS / 64)

_Static_assert(HEAD + 65535 <= PKTBUF_SIZE, "the longest payload fits behind the header");

struct frag_key { /* hashed and compared as memory: no padding */
	struct addr app, net;
	uint32_t id;
	uint16_t version, proto;
};

struct queue {
	struct frag_key key;
	struct queue *chain;	     /* in the bucket */
	struct queue *older, *newer; /* in the family's list */
	struct pktbuf *buf;	     /* owned; NULL: the datagram is void */
	uint64_t born;
	uint32_t got;	    /* payload bytes here */
	uint32_t total;	    /* payload bytes of the datagram; 0 = last one not here */
	uint32_t end;	    /* highest byte here */
	uint16_t hdrlen;    /* of the first fragment, without the fragment header; 0 = not here */
	uint16_t link;	    /* as packet.frag_link */
	uint16_t first_len; /* payload bytes of the first fragment */
	uint8_t ecn;	    /* set of the ECN code points seen, as 1 << point */
	uint64_t have[WORDS], start[WORDS];
};

struct age_list {
	struct queue *oldest, *newest;
	uint64_t timeout;
};

struct reass {
	struct hash_key hash;
	struct age_list age[2]; /* IPv4, IPv6 */
	unsigned count, max;
	struct queue *bucket[BUCKETS];
};

/* --- bit maps --------------------------------------------------------------- */

/** word_mask - the bits of word @w that lie in @from..@to (@to not included) */
static uint64_t word_mask(unsigned w, unsigned from, unsigned to)
{
	uint64_t m = ~0ULL;

	if (from > w * 64)
		m &= ~0ULL << (from - w * 64);
	if (to < (w + 1) * 64)
		m &= ~(~0ULL << (to - w * 64));
	return m;
}

static bool bit_test(const uint64_t *map, unsigned at)
{
	return at < BLOCKS && map[at / 64] >> (at % 64) & 1;
}

static void bits_set(uint64_t *map, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		map[w] |= word_mask(w, from, to);
}

static bool bits_any(const uint64_t *map, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		if (map[w] & word_mask(w, from, to))
			return true;
	return false;
}

static bool bits_all(const uint64_t *map, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		if (~map[w] & word_mask(w, from, to))
			return false;
	return true;
}

/* --- queues ------------------------------------------------------------------ */

static struct queue **bucket_of(struct reass *r, const struct frag_key *k)
{
	return &r->bucket[hash_bytes(&r->hash, k, sizeof(*k)) % BUCKETS];
}

static struct frag_key key_of(const struct packet *p)
{
	struct frag_key k = {
		.app = p->app.addr,
		.net = p->net.addr,
		.id = p->frag_id,
		.version = p->version,
		/* RFC 8200, 4.5: IPv6 knows a datagram by addresses and identification alone */
		.proto = p->version == 4 ? p->proto : 0,
	};

	return k;
}

static struct queue *queue_find(struct reass *r, const struct frag_key *k)
{
	struct queue *q = *bucket_of(r, k);

	while (q && memcmp(&q->key, k, sizeof(*k)) != 0)
		q = q->chain;
	return q;
}

static struct age_list *age_of(struct reass *r, const struct queue *q)
{
	return &r->age[q->key.version == 6];
}

static void queue_void(struct queue *q)
{
	if (q->buf)
		pktbuf_put(q->buf);
	q->buf = NULL;
}

static void queue_free(struct reass *r, struct age_list *age, struct queue *q)
{
	struct queue **at = bucket_of(r, &q->key);

	weir_assert((age->oldest == q) == !q->older);
	while (*at != q)
		at = &(*at)->chain;
	*at = q->chain;
	if (q->older)
		q->older->newer = q->newer;
	else
		age->oldest = q->newer;
	if (q->newer)
		q->newer->older = q->older;
	else
		age->newest = q->older;
	r->count--;
	queue_void(q);
	free(q);
}

/** queue_oldest - the oldest of both families, or NULL */
static struct queue *queue_oldest(const struct reass *r)
{
	struct queue *a = r->age[0].oldest, *b = r->age[1].oldest;

	if (!a || !b)
		return a ? a : b;
	return a->born <= b->born ? a : b;
}

static struct queue *queue_new(struct reass *r, const struct frag_key *k, uint64_t now,
			       uint64_t *evicted)
{
	struct queue *q, **at = bucket_of(r, k);
	struct age_list *age;

	if (r->count == r->max) {
		q = queue_oldest(r);
		queue_free(r, age_of(r, q), q);
		++*evicted;
	}
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->buf = pktbuf_get();
	if (!q->buf) {
		free(q);
		return NULL;
	}
	q->key = *k;
	q->born = now;
	q->chain = *at;
	*at = q;
	age = age_of(r, q);
	q->older = age->newest;
	if (q->older)
		q->older->newer = q;
	else
		age->oldest = q;
	age->newest = q;
	r->count++;
	return q;
}

/* --- fragments ---------------------------------------------------------------- */

enum fit { FIT_NEW, FIT_DUPLICATE, FIT_CONFLICT };

/** frag_fit - how bytes @from..@to, the last ones unless @more, go with what is here */
static enum fit frag_fit(const struct queue *q, uint32_t from, uint32_t to, bool more)
{
	unsigned a = from / 8, b = (to + 7) / 8;

	if (!more && (q->total ? to != q->total : to < q->end))
		return FIT_CONFLICT;
	if (more && q->total && to >= q->total)
		return FIT_CONFLICT;
	if (!bits_any(q->have, a, b))
		return FIT_NEW;
	if (!more && !q->total)
		return FIT_CONFLICT; /* these bytes came as not the last ones */
	if (bit_test(q->start, a) && !bits_any(q->start, a + 1, b) && bits_all(q->have, a, b) &&
	    (!bit_test(q->have, b) || bit_test(q->start, b)))
		return FIT_DUPLICATE;
	return FIT_CONFLICT;
}

/** keep_header - of the first fragment: what stands before its payload, less the fragment header */
static bool keep_header(struct queue *q, const struct packet *p)
{
	uint16_t len = p->version == 4 ? p->l4 : p->unfrag_len;

	if (len > HEAD)
		return false;
	memcpy(q->buf->data + HEAD - len, p->data, len);
	if (p->version == 6)
		q->buf->data[HEAD - len + p->frag_link] = p->proto;
	q->hdrlen = len;
	q->link = p->frag_link;
	q->first_len = p->l4len;
	return true;
}

static void keep_payload(struct queue *q, const struct packet *p)
{
	uint32_t from = p->frag_off, to = from + p->l4len;

	memcpy(q->buf->data + HEAD + from, p->data + p->l4, p->l4len);
	bits_set(q->have, from / 8, (to + 7) / 8);
	bits_set(q->start, from / 8, from / 8 + 1);
	q->got += p->l4len;
	q->end = MAX(q->end, to);
	q->ecn |= (uint8_t)(1 << (p->tos & 3));
	if (!p->frag_more)
		q->total = to;
}

/**
 * join_ecn - the ECN field of the whole (RFC 3168, 5.3), -1 when the parts contradict
 * @set: of code points seen; @first: the one of the first fragment
 */
static int join_ecn(uint8_t set, uint8_t first)
{
	if ((set & 1) && set != 1)
		return -1;
	return set & 8 ? 3 : first;
}

/** finish_v4, finish_v6 - make the kept header that of the whole */
static bool finish_v4(struct queue *q, uint8_t *h, uint32_t len)
{
	int ecn = join_ecn(q->ecn, h[1] & 3);
	uint16_t sum;

	if (ecn < 0 || len > 65535)
		return false;
	h[1] = (uint8_t)((h[1] & ~3) | ecn);
	put_be16(h + 2, (uint16_t)len);
	put_be16(h + 6, 0); /* no DF either: it came in fragments and may leave in some */
	put_be16(h + 10, 0);
	sum = (uint16_t)~csum_fold(csum_add(0, h, q->hdrlen));
	memcpy(h + 10, &sum, sizeof(sum));
	return true;
}

static bool finish_v6(struct queue *q, uint8_t *h, uint32_t len)
{
	int ecn = join_ecn(q->ecn, h[1] >> 4 & 3);

	if (ecn < 0 || len - 40 > 65535)
		return false;
	h[1] = (uint8_t)((h[1] & ~0x30) | ecn << 4);
	put_be16(h + 4, (uint16_t)(len - 40));
	return true;
}

/** queue_finish - hand the complete datagram out; its queue is gone then, or void */
static enum reass_result queue_finish(struct reass *r, struct queue *q,
				      struct reass_datagram *whole)
{
	uint8_t *h = q->buf->data + HEAD - q->hdrlen;
	uint32_t len = q->hdrlen + q->total;

	if (!(q->key.version == 4 ? finish_v4(q, h, len) : finish_v6(q, h, len))) {
		queue_void(q);
		return REASS_REFUSED;
	}
	*whole = (struct reass_datagram){.buf = q->buf, .data = h, .len = len};
	q->buf = NULL;
	queue_free(r, age_of(r, q), q);
	return REASS_WHOLE;
}

enum reass_result reass_add(struct reass *r, const struct packet *p, uint64_t now,
			    struct reass_datagram *whole, uint64_t *evicted)
{
	struct frag_key key = key_of(p);
	struct queue *q = queue_find(r, &key);
	enum fit fit;

	if (!q)
		q = queue_new(r, &key, now, evicted);
	if (!q)
		return REASS_NOMEM;
	if (!q->buf)
		return REASS_REFUSED;
	fit = frag_fit(q, p->frag_off, (uint32_t)p->frag_off + p->l4len, p->frag_more);
	if (fit == FIT_DUPLICATE)
		return REASS_HELD;
	if (fit == FIT_CONFLICT || (!p->frag_off && !keep_header(q, p))) {
		queue_void(q);
		return REASS_REFUSED;
	}
	keep_payload(q, p);
	/* no overlaps, so as many bytes as the last one's end says are all of them */
	return q->total && q->got == q->total ? queue_finish(r, q, whole) : REASS_HELD;
}

/* --- time --------------------------------------------------------------------- */

/** quote_first - the first fragment as it came, from what is kept of it */
static void quote_first(const struct queue *q, struct reass_expired *e)
{
	const uint8_t *h = q->buf->data + HEAD - q->hdrlen;
	size_t len = q->hdrlen, n;

	e->packet = (struct packet){
		.data = e->data,
		.app.addr = q->key.app,
		.net.addr = q->key.net,
		.version = (uint8_t)q->key.version,
		.proto = q->key.version == 4 ? h[9] : h[q->link],
		.is_frag = true,
		.frag_more = true,
		.frag_id = q->key.id,
	};
	memcpy(e->data, h, len);
	if (q->key.version == 6) {
		uint8_t *f = e->data + len;

		e->data[q->link] = IPPROTO_FRAGMENT;
		f[0] = e->packet.proto;
		f[1] = 0;
		put_be16(f + 2, 1); /* offset 0, more to come */
		put_be32(f + 4, q->key.id);
		len += 8;
	}
	n = MIN((size_t)q->first_len, sizeof(e->data) - len);
	memcpy(e->data + len, q->buf->data + HEAD, n);
	e->packet.l4 = (uint16_t)len;
	e->packet.l4len = (uint16_t)n;
	e->packet.payload = (uint16_t)len;
	e->packet.len = len + n;
}

uint64_t reass_next(const struct reass *r)
{
	uint64_t at = 0;

	for (int i = 0; i < 2; i++) {
		const struct age_list *age = &r->age[i];

		if (age->oldest && (!at || age->oldest->born + age->timeout < at))
			at = age->oldest->born + age->timeout;
	}
	return at;
}

/** expire_one - as reass_expire(), for one family; void datagrams end without a word */
static bool expire_one(struct reass *r, struct age_list *age, uint64_t now, struct reass_expired *e)
{
	struct queue *q;

	while ((q = age->oldest) && q->born + age->timeout <= now) {
		bool live = q->buf != NULL;

		e->first = live && q->hdrlen;
		if (e->first)
			quote_first(q, e);
		queue_free(r, age, q);
		if (live)
			return true;
	}
	return false;
}

bool reass_expire(struct reass *r, uint64_t now, struct reass_expired *e)
{
	return expire_one(r, &r->age[0], now, e) || expire_one(r, &r->age[1], now, e);
}

unsigned reass_count(const struct reass *r)
{
	return r->count;
}

/* --- life ---------------------------------------------------------------------- */

struct reass *reass_new(size_t bytes_max, uint64_t timeout_ns)
{
	struct reass *r = calloc(1, sizeof(*r));
	size_t max = bytes_max / (sizeof(struct queue) + sizeof(struct pktbuf));

	if (!r)
		return NULL;
	if (hash_key_random(&r->hash)) {
		free(r);
		return NULL;
	}
	r->max = (unsigned)MIN(MAX(max, (size_t)1), (size_t)UINT32_MAX);
	r->age[0].timeout = timeout_ns;
	r->age[1].timeout = 2 * timeout_ns; /* RFC 8200, 4.5: 60 s where IPv4 has 30 */
	return r;
}

void reass_free(struct reass *r)
{
	if (!r)
		return;
	for (int i = 0; i < 2; i++) {
		struct queue *q = r->age[i].oldest;

		while (q) {
			struct queue *newer = q->newer;

			queue_void(q);
			free(q);
			q = newer;
		}
	}
	free(r);
}
