/* SPDX-License-Identifier: MIT */
/*
 * policy_index: which rules could match a flow at all?
 *
 * Most rules can match only when some field has one of a few values (expr_required()): a uid, a
 * port, a host, an address in a prefix. Each such rule is filed under one of its fields, the one
 * whose values the fewest other rules share, and is looked at only when the flow has the value.
 * Rules without such a test are always looked at. The candidates come in the rules' order.
 *
 * While a field is not known yet, each rule filed under it might still match. These rules have an
 * index of their own by the fields that become known earlier (packet, then owner, then payload), as
 * long as a rule that waits matters: final ones, hooks, and tags that other rules look at.
 *
 * Lists are found by the hash of field and value alone. Should two values share one, a rule is
 * looked at in vain, no more: what is a candidate is judged like any rule.
 */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_impl.h"

#include "base/util.h"

#define NO_RULE	    UINT32_MAX
#define CURSORS_MAX 64	/* lists for one flow; of a stranger one all rules are looked at */
#define HOST_MAX    256 /* bytes of a host name that count here */
#define V4_LENGTHS  33
#define V6_LENGTHS  129
#define BELOW	    255 /* in the place of a prefix's length: names below this one */
#define LEVELS_MAX  4
#define TESTS_MAX   32 /* of a rule that are looked at */

/** struct list - of the indexes of rules, rising */
struct list {
	const uint32_t *rules;
	uint32_t n;
};

struct slot {
	uint64_t hash;
	struct list list; /* rules NULL: the slot is free */
};

/**
 * struct dim - a field by which rules are filed
 * @below: by the domains that hosts are below, not by its values
 * @lengths: of an address: which lengths of prefixes there are, IPv4's first
 * @pending: those of its rules that a flow without the value yet has to wait for; NULL: none
 */
struct dim {
	enum expr_field field;
	bool below;
	bool lengths[V4_LENGTHS + V6_LENGTHS];
	const struct policy_index *pending;
};

struct policy_index {
	struct list always;
	struct slot *slots;
	uint64_t mask;
	struct dim *dims;
	uint32_t n_dims;
};

/* --- values --------------------------------------------------------------------------------------
 */

/** hash_field - of a value's @hash: the same of another field is another one */
static uint64_t hash_field(enum expr_field f, unsigned bits, uint64_t hash)
{
	return hash ^ (f + 1 + ((uint64_t)bits << 8)) * 0x9e3779b97f4a7c15ULL;
}

static uint64_t hash_host(const struct hash_key *key, const char *s, size_t len)
{
	char text[HOST_MAX];

	len -= len && s[len - 1] == '.';
	len = MIN(len, sizeof(text));
	for (size_t i = 0; i < len; i++)
		text[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
	return hash_bytes(key, text, len);
}

/** hash_prefix - of the first @bits of an address, in the family's own terms */
static uint64_t hash_prefix(const struct hash_key *key, const struct addr *a, unsigned bits)
{
	struct addr masked = *a;
	unsigned keep = bits + (addr_is_v4(a) ? 96U : 0U);

	if (keep < 128) {
		masked.b[keep / 8] &= (uint8_t)(0xff00 >> keep % 8);
		memset(masked.b + keep / 8 + 1, 0, sizeof(masked.b) - keep / 8 - 1);
	}
	return hash_bytes(key, masked.b, sizeof(masked.b));
}

static uint64_t hash_value(const struct hash_key *key, enum expr_field f,
			   const struct expr_value *v, unsigned bits)
{
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		return hash_field(f, bits, hash_prefix(key, &v->addr, bits));
	case EXPR_TEXT:
		return hash_field(f, 0, hash_bytes(key, v->text.s, v->text.len));
	case EXPR_HOSTNAME:
		return hash_field(f, 0, hash_host(key, v->text.s, v->text.len));
	default:
		return hash_field(f, 0, hash_bytes(key, &v->num, sizeof(v->num)));
	}
}

