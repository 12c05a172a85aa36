/* SPDX-License-Identifier: MIT */
/*
 * The file of options of `weir up`: any text. Whatever is refused comes with one printable line;
 * whatever is accepted is within bounds and makes a plan.
 *
 * LINK: src/plan.o src/select.o src/config_up.o src/config.o src/option.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_main.h"

#define must(e)                                                                                    \
	do {                                                                                       \
		if (!(e)) {                                                                        \
			fprintf(stderr, "conffile_fuzz: %s\n", #e);                                \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static const uint8_t *file;
static size_t file_size;

static int fuzz_number(void *ctx, const char *name, uint32_t *id)
{
	(void)ctx;
	*id = 1000 + (unsigned char)name[0];
	return name[0] == 'x' ? -ENOENT : 0;
}

static int fuzz_subuids(void *ctx, const char *name, uint32_t uid, struct id_range *out,
			unsigned room)
{
	(void)ctx;
	(void)name;
	if (!room)
		return -E2BIG;
	out[0] = (struct id_range){uid * 10, uid * 10 + 9};
	return 1;
}

static int fuzz_unit(void *ctx, const char *unit, char *path, size_t size)
{
	(void)ctx;
	return snprintf(path, size, "system.slice/%s", unit) < (int)size ? 0 : -ENAMETOOLONG;
}

static int fuzz_read(const char *path, char **text)
{
	(void)path;
	*text = malloc(file_size + 1);
	if (!*text)
		return -ENOMEM;
	memcpy(*text, file, file_size);
	(*text)[file_size] = 0;
	return 0;
}

/** check_quotes - text for nft has them in pairs, on one line: nothing can get out of them */
static void check_quotes(const char *text)
{
	unsigned quotes = 0;

	for (; *text; text++) {
		quotes += *text == '"';
		must(*text != '\n' || quotes % 2 == 0);
	}
}

static void check_plan(const struct up_config *c)
{
	static struct plan plan;
	struct plan_input in = {.worker_uid = 1, .dev = "weir0", .cgroup_mount = "/sys/fs/cgroup"};
	char err[256] = "";
	int rc;

	memset(in.cgroup_exists, 1, sizeof(in.cgroup_exists));
	rc = plan_make(&plan, c, &in, err, sizeof(err));
	must(rc == 0 || rc == -EINVAL || rc == -E2BIG);
	must((rc != 0) == (err[0] != 0));
	if (rc)
		return;
	check_quotes(plan.guard_nft);
	check_quotes(plan.nft);
	for (unsigned i = 0; i < plan.n_rules; i++) {
		const struct host_rule *r = &plan.rules[i].rule;

		must(r->pref >= c->rule_base && r->pref < c->rule_base + UP_RULES);
		must(r->action != RULE_GOTO || r->goto_pref > r->pref);
		must(!r->has_uid || r->uid_lo <= r->uid_hi);
		must(!r->to.bits || addr_is_v4(&r->to.addr) != r->v6);
	}
	plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct select_names names = {.cgroup_mount = "/sys/fs/cgroup",
						  .user = fuzz_number,
						  .group = fuzz_number,
						  .subuids = fuzz_subuids,
						  .unit = fuzz_unit};
	const struct up_env env = {.names = &names, .read_file = fuzz_read};
	char name[] = "up", *argv[] = {name, NULL}, err[256] = "";
	static struct up_config c;
	int rc;

	file = data;
	file_size = size;
	config_default_up(&c);
	rc = config_parse_up(&c, &env, 1, argv, err, sizeof(err));
	must(rc == 0 || rc == -EINVAL);
	must((rc == -EINVAL) == (err[0] != 0));
	for (const char *p = err; *p; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
	if (!rc)
		check_plan(&c);
	config_free_up(&c);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const seeds[] = {
		"user = alice\nfail-open\nuser = 2000-2999\nexcept = user=2005\nto = 10.0.0.0/8\n",
		"# all of it\nall\nexcept = to=::1\nexcept = cgroup=/a/b\nlink-local = pass\n",
		"proto = tcp\nport = 80-90\nport = 85\nunit = nginx\ncgroup = /sys/fs/cgroup/a\\x2db\n",
		"group = 5\nmark = 0x10/0xff\nmark-bits = 4\ntable = 100\nrule-base = 5\n",
		"netns = blue\ndns = pass\nmtu = 1500\naddress = 192.0.2.1/32\nhook = count=a b\n",
		"forwarded\nuser = 0\nmax-flows = 7\nlog = -\nquiet\nverbose\nworker-user = x\n",
	};

	if (n >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	return (size_t)snprintf((char *)out, room, "%s", seeds[n]);
}
#endif
