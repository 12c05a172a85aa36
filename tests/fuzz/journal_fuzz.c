/* SPDX-License-Identifier: MIT */
/*
 * journal: any text. What is taken can be written again and means the same then; a text that is
 * cut says nothing that the whole one does not say.
 * LINK: src/change.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

struct seen {
	unsigned n;
	size_t last;
};

/** check_safe - whatever was read, undoing it touches only what weir may have made */
static void check_safe(const struct change *c)
{
	if (c->kind == CHANGE_NFT)
		weir_assert(!strncmp(c->nft, "weir", 4));
	if (c->kind == CHANGE_SYSCTL)
		weir_assert(!strncmp(c->sysctl.to.name, "net/", 4) &&
			    !strstr(c->sysctl.to.name, "/../"));
	if (c->kind == CHANGE_PATH)
		weir_assert(c->path[0] == '/' && c->path[1] && !strstr(c->path, "/../"));
	if (c->kind == CHANGE_LINK)
		weir_assert(*c->link && !strchr(c->link, '/') && strcmp(c->link, "lo") != 0);
	if (c->kind == CHANGE_ROUTE)
		weir_assert(c->route.table);
}

static int check(void *ctx, const struct change *c, bool done, size_t at)
{
	char line[CHANGE_LINE_MAX], again[CHANGE_LINE_MAX];
	struct seen *s = ctx;
	struct change back;

	(void)done;
	weir_assert(at > s->last);
	s->last = at;
	s->n++;
	check_safe(c);
	weir_assert(!change_format(c, line));
	weir_assert(!change_parse(line, strlen(line), &back));
	weir_assert(change_same_object(c, &back) && back.guard == c->guard);
	weir_assert(!change_format(&back, again) && !strcmp(line, again));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct seen all = {0}, part = {0};
	struct change_head h;
	char err[100] = "";
	int rc = change_read(text, size, &h, check, &all, err, sizeof(err));

	weir_assert(rc == 0 || rc == -EINVAL);
	weir_assert((rc != 0) == (err[0] != 0));
	change_read(text, size / 2, &h, check, &part, err, sizeof(err));
	weir_assert(part.n <= all.n);
	return 0;
}

#ifdef FUZZ_STANDALONE
#define HEAD "weir-journal 1 boot=6c0e-11 netns=4:4026531840\n"

static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const seeds[] = {
		HEAD
		"+ guard rule v4 pref=1020 lookup=7771 uid=2000-2999 mark=0x1/0x3 iif=lo proto=6 "
		"to=10.0.0.0/8 dport=1-2\n- rule v6 pref=1099 nop\n+ rule v6 pref=1 goto=1099\n",
		HEAD "+ guard route v6 unreachable table=7771 dst=default metric=4294967295\n"
		     "+ route v4 unicast table=1 dst=10.0.0.0/8 dev=5 src=10.0.0.1 mtu=1400\n",
		HEAD "- guard nft weir_guard\n+ sysctl net/ipv4/tcp_rmem old=1%092 new=0\n"
		     "+ link weir0\n+ path /run/weir/a%20b\n+ table-routes 7771\n+ pa",
	};

	if (n >= ARRAY_SIZE(seeds))
		return 0;
	weir_assert(strlen(seeds[n]) <= room);
	memcpy(out, seeds[n], strlen(seeds[n]));
	return strlen(seeds[n]);
}
#endif