static uint64_t hash_below(const struct hash_key *key, enum expr_field f, const char *s, size_t len)
{
	return hash_field(f, BELOW, hash_host(key, s, len));
}

static unsigned length_slot(const struct addr *a, unsigned bits)
{
	return addr_is_v4(a) ? bits : V4_LENGTHS + bits;
}

/* --- making one ----------------------------------------------------------------------------------
 */

/** struct key - one value that a rule's test allows */
struct key {
	uint64_t hash, slot; /* slot: of the table at hand */
	uint32_t rule, test, sharers;
	uint16_t length; /* of an address: length_slot() */
	uint8_t field;
	bool below;
};

/** struct making - an index of some rules; @keys are owned */
struct making {
	struct policy *p;
	uint64_t fields; /* that may be used */
	struct key *keys;
	uint32_t n, room;
	/* of the test that is being looked at */
	uint32_t rule, test;
	enum expr_field field;
	int rc;
};

static void key_put(struct making *m, const struct key *k)
{
	void *array = m->keys;

	if (m->rc)
		return;
	m->rc = policy_grow(&array, sizeof(*m->keys), m->n, &m->room);
	m->keys = array;
	if (!m->rc)
		m->keys[m->n++] = *k;
}

static void key_add(void *ctx, const struct expr_value *v, int prefix_bits)
{
	struct making *m = ctx;
	unsigned bits = prefix_bits < 0 ? 0 : (unsigned)prefix_bits;

	key_put(m, &(struct key){
			   .hash = hash_value(&m->p->key, m->field, v, bits),
			   .rule = m->rule,
			   .test = m->test,
			   .length = expr_field_type(m->field) == EXPR_ADDR
					     ? (uint16_t)length_slot(&v->addr, bits)
					     : 0,
			   .field = (uint8_t)m->field,
		   });
}

/** key_below - a host that ends with @tail is below what is behind the first dot in it */
static void key_below(struct making *m, const struct expr_value *tail)
{
	const char *end = tail->text.s + tail->text.len;
	const char *dot = memchr(tail->text.s, '.', tail->text.len);

	if (!dot || dot + 1 == end)
		return;
	key_put(m,
		&(struct key){
			.hash = hash_below(&m->p->key, m->field, dot + 1, (size_t)(end - dot - 1)),
			.rule = m->rule,
			.test = m->test,
			.field = (uint8_t)m->field,
			.below = true,
		});
}

/** keys_of_rule - all values of all tests that rule @i could be filed under */
static int keys_of_rule(struct making *m, uint32_t i)
{
	const struct expr *e = m->p->entries[i].expr;
	struct expr_value tail;
	enum expr_field f;

	m->rule = i;
	m->test = 0;
	for (unsigned k = 0; k < TESTS_MAX && e && expr_required(e, k, &f, NULL, NULL) && !m->rc;
	     k++, m->test++) {
		m->field = f;
		if (m->fields & 1ULL << f)
			expr_required(e, k, &f, key_add, m);
	}
	for (unsigned k = 0; k < TESTS_MAX && e && expr_required_tail(e, k, &f, &tail) && !m->rc;
	     k++, m->test++) {
		m->field = f;
		if (m->fields & 1ULL << f && expr_field_type(f) == EXPR_HOSTNAME)
			key_below(m, &tail);
	}
	return m->rc;
}

/** slots_for - so many that at most half of them are used */
static uint64_t slots_for(uint32_t n)
{
	uint64_t slots = 4;

	while (slots < 2 * (uint64_t)n)
		slots *= 2;
	return slots;
}

/**
 * count_sharers - how many keys are the same as each
 *
 * By a table: an index is made in one turn of the worker's loop, and sorting took most of that.
 */
static int count_sharers(struct making *m)
{
	const uint64_t slots = slots_for(m->n);
	struct tally {
		uint64_t hash;
		uint32_t n;
	} *t = calloc(slots, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->n; i++) {
		uint64_t at = m->keys[i].hash & (slots - 1);

		while (t[at].n && t[at].hash != m->keys[i].hash)
			at = (at + 1) & (slots - 1);
		t[at].hash = m->keys[i].hash;
		t[at].n++;
		m->keys[i].slot = at;
	}
	for (uint32_t i = 0; i < m->n; i++)
		m->keys[i].sharers = t[m->keys[i].slot].n;
	free(t);
	return 0;
}

