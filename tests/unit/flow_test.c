/* SPDX-License-Identifier: MIT */
/*
 * flow: the table under ordinary, full and random use.
 * LINK: src/flow.o src/base/hash.o src/base/util.o src/base/log.o src/base/addr.o src/base/clock.o
 */
#include "flow.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "../lib/tap.h"

static struct addrport tuple_end(uint32_t n, uint16_t port)
{
	uint8_t v4[4];

	put_be32(v4, n);
	return (struct addrport){.addr = addr_from_v4(v4), .port = port};
}

static struct flow_table *table(uint32_t max)
{
	struct flow_table_config cfg = {.max_flows = max};

	return flow_table_new(&cfg);
}

static struct flow *flow_nr(struct flow_table *t, unsigned n)
{
	struct addrport app = tuple_end(0x0a000001, (uint16_t)(1024 + n % 50000));
	struct addrport net = tuple_end(0xc0000201 + n / 50000, 443);

	return flow_new(t, IPPROTO_TCP, &app, &net, 5, 1700000000000000000ULL);
}

static void end_and_release(struct flow_table *t, struct flow *f)
{
	flow_end(t, f, FLOW_ENDED_FIN, 9);
	flow_release(t, f);
}

static void test_life(void)
{
	struct flow_table *t = table(4);
	struct addrport app = tuple_end(0x0a000001, 1000), net = tuple_end(0xc0000201, 80);
	struct addrport other = tuple_end(0xc0000202, 80);
	struct flow *f = flow_new(t, IPPROTO_TCP, &app, &net, 5, 1700000000000000000ULL), *again;
	struct flow_ref ref = flow_ref(f);

	tap_is(f->rec->state, FLOW_NEW, "a flow is born NEW");
	tap_ok(f->rec->owner_uid == (uint32_t)-1 && f->rec->start == 5 && f->rec->last == 5 &&
		       f->rec->start_wall == 1700000000000000000ULL,
	       "its record is filled");
	tap_ok(flow_find(t, IPPROTO_TCP, &app, &net) == f, "it is found by its tuple");
	tap_ok(!flow_find(t, IPPROTO_UDP, &app, &net), "and not by another protocol");
	tap_ok(!flow_find(t, IPPROTO_TCP, &net, &app), "nor by the tuple turned round");
	tap_ok(!flow_find(t, IPPROTO_TCP, &app, &other), "nor by another destination");
	tap_is(flow_count_half_open(t), 1, "a new TCP flow counts as half open");
	flow_set_state(t, f, FLOW_OWNED);
	flow_set_state(t, f, FLOW_JUDGED);
	flow_set_state(t, f, FLOW_CONNECTING);
	tap_is(flow_count_half_open(t), 1, "as it does while connecting");
	flow_set_state(t, f, FLOW_OPEN);
	tap_is(flow_count_half_open(t), 0, "but not when open");
	tap_is(flow_count_state(t, FLOW_OPEN), 1, "the counter of its state follows");

	flow_end(t, f, FLOW_ENDED_RESET_APP, 77);
	flow_end(t, f, FLOW_ENDED_FIN, 99);
	tap_ok(f->rec->reason == FLOW_ENDED_RESET_APP && f->rec->end == 77,
	       "the first reason stays, with its time");
	tap_ok(!flow_find(t, IPPROTO_TCP, &app, &net), "a CLOSING flow is out of the hash");
	again = flow_new(t, IPPROTO_TCP, &app, &net, 6, 0);
	tap_ok(again && again != f && flow_find(t, IPPROTO_TCP, &app, &net) == again,
	       "a new flow takes the tuple while the old one closes");
	tap_ok(flow_get(t, ref) == f, "the old one's reference still works");
	tap_ok(again->rec->id != f->rec->id, "they have different ids");
	flow_release(t, f);
	flow_release(t, f);
	tap_ok(flow_get(t, ref) == f, "released is not yet freed");
	tap_is(flow_reap(t, NULL, NULL), 1, "released twice is freed once");
	tap_ok(!flow_get(t, ref), "then its reference finds nothing");
	tap_ok(flow_nr(t, 1) == f && !flow_get(t, ref), "also when the entry is used again");
	tap_is(flow_count(t), 2, "two are left");
	flow_table_free(t);
}