/** test_end - behind the keys of the test that starts at @i; *@worst: the most sharers of one */
static uint32_t test_end(const struct making *m, uint32_t i, uint32_t *worst)
{
	const struct key *k = &m->keys[i];

	for (*worst = 0; i < m->n && m->keys[i].rule == k->rule && m->keys[i].test == k->test; i++)
		*worst = MAX(*worst, m->keys[i].sharers);
	return i;
}

/** keep_best - of each rule only the keys of the test that others share the least */
static void keep_best(struct making *m)
{
	uint32_t out = 0;

	for (uint32_t i = 0, next; i < m->n; i = next) {
		uint32_t best = i, best_end = i, least = UINT32_MAX, worst, end;

		for (next = i; next < m->n && m->keys[next].rule == m->keys[i].rule; next = end) {
			end = test_end(m, next, &worst);
			if (worst < least) {
				least = worst;
				best = next;
				best_end = end;
			}
		}
		memmove(&m->keys[out], &m->keys[best], (best_end - best) * sizeof(*m->keys));
		out += best_end - best;
	}
	m->n = out;
}

/** file_always - those of @rules that have no key; the keys are in the rules' order */
static int file_always(const struct making *m, struct policy_index *x, const struct list *rules)
{
	uint32_t *out = policy_alloc(m->p, rules->n * sizeof(*out)), at = 0;

	if (!out)
		return -ENOMEM;
	x->always.rules = out;
	for (uint32_t i = 0; i < rules->n; i++) {
		while (at < m->n && m->keys[at].rule < rules->rules[i])
			at++;
		if (at == m->n || m->keys[at].rule != rules->rules[i])
			out[x->always.n++] = rules->rules[i];
	}
	return 0;
}

static struct slot *find_slot(const struct policy_index *x, uint64_t hash)
{
	uint64_t i = hash & x->mask;

	while (x->slots[i].list.rules && x->slots[i].hash != hash)
		i = (i + 1) & x->mask;
	return &x->slots[i];
}

/** file_keys - the lists, and the table by which they are found; keys are in the rules' order */
static int file_keys(struct making *m, struct policy_index *x)
{
	uint32_t *rules = policy_alloc(m->p, m->n * sizeof(*rules)), n = 0;
	const uint64_t slots = slots_for(m->n);

	x->slots = policy_alloc(m->p, slots * sizeof(*x->slots));
	x->mask = slots - 1;
	if (!rules || !x->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->n; i++) { /* how long each list is */
		struct slot *s = find_slot(x, m->keys[i].hash);

		s->hash = m->keys[i].hash;
		s->list.rules = rules;
		s->list.n++;
		m->keys[i].slot = (uint64_t)(s - x->slots);
	}
	for (uint64_t i = 0; i < slots; i++) { /* where each one is */
		struct list *l = &x->slots[i].list;

		if (l->rules)
			l->rules = rules + n;
		n += l->n;
		l->n = 0;
	}
	for (uint32_t i = 0; i < m->n; i++) {
		struct list *l = &x->slots[m->keys[i].slot].list;

		if (!l->n || l->rules[l->n - 1] != m->keys[i].rule) /* else the same value twice */
			rules[l->rules - rules + l->n++] = m->keys[i].rule;
	}
	return 0;
}

static struct dim *find_dim(struct policy_index *x, const struct key *k)
{
	uint32_t i = 0;

	while (i < x->n_dims && (x->dims[i].field != k->field || x->dims[i].below != k->below))
		i++;
	return &x->dims[i];
}

/** file_dims - one for each field that a key is of, two for a host */
static int file_dims(struct making *m, struct policy_index *x)
{
	uint64_t used[2] = {0, 0};

	for (uint32_t i = 0; i < m->n; i++)
		used[m->keys[i].below] |= 1ULL << m->keys[i].field;
	x->dims = policy_alloc(
		m->p, (size_t)(__builtin_popcountll(used[0]) + __builtin_popcountll(used[1])) *
			      sizeof(*x->dims));
	if (!x->dims)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->n; i++) {
		struct dim *d = find_dim(x, &m->keys[i]);

		x->n_dims += d == &x->dims[x->n_dims];
		d->field = (enum expr_field)m->keys[i].field;
		d->below = m->keys[i].below;
		d->lengths[m->keys[i].length] = true;
	}
	return 0;
}

static int index_make(struct policy *p, uint64_t fields, const struct list *rules, unsigned level,
		      struct policy_index **out);

/** waits_matter - is there any difference between "no" and "not known yet"? */
static bool waits_matter(const struct policy *p, uint32_t i)
{
	const struct policy_rule *r = &p->entries[i].rule;

	return r->final || r->what == POLICY_HOOK ||
	       (r->what == POLICY_TAG && p->fields & 1ULL << EXPR_F_TAG);
}

/** earlier - of @fields those that are known before @f is */
static uint64_t earlier(uint64_t fields, enum expr_field f)
{
	unsigned waits = policy_waits(1ULL << f);

	for (unsigned i = 0; i < EXPR_FIELD_MAX; i++)
		if (policy_waits(1ULL << i) >= waits)
			fields &= ~(1ULL << i);
	return fields;
}

/** file_pending - the index of what is filed under one field; keys are in the rules' order */
static int file_pending(const struct making *m, struct dim *d, unsigned level)
{
	uint32_t *rules = calloc(m->n + 1, sizeof(*rules)), n = 0;
	struct policy_index *pending = NULL;
	int rc = 0;

	if (!rules)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->n; i++)
		if (m->keys[i].field == d->field && m->keys[i].below == d->below &&
		    (!n || rules[n - 1] != m->keys[i].rule) && waits_matter(m->p, m->keys[i].rule))
			rules[n++] = m->keys[i].rule;
	if (n)
		rc = index_make(m->p, earlier(m->fields, d->field), &(struct list){rules, n},
				level + 1, &pending);
	d->pending = pending;
	free(rules);
	return rc;
}

static int file_all(struct making *m, struct policy_index *x, const struct list *rules,
		    unsigned level)
{
	int rc = file_always(m, x, rules);

	if (!rc)
		rc = file_dims(m, x);
	for (uint32_t i = 0; i < x->n_dims && !rc; i++)
		rc = file_pending(m, &x->dims[i], level);
	return rc ? rc : file_keys(m, x);
}

/** index_make - of @rules, by @fields; each level has fewer of them */
static int index_make(struct policy *p, uint64_t fields, const struct list *rules, unsigned level,
		      struct policy_index **out)
{
	struct policy_index *x = policy_alloc(p, sizeof(*x));
	struct making m = {.p = p, .fields = fields};
	int rc = x ? 0 : -ENOMEM;

	weir_assert(level <= LEVELS_MAX);
	for (uint32_t i = 0; i < rules->n && !rc; i++)
		rc = keys_of_rule(&m, rules->rules[i]);
	if (!rc)
		rc = count_sharers(&m);
	if (!rc) {
		keep_best(&m);
		rc = file_all(&m, x, rules, level);
	}
	free(m.keys);
	*out = x;
	return rc;
}

int policy_index_make(struct policy *p)
{
	uint32_t *rules = calloc(p->n_entries + 1, sizeof(*rules));
	int rc;

	if (!rules)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->n_entries; i++)
		rules[i] = i;
	/* tags depend on the rules before, so no flow has them beforehand */
	rc = index_make(p, ~(1ULL << EXPR_F_TAG), &(struct list){rules, p->n_entries}, 1,
			&p->index);
	free(rules);
	return rc;
}

/* --- asking ---------------------------------------------------------------------------------- */