static void test_full(void)
{
	struct flow_table *t = table(3);
	struct flow *f[3];

	for (unsigned i = 0; i < 3; i++)
		f[i] = flow_nr(t, i);
	tap_ok(!flow_nr(t, 3), "a full table refuses");
	tap_is(flow_count_state(t, FLOW_FREE), 0, "nothing is free");
	flow_end(t, f[1], FLOW_ENDED_FIN, 1);
	tap_ok(!flow_nr(t, 3), "a flow that closes still takes its place");
	flow_release(t, f[1]);
	tap_ok(flow_nr(t, 3) != NULL && flow_get(t, flow_ref(f[1])) == f[1],
	       "a released one gives it up, but not its entry");
	tap_ok(!flow_nr(t, 4) && !flow_count_state(t, FLOW_FREE), "one place, not two");
	flow_reap(t, NULL, NULL);
	tap_ok(!flow_nr(t, 4), "and not again when it is reaped");
	flow_table_free(t);
	tap_ok(!table(0) && !table(UINT32_MAX), "impossible sizes are refused");
}

/** test_spare - entries end before places do when nothing is reaped */
static void test_spare(void)
{
	struct flow_table *t = table(2);
	unsigned made = 0;
	struct flow *f;

	while ((f = flow_nr(t, made))) {
		end_and_release(t, f);
		made++;
	}
	tap_is(made, 2 + FLOW_SPARE, "births and deaths in one turn are bounded");
	tap_is(flow_reap(t, NULL, NULL), 2 + FLOW_SPARE, "all are reaped");
	tap_ok(flow_nr(t, 0) && flow_nr(t, 1) && !flow_nr(t, 2), "then there are two places");
	flow_table_free(t);
}

static void open_it(struct flow_table *t, struct flow *f)
{
	flow_set_state(t, f, FLOW_OWNED);
	flow_set_state(t, f, FLOW_JUDGED);
	flow_set_state(t, f, FLOW_OPEN);
}

static void test_order(void)
{
	struct flow_table *t = table(8);
	struct flow *f[4];

	tap_ok(!flow_oldest(t), "nothing is the oldest of none");
	for (unsigned i = 0; i < 4; i++) {
		f[i] = flow_nr(t, i);
		flow_touch(t, f[i], i);
	}
	tap_ok(!flow_oldest(t) && f[3]->rec->last == 3, "a flow that is not open is in no order");
	for (unsigned i = 0; i < 4; i++) {
		open_it(t, f[i]);
		flow_touch(t, f[i], 10 + i);
	}
	tap_ok(flow_oldest(t) == f[0], "the first one is the oldest");
	flow_touch(t, f[0], 20);
	flow_touch(t, f[2], 21);
	flow_touch(t, f[2], 22);
	tap_ok(flow_oldest(t) == f[1], "until it is used");
	flow_end(t, f[3], FLOW_ENDED_TIMEOUT, 23); /* in the middle: 1 3 0 2 */
	flow_end(t, f[1], FLOW_ENDED_TIMEOUT, 23);
	tap_ok(flow_oldest(t) == f[0], "those that end leave the order");
	flow_touch(t, f[1], 24);
	tap_ok(flow_oldest(t) == f[0], "and do not come back");
	flow_end(t, f[2], FLOW_ENDED_TIMEOUT, 25);
	tap_ok(flow_oldest(t) == f[0], "one is left");
	flow_end(t, f[0], FLOW_ENDED_TIMEOUT, 26);
	tap_ok(!flow_oldest(t), "none is left");
	flow_table_free(t);
}