/** struct cursors - lists of one flow, and how far each was taken */
struct cursors {
	const struct policy *p;
	expr_get_fn *get;
	const void *subject;
	struct list list[CURSORS_MAX];
	unsigned n;
	bool full; /* there were more */
};

static void cursor_add(struct cursors *c, const struct list *l)
{
	if (!l->n)
		return;
	if (c->n == CURSORS_MAX)
		c->full = true;
	else
		c->list[c->n++] = *l;
}

static void look_up_addr(struct cursors *c, const struct policy_index *x, const struct dim *d,
			 struct expr_value *v)
{
	bool v4 = addr_is_v4(&v->addr);
	const bool *lengths = d->lengths + (v4 ? 0 : V4_LENGTHS);

	addr_set_zone(&v->addr, 0); /* rules have none */
	for (unsigned bits = 0; bits < (v4 ? V4_LENGTHS : V6_LENGTHS); bits++)
		if (lengths[bits])
			cursor_add(c,
				   &find_slot(x, hash_value(&c->p->key, d->field, v, bits))->list);
}

/** look_up_below - each domain that the host is below; rules name none that is longer */
static void look_up_below(struct cursors *c, const struct policy_index *x, const struct dim *d,
			  const struct expr_value *v)
{
	const char *end = v->text.s + v->text.len;
	const char *p = v->text.s + (v->text.len > HOST_MAX ? v->text.len - HOST_MAX : 0);

	while ((p = memchr(p, '.', (size_t)(end - p)))) {
		p++;
		cursor_add(c, &find_slot(x, hash_below(&c->p->key, d->field, p, (size_t)(end - p)))
				       ->list);
	}
}

static void look_up(struct cursors *c, const struct policy_index *x, const struct dim *d,
		    struct expr_value *v)
{
	if (d->below)
		look_up_below(c, x, d, v);
	else if (expr_field_type(d->field) == EXPR_ADDR)
		look_up_addr(c, x, d, v);
	else
		cursor_add(c, &find_slot(x, hash_value(&c->p->key, d->field, v, 0))->list);
}

/** gather - the lists of @x that this flow has to do with; as deep as index_make() */
static void gather(struct cursors *c, const struct policy_index *x)
{
	cursor_add(c, &x->always);
	for (uint32_t i = 0; i < x->n_dims; i++) {
		const struct dim *d = &x->dims[i];
		enum expr_known known = EXPR_KNOWN;
		struct expr_value v;

		for (unsigned k = 0; known == EXPR_KNOWN && !c->full; k++) {
			if (k && !expr_field_is_list(d->field))
				break;
			known = c->get(c->subject, d->field, k, &v);
			if (known == EXPR_KNOWN)
				look_up(c, x, d, &v);
		}
		if (known == EXPR_NOT_YET && d->pending)
			gather(c, d->pending);
	}
}

/** next_rule - the lowest that is left; NO_RULE at the end */
static uint32_t next_rule(struct cursors *c)
{
	uint32_t least = NO_RULE;

	for (unsigned i = 0; i < c->n; i++)
		least = MIN(least, *c->list[i].rules);
	for (unsigned i = 0; i < c->n;) {
		struct list *l = &c->list[i];

		if (*l->rules == least) {
			l->rules++;
			if (!--l->n) {
				*l = c->list[--c->n];
				continue;
			}
		}
		i++;
	}
	return least;
}

void policy_judge(const struct policy *p, expr_get_fn *get, const void *subject,
		  struct policy_judgement *out)
{
	struct cursors c = {.p = p, .get = get, .subject = subject};
	struct policy_judging j;
	enum expr_truth truth;
	bool go_on = true;
	uint32_t i;

	gather(&c, p->index);
	if (c.full) {
		policy_judge_linear(p, get, subject, out);
		return;
	}
	policy_judge_start(&j, p, get, subject, out);
	while (go_on && (i = next_rule(&c)) != NO_RULE)
		go_on = policy_judge_rule(&j, i, &truth);
}