static void test_echo(void)
{
	struct flow_table *t = table(4);
	struct addrport app = tuple_end(1, 0x1234), net = tuple_end(2, 0), odd = tuple_end(2, 7);
	struct flow *f = flow_new(t, IPPROTO_ICMP, &app, &net, 1, 1);

	tap_ok(f->rec->icmp_ident == 0x1234 && !f->rec->app.port && !f->rec->net.port,
	       "an echo's identifier is in the record, its ports are 0");
	tap_ok(flow_find(t, IPPROTO_ICMP, &app, &odd) == f, "its net port does not count");
	app.port++;
	tap_ok(!flow_find(t, IPPROTO_ICMP, &app, &net), "another identifier is another flow");
	flow_end(t, f, FLOW_ENDED_TIMEOUT, 2);
	app.port--;
	tap_ok(!flow_find(t, IPPROTO_ICMP, &app, &net), "it leaves the hash like any other");
	flow_table_free(t);
}

static void test_refs(void)
{
	struct flow_ref r = {.index = 0xfffffff0, .gen = 0xabcdef1}, back;
	struct flow_table *t = table(2);
	struct flow_ref ahead = {.index = 1, .gen = 1}, far = {.index = 99, .gen = 1};

	back = flow_ref_unpack(flow_ref_pack(r));
	tap_ok(back.index == r.index && back.gen == r.gen, "a reference survives packing");
	flow_nr(t, 0);
	tap_ok(!flow_get(t, ahead) && !flow_get(t, far), "entries never used are not found");
	tap_ok(!flow_get(t, flow_ref_unpack(0)), "a packed 0 refers to nothing");
	flow_table_free(t);
}

static void test_ids(void)
{
	enum { WALL_S = 1700000000 };
	uint64_t wall = WALL_S * 1000000000ULL, last = 0;
	bool rising = true, fits = true;

	for (unsigned restart = 0; restart < 3; restart++) {
		struct flow_table *t = table(1000);

		for (unsigned i = 0; i < 1000; i++) {
			struct addrport app = tuple_end(1, (uint16_t)i), net = tuple_end(2, 1);
			struct flow *f = flow_new(t, IPPROTO_UDP, &app, &net, 1, wall);

			rising &= f->rec->id > last;
			fits &= f->rec->id < 1ULL << 53;
			last = f->rec->id;
			wall += 20000; /* 50,000 flows a second */
		}
		flow_table_free(t);
	}
	tap_ok(rising, "flow ids are unique, also over a worker's restart");
	tap_ok(fits, "and exact as JSON numbers");
}

static void test_shared(void)
{
	size_t size = flow_table_shared_size(8);
	void *mem = calloc(1, size);
	struct flow_table_config cfg = {.max_flows = 8, .shared = mem};
	struct flow_table *t = flow_table_new(&cfg);
	struct flow *f = flow_nr(t, 0);

	flow_nr(t, 1);
	tap_ok(flow_rec_at(mem, 8, 0) == f->rec && flow_rec_at(mem, 8, 1)->state == FLOW_NEW,
	       "the supervisor sees the records");
	tap_ok(!flow_rec_at(mem, 8, flow_table_entries(8)) && !flow_rec_at(mem, 8, UINT32_MAX),
	       "an index outside is refused");
	flow_table_free(t);
	tap_is(flow_rec_at(mem, 8, 1)->state, FLOW_NEW, "records outlive the worker's table");
	free(mem);
}

static struct flow_table *each_table;
static unsigned each_seen;

static void end_some(void *ctx, struct flow *f)
{
	each_seen++;
	if (f->index % 2)
		end_and_release(each_table, f);
	else if (ctx)
		flow_nr(each_table, 20000 + f->index);
}

static void release_rest(void *ctx, struct flow *f)
{
	struct flow *other = ctx;

	if (f != other && !other->reaping && other->rec->state == FLOW_NEW)
		end_and_release(each_table, other);
}

static void test_each(void)
{
	struct flow_table *t = each_table = table(1000);

	for (unsigned i = 0; i < 100; i++)
		flow_nr(t, i);
	flow_each(t, end_some, t);
	tap_is(each_seen, 100, "a walk sees each flow once while flows end and are made");
	tap_is(flow_count(t), 150, "ended ones stay until reaped, new ones are there");
	each_seen = 0;
	flow_each(t, end_some, NULL);
	tap_is(each_seen, 100, "a released flow is not walked over");
	flow_reap(t, release_rest, flow_get(t, (struct flow_ref){.index = 0, .gen = 1}));
	tap_ok(!flow_get(t, (struct flow_ref){.index = 0, .gen = 1}),
	       "what is released while reaping goes in the same reaping");
	flow_table_free(t);
}

/* --- against a model: random births and deaths ------------------------------------- */

#define MODEL_TUPLES 3000
#define MODEL_MAX    1024

static void test_model(void)
{
	struct flow_table *t = table(MODEL_MAX);
	struct flow *have[MODEL_TUPLES] = {NULL};
	unsigned live = 0, bad = 0, full = 0;

	srandom(7);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned n = (unsigned)random() % MODEL_TUPLES;
		struct addrport app = tuple_end(n, 1), net = tuple_end(9, 9);
		struct flow *f = flow_find(t, IPPROTO_UDP, &app, &net);

		bad += f != have[n];
		if (f) {
			end_and_release(t, f);
			have[n] = NULL;
			live--;
		} else {
			have[n] = flow_new(t, IPPROTO_UDP, &app, &net, 1, 1);
			if (have[n])
				live++;
			else
				full++;
		}
		if (random() % 8 == 0) {
			flow_reap(t, NULL, NULL);
			bad += flow_count(t) != live;
		}
	}
	tap_is(bad, 0, "200,000 random births and deaths agree with a model");
	tap_ok(full > 0, "among them some in a full table");
	flow_table_free(t);
}

/* --- asserts ------------------------------------------------------------------------- */

/** dies - whether @fn ends the process by abort */
static bool dies(void (*fn)(struct flow_table *t, struct flow *f))
{
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		struct flow_table *t = table(4);

		fclose(stderr);
		fn(t, flow_nr(t, 0));
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

static void skip_judgement(struct flow_table *t, struct flow *f)
{
	flow_set_state(t, f, FLOW_OPEN);
}

static void free_by_hand(struct flow_table *t, struct flow *f)
{
	flow_end(t, f, FLOW_ENDED_FIN, 1);
	flow_set_state(t, f, FLOW_FREE);
}

static void reopen(struct flow_table *t, struct flow *f)
{
	flow_end(t, f, FLOW_ENDED_FIN, 1);
	flow_set_state(t, f, FLOW_OPEN);
}

static void release_open(struct flow_table *t, struct flow *f)
{
	flow_release(t, f);
}

static void twice(struct flow_table *t, struct flow *f)
{
	(void)f;
	flow_nr(t, 0);
}

static void forgotten_deadline(struct flow_table *t, struct flow *f)
{
	f->timer_pos = 1;
	end_and_release(t, f);
	flow_reap(t, NULL, NULL);
}

static void test_asserts(void)
{
	tap_ok(dies(skip_judgement), "NEW -> OPEN is no edge");
	tap_ok(dies(free_by_hand), "only reaping frees");
	tap_ok(dies(reopen), "CLOSING does not open again");
	tap_ok(dies(release_open), "an open flow cannot be released");
	tap_ok(dies(twice), "two live flows of one tuple are refused");
	tap_ok(dies(forgotten_deadline), "a flow with a deadline cannot be freed");
}

static void test_memory(void)
{
	size_t per = sizeof(struct flow) + sizeof(struct flow_rec) + 2 * sizeof(uint32_t);

	printf("# struct flow %zu, struct flow_rec %zu\n", sizeof(struct flow),
	       sizeof(struct flow_rec));
	tap_ok(per < 400, "an idle flow costs %zu bytes here, less than 400", per);
}

int main(void)
{
	test_life();
	test_full();
	test_spare();
	test_order();
	test_echo();
	test_refs();
	test_ids();
	test_shared();
	test_each();
	test_model();
	test_asserts();
	test_memory();
	for (unsigned i = 0; i < FLOW_REASON_MAX; i++)
		if (!flow_reason_text(i))
			tap_ok(false, "reason %u has a text", i);
	tap_ok(!strcmp(flow_state_text(99), "?") && !strcmp(flow_reason_text(99), "?"),
	       "numbers from elsewhere have a text too");
	return tap_done();
}
